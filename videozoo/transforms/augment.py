"""Random training transforms of a clip: one crop, one flip, one change of colour for all its frames."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

import numpy as np

from videozoo.errors import ConfigError
from videozoo.transforms.geometry import Box, center_box, multi_scale_boxes

__all__ = ["Augment"]

CropKind = Literal["multi_scale", "multi_scale_random", "random_resized", "random", "center"]


@dataclasses.dataclass(frozen=True)
class Augment:
    """The random part of a training pipeline.

    Args:
        crop: how the crop is drawn in the frame, as if scaled to a short side of `short_side_px`:
            "multi_scale"         sides from `scales`, at fixed places (TSN);
            "multi_scale_random"  the same, then a random crop_px / short_side_px part of it (PP-TSM);
            "random_resized"      any place, with `area` and `ratio` drawn (Inception, Video Swin);
            "random"              a square of crop_px at any place (SlowFast, with `short_side_range_px`);
            "center"              always the middle.
        scales: sides of "multi_scale" as parts of the short side.
        area: smallest and largest part of the frame for "random_resized".
        ratio: smallest and largest width / height for "random_resized".
        short_side_range_px: the short side is drawn from these, both included; None keeps short_side_px.
        flip: probability of a mirror image; set 0 if left and right matter.
        flip_label_pairs: classes that a mirror image turns into each other, e.g. "left" and "right".
        color_jitter: strength x of the changes of brightness, contrast and saturation, by 1 - x to 1 + x.
        hue: largest shift of hue, in turns, 0..0.5.
    """

    crop: CropKind = "multi_scale"
    scales: tuple[float, ...] = (1.0, 0.875, 0.75, 0.66)
    area: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    short_side_range_px: tuple[int, int] | None = None
    flip: float = 0.5
    flip_label_pairs: tuple[tuple[int, int], ...] = ()
    color_jitter: float = 0.0
    hue: float = 0.0

    def __post_init__(self) -> None:
        if not self.scales or not all(0 < s <= 1 for s in self.scales):
            raise ConfigError(f"input.augment.scales: is {self.scales}; give parts of the short side, in 0..1")
        for name, (low, high) in {"area": self.area, "ratio": self.ratio}.items():
            if not 0 < low <= high:
                raise ConfigError(f"input.augment.{name}: is {(low, high)}; give [smallest, largest], above 0")
        if self.area[1] > 1:
            raise ConfigError(f"input.augment.area: is {self.area}; areas are shares of the frame, at most 1")
        if self.short_side_range_px and not 0 < self.short_side_range_px[0] <= self.short_side_range_px[1]:
            raise ConfigError(
                f"input.augment.short_side_range_px: is {self.short_side_range_px}; give [least, most] in px"
            )
        if not 0 <= self.flip <= 1:
            raise ConfigError(f"input.augment.flip: is {self.flip}; give a probability in 0..1")
        if not 0 <= self.color_jitter <= 1:
            raise ConfigError(f"input.augment.color_jitter: is {self.color_jitter}; give a strength in 0..1")
        if not 0 <= self.hue <= 0.5:
            raise ConfigError(f"input.augment.hue: is {self.hue}; give turns of the colour circle, 0..0.5")

    def draw_short_side(self, rng: np.random.Generator, default_px: int) -> int:
        """Draws the short side to which the frame is scaled, in effect, before the crop."""
        if self.short_side_range_px is None:
            return default_px
        low, high = self.short_side_range_px
        return int(rng.integers(low, high + 1))

    def draw_box(self, rng: np.random.Generator, height: int, width: int, crop_px: int) -> Box:
        """Draws a crop of a frame of that size; all but "random" and "center" may have any size and shape."""
        if self.crop == "center":
            return center_box(height, width, crop_px)
        if self.crop == "random":
            return _place(rng, height, width, crop_px, crop_px)
        if self.crop == "random_resized":
            return self._random_resized(rng, height, width)
        shapes = list(multi_scale_boxes(height, width, self.scales))
        places = shapes[rng.integers(len(shapes))]
        box = places[rng.integers(len(places))]
        if self.crop == "multi_scale":
            return box
        part = min(crop_px / min(height, width), 1.0)
        inner = _place(rng, box.height, box.width, round(box.height * part), round(box.width * part))
        return Box(box.top + inner.top, box.left + inner.left, inner.height, inner.width)

    def draw_flip(self, rng: np.random.Generator) -> bool:
        return bool(rng.random() < self.flip)

    def draw_color(self, rng: np.random.Generator) -> dict[str, float] | None:
        """Draws the arguments of `color_jitter`, the same for every frame; None if colors stay unchanged."""
        if not self.color_jitter and not self.hue:
            return None
        brightness, contrast, saturation = rng.uniform(1 - self.color_jitter, 1 + self.color_jitter, size=3).tolist()
        hue = float(rng.uniform(-self.hue, self.hue))
        return {"brightness": brightness, "contrast": contrast, "saturation": saturation, "hue": hue}

    def flipped_labels(self, labels: tuple[int, ...]) -> tuple[int, ...]:
        """Returns the classes of a mirrored clip."""
        mirror = {a: b for pair in self.flip_label_pairs for a, b in (pair, pair[::-1])}
        return tuple(mirror.get(label, label) for label in labels)

    def _random_resized(self, rng: np.random.Generator, height: int, width: int) -> Box:
        for _ in range(10):
            area = height * width * rng.uniform(*self.area)
            ratio = math.exp(rng.uniform(math.log(self.ratio[0]), math.log(self.ratio[1])))
            h, w = round(math.sqrt(area / ratio)), round(math.sqrt(area * ratio))
            if 0 < h <= height and 0 < w <= width:
                return _place(rng, height, width, h, w)
        return center_box(height, width, min(height, width))


def _place(rng: np.random.Generator, height: int, width: int, h: int, w: int) -> Box:
    return Box(int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1)), h, w)
