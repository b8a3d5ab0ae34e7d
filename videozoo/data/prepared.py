"""Derives the `data` section of a recipe from a folder: the layouts that `videozoo train FOLDER` accepts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from videozoo.data.labels import CLASS_FILES
from videozoo.errors import ConfigError

__all__ = ["data_section"]

_SHARD = re.compile(r"(.+)-\d+\.tar")


def data_section(folder: Path) -> dict[str, dict[str, Any]]:
    """Returns where the training and the validation samples of a folder are.

    These are the lists or shards that `videozoo prepare` wrote into it, or else one sub-folder for each class. A single
    list is split like a folder.

    Raises:
        ConfigError: there are several lists, and the one for training is unknown.
    """
    lists = {file.stem: str(file) for file in sorted(folder.glob("*.txt")) if file.name not in CLASS_FILES}
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
