"""One folder for each class: data without any configuration."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from pathlib import Path

from videozoo.contracts.record import ClipRecord
from videozoo.data.dataset import ClipDataset, Subset, assemble, check_val_share, half_of
from videozoo.data.files import find_readable_clips, some_of
from videozoo.data.labels import ClassIndex, ClassNames, given_names
from videozoo.data.registry import register_dataset
from videozoo.errors import DataError, counted
from videozoo.io.clip_files import is_passed_over

__all__ = ["clip_folder", "halves_of", "split_folder", "subset_folders"]

SUBSET_NAMES: dict[Subset, tuple[str, ...]] = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "test", "testing"),
}


@register_dataset
def clip_folder(
    path: str | Path,
    *,
    class_names: ClassNames = None,
    subset: Subset | None = None,
    val_share: float = 0.2,
    fps: float | None = None,
) -> ClipDataset:
    """Reads videos or folders of frames from one sub-folder for each class, `path/<class>/**/clip.mp4`.

    The classes are the sub-folders in the order of their names. Hidden and unfinished files (`x.part.mp4`) are
    skipped; files that are neither videos nor frames are counted in a warning.

    Args:
        class_names: the classes in order, or a file with one a line; other sub-folders are an error.
        subset: half of the data: `path/train` or `path/val` (also valid, validation, test) if both exist, else a
            split by the hash of the file names within each class, the same on every machine.
        val_share: share of each class that this split holds out.
        fps: the frame rate of folders of frames, for an input that counts time.

    Raises:
        DataError: no such folder, no class folders, no videos in them, or a folder that is not a class.
    """
    root = Path(path)
    if not root.is_dir():
        raise DataError(f"{root}: this folder does not exist; give a folder with one sub-folder for each class")
    check_val_share(val_share, where=str(root))
    classes = given_names(class_names)
    halves = subset_folders(root)
    if halves is None:
        records, classes, notes = _read(root, classes, fps=fps)
        if subset is not None:
            records = half_of(records, subset, val_share=val_share, where=str(root))
        source = f"{root} ({subset})" if subset else str(root)
        return assemble(records, classes.names, source=source, notes=notes)
    if subset is None:
        found = " and ".join(f"{half.name}/" for half in halves.values())
        raise DataError(f"{root}: holds {found}, not class folders; set subset=train or val, or name one of them")
    if classes is None and subset == "val":
        names = [folder.name for folder in _folders(halves["train"])]
        classes = ClassIndex(tuple(names), f"{halves['train']} has {counted(len(names), 'class folder')}")
    records, classes, notes = _read(halves[subset], classes, fps=fps)
    return assemble(records, classes.names, source=str(halves[subset]), notes=notes)


def split_folder(path: str | Path, *, val_share: float = 0.2) -> tuple[ClipDataset, ClipDataset]:
    """Returns the training and the validation half of a folder of class folders; see `clip_folder`."""
    train = clip_folder(path, subset="train", val_share=val_share)
    val = clip_folder(path, subset="val", val_share=val_share, class_names=train.class_names)
    return train, val


def subset_folders(root: Path) -> dict[Subset, Path] | None:
    """Returns the folders of both halves if `root` holds train/ and val/ (or valid, validation, test), else None.

    Raises:
        DataError: only one of the two exists, and `root` has no class folder.
    """
    folders = {folder.name: folder for folder in _folders(root)}
    halves = halves_of(folders, where=root)
    return None if halves is None else {subset: folders[name] for subset, name in halves.items()}


def halves_of(names: Collection[str], *, where: Path) -> dict[Subset, str] | None:
    """Returns the folders of both halves among the names of the folders in `where`, or None.

    Raises:
        DataError: only one of the two exists, and there is no other folder.
    """
    halves = {
        subset: next(name for name in known if name in names)
        for subset, known in SUBSET_NAMES.items()
        if any(name in names for name in known)
    }
    if len(halves) == 2:
        return halves
    if len(halves) == len(names) == 1:
        (half,) = halves.values()
        raise DataError(f"{where}: holds only {half}/; add the other half, or give {where / half} as the path")
    return None


def _read(
    root: Path, classes: ClassIndex | None, *, fps: float | None
) -> tuple[list[ClipRecord], ClassIndex, list[str]]:
    folders = _folders(root)
    if classes is None:
        classes = ClassIndex(tuple(folder.name for folder in folders), "")
    records: list[ClipRecord] = []
    others = [file for file in root.iterdir() if not file.is_dir() and not is_passed_over(file.name)]
    extra = {} if fps is None else {"fps": fps}
    for folder in folders:
        label = classes.index_of_name(folder.name, where=str(folder), noun="class folder")
        clips = find_readable_clips(folder)
        entries = [(video, None) for video in clips.videos] + clips.frame_folders
        for path, num_frames in entries:
            name = path.relative_to(root).as_posix()
            records.append(ClipRecord(name, path, (label,), num_frames, extra=extra if num_frames is not None else {}))
        others += clips.others
    if not records:
        held = f"{counted(len(folders), 'folder')} and {counted(len(others), 'file')}"
        found = held if folders or others else "nothing"
        raise DataError(
            f"{root}: holds no videos in class folders, but {found}; it should look like {root.name}/<class>/clip.mp4"
        )
    notes = []
    if others:
        names = [file.relative_to(root).as_posix() for file in others]
        notes.append(f"left out {counted(len(others), 'file')}, neither video nor frame: {some_of(sorted(names))}")
    return records, classes, notes + _same_folders(records)


def _same_folders(records: Sequence[ClipRecord]) -> list[str]:
    """Returns a note if all classes have the same two or more sub-folders, as several data sets in one folder have."""
    below: dict[str, set[str]] = defaultdict(set)
    for record in records:
        name, *folders = Path(record.id).parts[:-1]
        below[name].update(folders[:1])
    names, inner = sorted(below), sorted(next(iter(below.values())))
    if len(below) < 2 or len(inner) < 2 or any(folders != set(inner) for folders in below.values()):
        return []
    return [
        f"the folders {some_of(names)} count as classes, and each has the sub-folders {some_of(inner)}; "
        "if these are the classes, put the clips of each class into one folder, or train on one of the folders"
    ]


def _folders(root: Path) -> list[Path]:
    """Lists the class folders.

    Raises:
        DataError: one is a link to a folder that does not exist, so that its class would be missing.
    """
    entries = sorted(entry for entry in root.iterdir() if not is_passed_over(entry.name))
    for entry in entries:
        if not entry.suffix and entry.is_symlink() and not entry.exists():
            target = entry.readlink()
            raise DataError(f"{entry}: is a link to {target}, which does not exist; restore it, or remove the link")
    return [entry for entry in entries if entry.is_dir()]
