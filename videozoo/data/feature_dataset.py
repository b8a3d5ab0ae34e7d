"""Videos with stored features: the base of data sets of segments, captions and queries."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, TypeVar

from videozoo.contracts.dataset import Dataset
from videozoo.contracts.features import Features
from videozoo.contracts.record import FeatureRecord, Holds
from videozoo.data.files import some_of
from videozoo.errors import DataError, counted
from videozoo.io.features import FeatureStore

__all__ = ["FeatureDataset", "Missing", "StoredRecord", "key_in", "with_features", "without_features"]

R = TypeVar("R", bound=FeatureRecord, covariant=True)


class _OfVideo(Protocol):
    @property
    def video(self) -> str: ...


S = TypeVar("S", bound=_OfVideo)
Missing = Literal["keep", "skip"]  # whether videos without features stay in the data set


@dataclasses.dataclass(frozen=True, kw_only=True)
class StoredRecord(FeatureRecord):
    """A record whose features lie in a store under a key; they are read on demand."""

    id: str
    store: FeatureStore = dataclasses.field(repr=False)
    key: str

    @property
    def location(self) -> str:
        return self.store.place(self.key)

    @property
    def origin(self) -> tuple[Path, tuple[Hashable, ...]]:
        return self.store.path, (self.id,)

    def features(self) -> Features:
        return self.store.read(self.key)


@dataclasses.dataclass(frozen=True)
class FeatureDataset(Dataset[R]):
    """Records whose features are read on demand.

    Attributes:
        class_names: the classes, or the vocabulary of the sentences.
        records: the samples, with unique ids.
        store: the videos' features; None if the records have their own windows.
        source: the annotation file.
        notes: annotations that were cut, left out or are missing, one sentence each.
    """

    holds: ClassVar[Holds] = "features"

    class_names: tuple[str, ...]
    records: list[R] = dataclasses.field(repr=False)
    store: FeatureStore | None = dataclasses.field(repr=False)
    source: str = "data set"
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> R:
        return self.records[index]

    def __iter__(self) -> Iterator[R]:
        return iter(self.records)

    @property
    def feature_recipe(self) -> dict[str, Any] | None:
        """How the features were made; None for other projects' files."""
        recipe = self.store.recipe if self.store is not None else None
        return recipe.to_dict() if recipe is not None else None

    @property
    def extractor(self) -> Path | None:
        """The weight file that makes such features of other videos, if it is stored with them."""
        return self.store.extractor if self.store is not None else None


def key_in(store: FeatureStore, id_: str) -> str:
    """Returns a video's key in the store: ActivityNet's ids may have the prefix `v_` or not."""
    bare = id_.removeprefix("v_")
    return next((key for key in (id_, f"v_{bare}", bare) if key in store), id_)


def with_features(
    samples: list[S], store: FeatureStore, keys: Mapping[str, str], *, path: Path, missing: Missing, noun: str
) -> tuple[list[S], list[str]]:
    """Returns the samples to keep, all or those with features, and the note on videos without features.

    Args:
        keys: the store's key of each video.
        path: the annotation file, for messages.
        noun: plural of a sample, for the note.

    Raises:
        DataError: no video has features.
    """
    gone = without_features(store, keys, path=path)
    if not gone:
        return samples, []
    kept = [sample for sample in samples if sample.video not in set(gone)]
    left_out = ", left out" if missing == "skip" else ""
    note = (
        f"{len(gone)} of {len(keys)} videos without features, with {len(samples) - len(kept)} of {len(samples)} "
        f"{noun}{left_out}: {some_of(gone)}"
    )
    return (kept if missing == "skip" else samples), [note]


def without_features(store: FeatureStore, keys: Mapping[str, str], *, path: Path) -> list[str]:
    """Returns the videos of the annotation file `path` that the store lacks; `keys` maps videos to store keys.

    Raises:
        DataError: the store has none of the videos.
    """
    missing = [video for video, key in keys.items() if key not in store]
    if len(missing) == len(keys):
        raise DataError(
            f"{store.path}: has no features of the {counted(len(keys), 'video')} in {path}; it has features of "
            f"{some_of(store.ids, 2)}, the videos are {some_of(missing, 2)}"
        )
    return missing
