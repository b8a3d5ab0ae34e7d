"""A world of short stories: two events in sequence, with one sentence for both and one for each."""

from __future__ import annotations

import json
from pathlib import Path

from videozoo.data.motion.folder import Progress, write_world
from videozoo.data.motion.labels import caption
from videozoo.data.motion.script import CLASSES, Script, story_script
from videozoo.data.motion.world import SPLITS, World
from videozoo.errors import ConfigError

__all__ = ["make_captions"]

_MIN_STORY_S = 3.0  # two events that are long enough to be seen


def make_captions(
    out_dir: Path | str,
    *,
    num_train: int = 600,
    num_val: int = 100,
    size_px: int = 64,
    length_s: float = 7.0,
    fps: int = 12,
    num_classes: int = len(CLASSES),
    seed: int = 0,
    num_workers: int = 0,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> None:
    """Writes videos of exactly two events to videos/, and train.json and val.json in the form of ActivityNet Captions.

    Each video has three sentences: for the whole video (`a red ring grows, then a blue square moves left`), for its
    first event and for its second. The two motions differ. Durations are drawn between 0.85 and 1.15 times
    `length_s`. Arguments and errors as in `make_clips`.
    """
    world = World.asked_for("captions", locals())
    if 0.85 * length_s < _MIN_STORY_S:
        raise ConfigError(
            f"synth captions: a length of {length_s} s leaves no room for two events; "
            f"needs {_MIN_STORY_S / 0.85:.2f} s or more"
        )
    if num_classes < 2:
        raise ConfigError(f"synth captions: num_classes is {num_classes}; a story has two motions, so give 2 or more")
    videos: list[tuple[str, Script]] = []
    texts: dict[str, str] = {}
    for split in SPLITS:
        stories = {}
        for index, rng in world.draws(split):
            num_frames = round(rng.uniform(0.85, 1.15) * length_s * fps)
            script = story_script(rng, motions=world.motions, num_frames=num_frames, fps=fps, size_px=size_px)
            name = f"{split}_{index:05d}"
            videos.append((f"videos/{name}.mp4", script))
            stories[name] = {
                "duration": script.duration_s,
                "timestamps": [[0.0, script.duration_s], *([e.start_s, e.end_s] for e in script.events)],
                "sentences": [caption(script), *(caption(script, event) for event in script.events)],
            }
        texts[f"{split}.json"] = json.dumps(stories, indent=1) + "\n"
    texts |= world.texts(videos)
    write_world(
        out_dir, world.to_dict(), videos, texts, num_workers=num_workers, overwrite=overwrite, progress=progress
    )
