"""A synthetic YouTube-8M: the motion world's videos as TFRecord shards of frame-level features, with their tags."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from videozoo.data.motion.folder import Progress, write_world
from videozoo.data.motion.labels import TAGS, tags
from videozoo.data.motion.render import render, sound
from videozoo.data.motion.script import CLASSES, Script
from videozoo.data.motion.world import SPLITS, World
from videozoo.errors import ConfigError, did_you_mean
from videozoo.io.tfrecord import encode_sequence_example, write_tfrecord

__all__ = ["FeatureKind", "make_yt8m"]

FeatureKind = Literal["random", "imagenet"]

VIDEOS_PER_SHARD = 40
FOLDERS = {"train": "train", "val": "validate"}


def make_yt8m(
    out_dir: Path | str,
    *,
    num_train: int = 800,
    num_val: int = 200,
    size_px: int = 64,
    length_s: float = 20.0,
    fps: int = 1,
    num_classes: int = len(CLASSES),
    features: FeatureKind = "random",
    seed: int = 0,
    num_workers: int = 0,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> None:
    """Writes shards train/*.tfrecord and validate/*.tfrecord in YouTube-8M's schema, and vocabulary.csv.

    A video's labels are the motions, shapes and colours of its events. Its `rgb` shows shapes and colours, also in
    pauses, and no motion, since a single frame has none. Its `audio` identifies the motion by the tone at its start. A
    model must combine both. Bytes stand for -2..2.

    Args:
        fps: frames a second that have features; YouTube-8M has 1.
        features: the network behind `rgb`, see `frame_features`; "imagenet" needs a package and is ten times slower.
        progress: called with (shards done, shards in all) after each.

    Durations are drawn between 0.7 and 1.3 times `length_s`. Other arguments and errors as in `make_clips`.
    """
    world = World.asked_for("yt8m", locals())
    if features not in get_args(FeatureKind):
        raise ConfigError(
            f"synth yt8m: features: there is no '{features}'{did_you_mean(features, get_args(FeatureKind))}"
        )

    from videozoo.data.motion.backbone import frame_features  # imports torch, which no other kind of world needs

    frame_features(
        np.zeros((1, size_px, size_px, 3), np.uint8), features
    )  # missing packages are reported before work begins
    shards: list[tuple[str, list[tuple[str, Script]]]] = []
    scripts: list[str] = []
    for split in SPLITS:
        name = FOLDERS[split]
        for index, _, script in world.untrimmed(split):
            if index % VIDEOS_PER_SHARD == 0:
                shards.append((f"{name}/{name}{index // VIDEOS_PER_SHARD:04d}.tfrecord", []))
            id_ = f"{name}{index:05d}"
            shards[-1][1].append((id_, script))
            scripts.append(f'{{"id": "{id_}", "script": {script.to_json()}}}\n')
    rows = "".join(f"{i},{tag}\n" for i, tag in enumerate(TAGS))
    write_world(
        out_dir,
        {**world.to_dict(), "features": features},
        shards,
        {"vocabulary.csv": f"Index,Name\n{rows}", "scripts.jsonl": "".join(scripts)},
        num_workers=num_workers,
        overwrite=overwrite,
        progress=progress,
        write_one=functools.partial(_write_shard, features=features),
    )


def _write_shard(path: Path, videos: list[tuple[str, Script]], *, features: FeatureKind) -> None:
    write_tfrecord(path, (_record(id_, script, features) for id_, script in videos))


def _record(id_: str, script: Script, features: FeatureKind) -> bytes:
    from videozoo.data.motion.backbone import AUDIO_RATE_HZ, frame_features, sound_features

    rgb = _quantised(frame_features(np.stack(list(render(script))), features))
    audio = _quantised(sound_features(sound(script, rate_hz=AUDIO_RATE_HZ), script.num_frames))
    labels = np.array([TAGS.index(tag) for tag in tags(script)], np.int64)
    return encode_sequence_example(
        {"id": [id_.encode()], "labels": labels},
        {"rgb": [[row.tobytes()] for row in rgb], "audio": [[row.tobytes()] for row in audio]},
    )


def _quantised(values: np.ndarray) -> np.ndarray:
    """Quantizes -2..2 to bytes by YouTube-8M's rule."""
    return np.clip((values + 2) * (255 / 4), 0, 255).astype(np.uint8)
