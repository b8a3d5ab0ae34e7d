"""A made YouTube-8M: the motion world's videos as TFRecord shards of frame-level features, with their tags."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from videozoo.data.motion.labels import TAGS, tags
from videozoo.data.motion.render import render, sound
from videozoo.data.motion.script import CLASSES, Script, untrimmed_script
from videozoo.errors import ConfigError
from videozoo.io.tfrecord import encode_sequence_example, write_tfrecord

__all__ = ["make_yt8m"]

RGB_DIM, AUDIO_DIM = 1024, 128
VIDEOS_PER_SHARD = 100
AUDIO_RATE_HZ = 16_000
MARKER = "world.json"
VERSION = 1


def make_yt8m(
    out_dir: Path | str,
    *,
    num_train: int = 800,
    num_val: int = 200,
    size_px: int = 64,
    length_s: float = 20.0,
    fps: int = 2,
    num_classes: int = len(CLASSES),
    seed: int = 0,
    num_workers: int = 0,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Shards train*.tfrecord and validate*.tfrecord of YouTube-8M's schema, and vocabulary.csv.

    Features of a frame: `rgb`, a frozen, random two-layer convolution, pooled (colour and shape can be read from it);
    `audio`, the spectrum of the sound around it (the motion can). Both are bytes that stand for -2..2.

    Args:
        length_s: of a video, on average; drawn between 0.7 and 1.3 times this.
        fps: frames a second that have features.
        num_classes: motions that take part.
        num_workers: unused, since little is to be done; other kinds have it.

    Raises:
        ConfigError: an argument is out of range, or `out_dir` is not empty and not to be overwritten.
    """
    out = Path(out_dir)
    asked = {"version": VERSION, "kind": "yt8m", "num_train": num_train, "num_val": num_val, "size_px": size_px}
    asked |= {"length_s": length_s, "fps": fps, "num_classes": num_classes, "seed": seed}
    if out.exists() and any(out.iterdir()):
        marker = out / MARKER
        known = json.loads(marker.read_text(encoding="utf-8")) if marker.is_file() else None
        if known == asked and not overwrite:
            return
        if known is None or known.get("kind") != "yt8m" or not overwrite:
            raise ConfigError(f"{out}: is not empty; give another folder, or --overwrite a world of the same kind")
        for path in (*out.glob("*.tfrecord"), marker):
            path.unlink()
    for name, value, least in (("length_s", length_s, 8), ("fps", fps, 1), ("size_px", size_px, 16)):
        if value < least:
            raise ConfigError(f"synth yt8m: {name} is {value}; needs {least} or more")
    if not 1 <= num_classes <= len(CLASSES):
        raise ConfigError(f"synth yt8m: num_classes is {num_classes}; needs 1..{len(CLASSES)}")
    backbone, done = _Backbone(), 0
    told: list[str] = []
    for split, name, num_videos in ((0, "train", num_train), (1, "validate", num_val)):
        for shard, first in enumerate(range(0, num_videos, VIDEOS_PER_SHARD)):
            records = []
            for index in range(first, min(first + VIDEOS_PER_SHARD, num_videos)):
                rng = np.random.default_rng([seed, split, index])
                num_frames = round(length_s * rng.uniform(0.7, 1.3) * fps)
                script = untrimmed_script(
                    rng, motions=CLASSES[:num_classes], num_frames=num_frames, fps=fps, size_px=size_px
                )
                id_ = f"{name}{index:05d}"
                records.append(_record(id_, script, backbone))
                told.append(f'{{"id": "{id_}", "script": {script.to_json()}}}\n')
                done += 1
                if progress is not None:
                    progress(done, num_train + num_val)
            write_tfrecord(out / f"{name}{shard:04d}.tfrecord", records)
    rows = "".join(f"{i},{tag}\n" for i, tag in enumerate(TAGS))
    (out / "vocabulary.csv").write_text(f"Index,Name\n{rows}", encoding="utf-8")
    (out / "scripts.jsonl").write_text("".join(told), encoding="utf-8")
    (out / MARKER).write_text(json.dumps(asked) + "\n", encoding="utf-8")


def _record(id_: str, script: Script, backbone: _Backbone) -> bytes:
    frames = torch.from_numpy(np.stack(list(render(script))))
    rgb = _quantised(backbone(frames).numpy())
    audio = _quantised(np.stack(list(_spectra(sound(script, rate_hz=AUDIO_RATE_HZ), script.num_frames))))
    labels = np.array([TAGS.index(tag) for tag in tags(script)], np.int64)
    return encode_sequence_example(
        {"id": [id_.encode()], "labels": labels},
        {"rgb": [[row.tobytes()] for row in rgb], "audio": [[row.tobytes()] for row in audio]},
    )


class _Backbone(nn.Module):
    """Frames uint8 `[t h w 3]` to `[t 1024]` in about -2..2; the weights are the same wherever it runs."""

    def __init__(self) -> None:
        super().__init__()
        rng = np.random.default_rng(8)
        self.conv1 = nn.Conv2d(3, 32, 5, stride=2, padding=2)
        self.conv2 = nn.Conv2d(32, RGB_DIM // 2, 5, stride=4, padding=2)
        for layer in (self.conv1, self.conv2):
            fan_in = layer.weight[0].numel()
            weight = rng.normal(0, (2 / fan_in) ** 0.5, tuple(layer.weight.shape))
            layer.weight.data = torch.from_numpy(weight.astype(np.float32))
            layer.bias.data.zero_()  # type: ignore[union-attr]
        self.requires_grad_(False)

    def forward(self, frames: Tensor) -> Tensor:
        x = (frames.permute(0, 3, 1, 2).float() / 255 - 0.5) * 4
        x = F.relu(self.conv2(F.relu(self.conv1(x))))
        pooled = torch.cat([x.mean((2, 3)) * 2, x.amax((2, 3)) / 2], dim=1)
        return pooled - 1.5


def _spectra(samples: np.ndarray, num_frames: int) -> Iterator[np.ndarray]:
    """Log magnitudes of 128 bands of 0..2 kHz in each frame's part of the sound."""
    for part in np.array_split(samples, num_frames):
        spectrum = np.abs(np.fft.rfft(part, n=AUDIO_RATE_HZ // 2))[: AUDIO_DIM * 8]
        bands = spectrum.reshape(AUDIO_DIM, -1).max(axis=1)
        yield np.log10(bands / len(part) + 1e-4) + 2


def _quantised(values: np.ndarray) -> np.ndarray:
    """Bytes that stand for -2..2, by YouTube-8M's rule."""
    return np.clip((values + 2) * (255 / 4), 0, 255).astype(np.uint8)
