"""Two clips in one: mixup and cutmix over a batch, and VideoMix, which draws one of them."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from videozoo.errors import ConfigError
from videozoo.shapes import Float, Int, Num

__all__ = ["CutBox", "Mix", "Mixed", "cutmix", "draw_box", "mixup"]


class CutBox(NamedTuple):
    """A rectangle in pixels; the far sides are not part of it."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def area(self) -> int:
        return (self.bottom - self.top) * (self.right - self.left)


class Mixed(NamedTuple):
    """A mixed batch: each clip is `lam` its own class and `1 - lam` the other."""

    video: Tensor
    label_a: Tensor
    label_b: Tensor
    lam: float


def mixup(video: Float[Tensor, "b t c h w"], lam: float, perm: Int[Tensor, " b"]) -> Float[Tensor, "b t c h w"]:
    """`lam * video + (1 - lam) * video[perm]`.

    Paper: mixup, arXiv:1710.09412, section 2.
    """
    return video * lam + video[perm] * (1 - lam)


def cutmix(
    video: Num[Tensor, "b t c h w"], perm: Int[Tensor, " b"], box: CutBox, *, box_in_time: bool = False
) -> tuple[Num[Tensor, "b t c h w"], float]:
    """`video` `[b t c h w]` with `box` of every frame taken from `video[perm]`, and the share kept.

    Paper: CutMix, arXiv:1905.04899, section 3.1; VideoMix, arXiv:2012.03457: one rectangle for all frames.
    The share is that of the pixels that were really kept, also where the box was cut off at the border.

    Args:
        box_in_time: cuts the rectangle out of (time, height) but counts its area against height * width, as
            PaddleVideo does; only for comparing with it.
    """
    rows, columns = slice(box.top, box.bottom), slice(box.left, box.right)
    part = (slice(None), rows, slice(None), columns) if box_in_time else (..., rows, columns)
    mixed = video.clone()
    mixed[part] = video[perm][part]
    return mixed, 1 - box.area / (video.shape[-2] * video.shape[-1])


def draw_box(rng: np.random.Generator, height: int, width: int, *, lam: float) -> CutBox:
    """A rectangle of `1 - lam` of the area, its centre anywhere, cut off at the border."""
    side = math.sqrt(1 - lam)
    h, w = int(height * side), int(width * side)
    y, x = rng.integers(height), rng.integers(width)
    top, bottom = np.clip((y - h // 2, y + h // 2), 0, height).tolist()
    left, right = np.clip((x - w // 2, x + w // 2), 0, width).tolist()
    return CutBox(top, left, bottom, right)


class Mix:
    """Mixes the clips of a batch with each other, by mixup or by cutmix.

    Draws from torch's global generator, which the engine seeds for each step, or from the one that is passed.

    Args:
        mixup_alpha: lam is drawn from Beta(alpha, alpha); 0 turns mixup off.
        cutmix_alpha: the same for cutmix.
        prob: share of the batches that are mixed.
        switch_prob: with both on, share of the mixed batches that go to cutmix.
    """

    def __init__(
        self,
        *,
        mixup_alpha: float = 0.0,
        cutmix_alpha: float = 0.0,
        prob: float = 1.0,
        switch_prob: float = 0.5,
    ):
        if mixup_alpha < 0 or cutmix_alpha < 0 or not (mixup_alpha or cutmix_alpha):
            raise ConfigError(
                f"mix: got {mixup_alpha=} {cutmix_alpha=}; give at least one of them, above 0, and none below"
            )
        for name, value in {"prob": prob, "switch_prob": switch_prob}.items():
            if not 0 <= value <= 1:
                raise ConfigError(f"mix.{name}: is {value}; it is a probability, 0..1")
        self.mixup_alpha = mixup_alpha
        self.cutmix_alpha = cutmix_alpha
        self.prob = prob
        self.switch_prob = switch_prob

    def __call__(self, video: Tensor, label: Tensor, generator: torch.Generator | None = None) -> Mixed:
        """A batch `[b t c h w]` with its labels, mixed; `lam` is 1 where it was left alone."""
        seed = int(torch.randint(2**62, (), generator=generator))
        rng = np.random.default_rng(seed)
        if rng.random() >= self.prob:
            return Mixed(video, label, label, 1.0)
        perm = torch.from_numpy(rng.permutation(len(video))).to(video.device)
        if self._draws_cutmix(rng):
            height, width = video.shape[-2:]
            box = draw_box(rng, height, width, lam=rng.beta(self.cutmix_alpha, self.cutmix_alpha))
            mixed, lam = cutmix(video, perm, box)
        else:
            lam = rng.beta(self.mixup_alpha, self.mixup_alpha)
            mixed = mixup(video, lam, perm)
        return Mixed(mixed, label, label[perm], lam)

    def _draws_cutmix(self, rng: np.random.Generator) -> bool:
        if not self.mixup_alpha or not self.cutmix_alpha:
            return not self.mixup_alpha
        return bool(rng.random() < self.switch_prob)
