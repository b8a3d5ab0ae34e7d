"""Derives the recipe of a folder or a packed file: the layouts that `videozoo train FOLDER` accepts."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from videozoo.data.labels import CLASS_FILES
from videozoo.errors import ConfigError
from videozoo.io.clip_files import VIDEO_SUFFIXES
from videozoo.io.feature_files import FILE_SUFFIXES, PACKED_NAMES, SIDECAR
from videozoo.io.feature_sources import SOURCES
from videozoo.io.frame_folder import IMAGE_SUFFIXES

__all__ = ["data_section", "usual_recipe"]

MOST_FOLDERS_DEEP = 16  # links may form a cycle
_SHARD = re.compile(r"(.+)-\d+\.tar")


def usual_recipe(path: Path) -> tuple[str, dict[str, dict[str, Any]]]:
    """Returns the name of the packaged recipe for a folder of clips or features or a packed file, and its data.

    Raises:
        ConfigError: see `data_section`.
    """
    if path.is_file() or holds_features(path):
        return "features", _features_section(path)
    return "finetune", data_section(path)


def holds_features(folder: Path) -> bool:
    """Returns whether a folder holds features and neither videos nor frames."""
    if any((folder / name).is_file() for name in (SIDECAR, SOURCES, *PACKED_NAMES)):
        return True
    found = False
    for place, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [] if len(Path(place).relative_to(folder).parts) >= MOST_FOLDERS_DEEP else folders
        suffixes = {Path(name).suffix.lower() for name in names if not name.startswith(".")}
        if suffixes & {*VIDEO_SUFFIXES, *IMAGE_SUFFIXES, ".tar"}:
            return False
        is_below = Path(place) != folder  # a csv file in the folder itself may be a list
        found = found or bool(suffixes & {*FILE_SUFFIXES} - ({".csv"} if not is_below else set()))
    return found


def _features_section(path: Path) -> dict[str, dict[str, Any]]:
    """Returns the data of features: train.txt and val.txt in the folder, a single other list, or classes by folder."""
    lists = {} if path.is_file() else _lists(path)
    if lists.keys() >= {"train", "val"}:
        return {split: {"name": "features", "path": lists[split]} for split in ("train", "val")}
    if len(lists) > 1:
        raise ConfigError(
            f"{path}: holds the lists {', '.join(f'{name}.txt' for name in lists)}, not train.txt and val.txt; use the "
            "recipe features with data.train.path=LIST data.val.path=LIST"
        )
    source = next(iter(lists.values()), str(path))
    return {split: {"name": "features", "path": source, "subset": split} for split in ("train", "val")}


def _lists(folder: Path) -> dict[str, str]:
    """Returns the list files of a folder by name."""
    return {file.stem: str(file) for file in sorted(folder.glob("*.txt")) if file.name not in CLASS_FILES}


def data_section(folder: Path) -> dict[str, dict[str, Any]]:
    """Returns where the training and the validation samples of a folder of clips are.

    These are the lists or shards that `videozoo prepare` wrote into it, or else one sub-folder for each class. A single
    list is split like a folder.

    Raises:
        ConfigError: there are several lists, and the one for training is unknown.
    """
    lists = _lists(folder)
    folders = {entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith(".")}
    shards = {match[1] for file in folder.glob("*.tar") if (match := _SHARD.fullmatch(file.name))}
    both = {"train", "val"}
    if both <= shards:
        return {split: {"name": "shards", "path": str(folder / f"{split}-*.tar")} for split in ("train", "val")}
    if both <= lists.keys() and folders <= lists.keys():
        return {split: {"name": "clip_list", "path": lists[split]} for split in ("train", "val")}
    if shards and not folders:
        raise ConfigError(
            f"{folder}: holds shards of {', '.join(sorted(shards))} only, which are not split; prepare a folder with "
            "train/ and val/, or use the recipe finetune with data.train.name=shards data.train.path=PATTERN"
        )
    if not folders or not folders <= lists.keys():
        return {split: {"name": "clip_folder", "path": str(folder), "subset": split} for split in ("train", "val")}
    if len(lists) > 1:
        names = ", ".join(f"{name}.txt" for name in lists)
        raise ConfigError(
            f"{folder}: holds the lists {names}, not train.txt and val.txt; use the recipe finetune with "
            "data.train.name=clip_list data.train.path=LIST data.val.name=clip_list data.val.path=LIST"
        )
    (path,) = lists.values()
    return {split: {"name": "clip_list", "path": path, "subset": split} for split in ("train", "val")}
