"""Anyone's features with labels: a folder for each class, or a list of paths."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any, ClassVar, Literal

from videozoo.contracts.record import Holds, Modalities
from videozoo.data.clip_folder import halves_of
from videozoo.data.dataset import LabeledDataset, Subset, assemble, check_val_share, half_of
from videozoo.data.feature_dataset import StoredRecord, key_in
from videozoo.data.files import check_missing, some_of
from videozoo.data.labels import ClassIndex, ClassNames, class_index, given_names
from videozoo.data.list_lines import check_one_label, refuse_header, split_labels, split_path
from videozoo.data.registry import register_dataset
from videozoo.errors import DataError, counted
from videozoo.io.clip_files import VIDEO_SUFFIXES
from videozoo.io.feature_files import FILE_SUFFIXES
from videozoo.io.features import FeatureStore, side_by_side
from videozoo.structured import read_lines

__all__ = ["LabeledFeatures", "LabeledRecord", "features"]

LIST_SUFFIXES = (".txt", ".list", ".lst")
SUFFIXES = (*FILE_SUFFIXES, *VIDEO_SUFFIXES)  # a list of videos names their features as well
FORMS = {False: "a line is 'path label'", True: "a line is 'path label label ...'"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabeledRecord(StoredRecord):
    """A video's features with its labels; `others` are the stores and keys of further modalities."""

    labels: tuple[int, ...] = ()
    others: tuple[tuple[FeatureStore, str], ...] = dataclasses.field(default=(), repr=False)

    @property
    def origin(self) -> tuple[Path, tuple[Hashable, ...]]:
        return self.store.path, (self.key,)

    def read(self, *, with_sound: bool = False) -> Modalities:
        """Reads one array for each modality, with the rows of the first; see `FeatureRecord.read`."""
        first = self.features()
        tables = self.store.split(first.values)
        for store, key in self.others:
            tables += store.split(store.read(key).values)
        if with_sound and len(tables) == 1 and first.audio is not None:
            tables.append(first.audio)
        return Modalities(self.id, side_by_side(tables), self.labels)


@dataclasses.dataclass(frozen=True)
class LabeledFeatures(LabeledDataset[LabeledRecord]):
    """Stored features with labels; see `LabeledDataset`.

    Attributes:
        stores: the features, one store for each group of modalities.
    """

    holds: ClassVar[Holds] = "features"

    stores: tuple[FeatureStore, ...] = dataclasses.field(default=(), repr=False)

    @property
    def modalities(self) -> tuple[str, ...]:
        """The names of the arrays in each file, if it has several."""
        return self.stores[0].tables if len(self.stores) == 1 else ()

    @property
    def feature_recipe(self) -> Mapping[str, Any] | None:
        """How the features were made; None for other projects' files and for several stores."""
        recipe = self.stores[0].recipe if len(self.stores) == 1 else None
        return recipe.to_dict() if recipe is not None else None

    @property
    def extractor(self) -> Path | None:
        """The weight file that makes such features of other videos, if it is stored with them."""
        return self.stores[0].extractor if self.feature_recipe is not None else None


@register_dataset
def features(
    path: str | Path,
    *,
    features: str | Path | tuple[str | Path, ...] | None = None,
    modalities: tuple[str, ...] = (),
    class_names: ClassNames = None,
    num_classes: int | None = None,
    multi_label: bool = False,
    missing: Literal["error", "skip"] = "error",
    subset: Subset | None = None,
    val_share: float = 0.2,
) -> LabeledFeatures:
    """Reads features of any width and length, with the labels of their folders or of a list.

    `path` is a folder of features (npz, npy, csv, parquet, HDF5), a packed file, or a list with the lines `path label`.
    Without a list, the class of a video is the first folder of its id, or the folder of the video that `videozoo
    extract` read.

    Args:
        features: the folder or packed file of the features, or several, one for each modality; by default `path`, or
            the folder of the list. Ids of the list may have the suffix of a feature file or of a video.
        modalities: names of the arrays in each npz file or HDF5 group, if there are several.
        class_names: the classes in order, or a file with one a line; see `clip_list`.
        num_classes: number of classes of a list, if nothing names them and the list may lack the last ones.
        multi_label: whether a sample of the list has any number of labels.
        missing: "skip" leaves out samples without features, with a warning; "error" refuses them.
        subset: half of the data: the folder train/ or val/ (also valid, validation, test) if both exist, else a split
            by the hash of the ids within each class, the same on every machine.
        val_share: share of each class that this split holds out.

    Raises:
        DataError: there are no features, labels or classes, or features are missing.
    """
    place = Path(path)
    check_val_share(val_share, where=str(place))
    is_list = place.suffix in LIST_SUFFIXES
    given = (place.parent if is_list else place) if features is None else features
    paths = (given,) if isinstance(given, str | Path) else given
    stores = tuple(FeatureStore(each, modalities) for each in paths)
    source = f"{place} ({subset})" if subset else str(place)
    make = functools.partial(LabeledFeatures, stores=stores)
    if is_list:
        lines, notes = _lines(place, stores, multi_label=multi_label, skip=missing == "skip")
        samples = [(line.where, line.labels) for line in lines]
        classes = class_index(class_names, num_classes=num_classes, folder=place.parent, samples=samples)
        labels = [tuple(classes.index(label, where=line.where) for label in line.labels) for line in lines]
        records = [_record(line.id, line.keys, stores, own) for line, own in zip(lines, labels, strict=True)]
        halved = records if subset is None else half_of(records, subset, val_share=val_share, where=str(place))
        return assemble(halved, classes.names, source=source, multi_label=multi_label, notes=notes, make=make)
    records, names, notes = _of_folders(place, stores, class_names, subset, val_share, skip=missing == "skip")
    return assemble(records, names, source=source, notes=notes, make=make)


