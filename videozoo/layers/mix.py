"""Mixing of two clips into one: mixup and cutmix over a batch, and VideoMix, which draws one of them."""

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
    """A rectangle in pixels; `bottom` and `right` are exclusive."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def area(self) -> int:
        return (self.bottom - self.top) * (self.right - self.left)


class Mixed(NamedTuple):
    """A mixed batch: the target of each clip is `lam` of `label_a` and `1 - lam` of `label_b`."""

    video: Tensor
    label_a: Tensor
    label_b: Tensor
    lam: float


def mixup(video: Float[Tensor, "b t c h w"], lam: float, perm: Int[Tensor, " b"]) -> Float[Tensor, "b t c h w"]:
    """Returns `lam * video + (1 - lam) * video[perm]`.

    Paper: mixup, arXiv:1710.09412, section 2.
    """
    return video * lam + video[perm] * (1 - lam)


def cutmix(
    video: Num[Tensor, "b t c h w"], perm: Int[Tensor, " b"], box: CutBox, *, box_in_time: bool = False
) -> tuple[Num[Tensor, "b t c h w"], float]:
    """Returns `video` `[b t c h w]` with `box` of every frame taken from `video[perm]`, and the kept share of pixels.

    Paper: CutMix, arXiv:1905.04899, section 3.1; VideoMix, arXiv:2012.03457: one rectangle for all frames.
    The share counts the pixels actually kept, also if the box is clipped at the border.

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
    """Draws a rectangle of `1 - lam` of the area with its centre anywhere, clipped at the border."""
    side = math.sqrt(1 - lam)
    h, w = int(height * side), int(width * side)
    y, x = rng.integers(height), rng.integers(width)
    top, bottom = np.clip((y - h // 2, y + h // 2), 0, height).tolist()
    left, right = np.clip((x - w // 2, x + w // 2), 0, width).tolist()
    return CutBox(top, left, bottom, right)


class Mix:
    """Mixes the clips of a batch with each other, by mixup or by cutmix.

    Draws from torch's global generator, which the engine seeds for each step, or from the given one.

    Args:
        mixup_alpha: alpha of the distribution Beta(alpha, alpha) of lam in mixup; 0 turns mixup off.
        cutmix_alpha: the same for cutmix.
        prob: share of batches to mix.
        switch_prob: if both are on, share of the mixed batches that use cutmix.
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
            raise ConfigError(f"mix: got {mixup_alpha=} {cutmix_alpha=}; needs both at least 0, and one above 0")
        for name, value in {"prob": prob, "switch_prob": switch_prob}.items():
            if not 0 <= value <= 1:
                raise ConfigError(f"mix.{name}: got {value}; needs a probability, 0..1")
        self.mixup_alpha = mixup_alpha
        self.cutmix_alpha = cutmix_alpha
        self.prob = prob
        self.switch_prob = switch_prob

    def __call__(self, video: Tensor, label: Tensor, generator: torch.Generator | None = None) -> Mixed:
        """Mixes a batch `[b t c h w]` and its labels; `lam` is 1 for an unmixed batch."""
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
