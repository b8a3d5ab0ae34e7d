"""A world of long videos with several segments of several classes and pauses between them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from videozoo.data.motion.folder import Progress, write_world
from videozoo.data.motion.labels import segments
from videozoo.data.motion.script import CLASSES, Script
from videozoo.data.motion.world import SPLITS, VERSION, World, folder_name

__all__ = ["make_untrimmed"]

SUBSETS = {"train": "training", "val": "validation"}


def make_untrimmed(
    out_dir: Path | str,
    *,
    num_train: int = 80,
    num_val: int = 20,
    size_px: int = 64,
    length_s: float = 30.0,
    fps: int = 12,
    num_classes: int = len(CLASSES),
    seed: int = 0,
    num_workers: int = 0,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> None:
    """Writes long videos with pauses to videos/, and their segments to annotations.json, in ActivityNet's form.

    Durations are drawn between 0.7 and 1.3 times `length_s`. Arguments and errors as in `make_clips`.
    """
    world = World.asked_for("untrimmed", locals())
    videos: list[tuple[str, Script]] = []
    database: dict[str, Any] = {}
    for split in SPLITS:
        for index, _, script in world.untrimmed(split):
            name = f"{split}_{index:05d}"
            videos.append((f"videos/{name}.mp4", script))
            database[name] = {
                "duration": script.duration_s,
                "subset": SUBSETS[split],
                "resolution": f"{size_px}x{size_px}",
                "annotations": [
                    {"segment": [s.start_s, s.end_s], "label": folder_name(s.label)} for s in segments(script)
                ],
            }
    annotations = {"version": f"motion world {VERSION}", "database": database}
    texts = {"annotations.json": json.dumps(annotations, indent=1) + "\n", **world.texts(videos)}
    write_world(
        out_dir, world.to_dict(), videos, texts, num_workers=num_workers, overwrite=overwrite, progress=progress
    )