def _of_folders(
    place: Path,
    stores: Sequence[FeatureStore],
    class_names: ClassNames,
    subset: Subset | None,
    val_share: float,
    *,
    skip: bool,
) -> tuple[list[LabeledRecord], tuple[str, ...], list[str]]:
    """Returns the records of a subset, the class names and the notes."""
    folders = _folders(stores[0])
    halves = halves_of({parts[0] for parts in folders.values() if parts}, where=place)
    inside = folders
    if halves is not None:
        if subset is None:
            found = " and ".join(f"{half}/" for half in halves.values())
            raise DataError(f"{place}: holds {found}, not classes; set subset=train or val, or name one of them")
        inside = {id_: parts[1:] for id_, parts in folders.items() if parts[:1] == (halves[subset],)}
    if bare := [id_ for id_, parts in inside.items() if not parts]:
        raise DataError(
            f"{place}: the features {some_of(bare)} are in no folder of a class; it should look like "
            f"{place.name}/<class>/a.npz, or give a list of lines 'path label' as the path"
        )
    classes = given_names(class_names) or _classes(folders, halves, place)
    labels = {
        id_: (classes.index_of_name(parts[0], where=stores[0].place(id_), noun="folder"),)
        for id_, parts in inside.items()
    }
    keys = {id_: tuple(id_ if id_ in store else None for store in stores) for id_ in inside}
    notes = []
    if gone := [id_ for id_ in inside if None in keys[id_]]:
        if not skip:
            raise DataError(
                f"{place}: {some_of(gone)} lack features in another modality; extract them, or set missing=skip"
            )
        notes.append(f"left out {counted(len(gone), 'video')} without features in another modality: {some_of(gone)}")
    records = [_record(id_, keys[id_], stores, labels[id_]) for id_ in inside if None not in keys[id_]]
    if subset is not None and halves is None:
        records = half_of(records, subset, val_share=val_share, where=str(place))
    return records, classes.names, notes


def _classes(folders: Mapping[str, tuple[str, ...]], halves: Mapping[Subset, str] | None, place: Path) -> ClassIndex:
    """Returns the names of the class folders, with halves those of the training half."""
    if halves is None:
        names = {parts[0] for parts in folders.values()}
    else:
        names = {parts[1] for parts in folders.values() if parts[0] == halves["train"] and len(parts) > 1}
    return ClassIndex(tuple(sorted(names)), f"{place} has {counted(len(names), 'class folder')}")


def _folders(store: FeatureStore) -> dict[str, tuple[str, ...]]:
    """Returns the folders of each video: those of its file, if all files are recorded, else those of its id."""
    sources = {id_: store.source_of(id_) for id_ in store.ids}
    videos = [source for source in sources.values() if source is not None]
    if len(videos) < len(store.ids):
        return {id_: PurePath(id_).parts[:-1] for id_ in store.ids}
    root = os.path.commonpath([video.parent for video in videos])
    return {id_: video.parent.relative_to(root).parts for id_, video in zip(sources, videos, strict=True)}


@dataclasses.dataclass(frozen=True)
class _Line:
    where: str
    id: str
    keys: tuple[str | None, ...]  # of each store
    labels: list[str]


def _lines(
    path: Path, stores: Sequence[FeatureStore], *, multi_label: bool, skip: bool
) -> tuple[list[_Line], list[str]]:
    """Returns the lines with features in all stores, and the note on the others."""
    texts = read_lines(path, kind="list file")
    refuse_header(texts, start=path.parent, noun="features")
    lines = []
    for where, text in texts:
        id_, rest = split_path(text, multi_label=multi_label, suffixes=SUFFIXES)
        if not multi_label:
            check_one_label(id_, rest, line=text, where=where, form=FORMS[False])
        keys = tuple(_key(store, id_) for store in stores)
        lines.append(_Line(where, id_, keys, split_labels(rest, multi_label=multi_label)))
    if not lines:
        raise DataError(f"{path}: the list is empty; {FORMS[multi_label]}")
    gone = [(line.where, f"no features of '{line.id}'") for line in lines if None in line.keys]
    searched = ", ".join(str(store.path) for store in stores)
    advice = "extract them, or correct features"
    notes = check_missing(gone, len(lines), searched=searched, advice=advice, skip=skip, noun="features")
    return [line for line in lines if None not in line.keys], notes


def _key(store: FeatureStore, name: str) -> str | None:
    """Returns the id of a line in a store: the path as written, without its suffix, or its last parts."""
    path = PurePath(name.replace("\\", "/"))
    if path.is_absolute() and path.is_relative_to(store.path.absolute()):
        path = path.relative_to(store.path.absolute())
    bare = path.with_suffix("") if path.suffix.lower() in SUFFIXES else path
    tails = ("/".join(bare.parts[first:]) for first in range(1, len(bare.parts)))
    candidates = dict.fromkeys((name, path.as_posix(), bare.as_posix(), *tails))
    return next((key for key in (key_in(store, each) for each in candidates) if key in store), None)


def _record(
    id_: str, keys: Sequence[str | None], stores: Sequence[FeatureStore], labels: tuple[int, ...]
) -> LabeledRecord:
    first, *others = [(store, key) for store, key in zip(stores, keys, strict=True) if key is not None]
    return LabeledRecord(id=id_, store=first[0], key=first[1], labels=labels, others=tuple(others))
