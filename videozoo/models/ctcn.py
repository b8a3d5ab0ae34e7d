"""C-TCN, a two-dimensional temporal convolutional network: anchors on a pyramid of snippet-by-concept maps.

Origin: C-TCN, the winner of the ActivityNet 2018 challenge's localization task (arXiv:1808.03766, section 4).
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from videozoo.decoding.anchors import num_anchors
from videozoo.errors import ConfigError
from videozoo.layers.dropout import InferenceScaledDropout
from videozoo.models.model import VideoModel
from videozoo.models.registry import register_model
from videozoo.shapes import Float

__all__ = ["CTCN", "CTCNOutput"]


class CTCNOutput(NamedTuple):
    """One row per anchor, in the order of `decoding.anchors.anchors`."""

    offsets: Tensor  # [b n 2], of centre and length; see `decoding.anchors.decode`
    scores: Tensor  # [b n 1 + k], before the soft-max; column 0 is the background


@register_model
class CTCN(VideoModel):
    """Detects actions of all lengths in one pass over the class scores of a video's snippets.

    The input is treated as an image, time by concept. All convolutions span time only, except the last of each head,
    which spans all concepts.

    Input:  features [b, num_snippets, feature_dim], e.g. class scores of two networks side by side.
    Output: `CTCNOutput` with 7 anchors at each place of 8 levels, 1785 for 512 snippets.

    Args:
        num_classes: number of action classes, without the background.
        feature_dim: concepts d, e.g. 2 x 201 class scores.
        num_snippets: length of the sequence, a multiple of 512.
        widths: channels inside the blocks of the four stages; a block's output has four times as many.
        counts: blocks of the four stages.
        pyramid_dim: channels of the pyramid.
        dropout: share of the pyramid set to zero before the heads in training; inference multiplies by 1 - dropout, as
            in the original.

    Raises:
        ConfigError: `num_snippets` is not a multiple of 512, or `num_classes` is below 1.
    """

    is_classifier = False

    def __init__(
        self,
        *,
        num_classes: int = 200,
        feature_dim: int = 402,
        num_snippets: int = 512,
        widths: tuple[int, int, int, int] = (64, 128, 256, 512),
        counts: tuple[int, int, int, int] = (3, 4, 6, 3),
        pyramid_dim: int = 512,
        dropout: float = 0.5,
    ):
        super().__init__()
        if num_snippets < 512 or num_snippets % 512:
            raise ConfigError(f"ctcn: num_snippets is {num_snippets}; needs a multiple of 512")
        self.input_shape = (num_snippets, feature_dim)
        stem = widths[0]
        self.stem = nn.Sequential(*_conv(1, stem // 2, 7, stride=2), *_conv(stem // 2, stem, 7, stride=2))
        outs = [4 * width for width in widths]
        self.stages = nn.ModuleList(
            nn.Sequential(
                *(
                    _Bottleneck(inner if i == 0 else out, width, stride=2 if stage and i == 0 else 1)
                    for i in range(count)
                )
            )
            for stage, (inner, out, width, count) in enumerate(zip([stem, *outs], outs, widths, counts, strict=False))
        )
        above = [outs[-1], *[pyramid_dim] * 4]
        self.coarse = nn.ModuleList(_rows(a, b, 3, stride=2, bias=True) for a, b in pairwise(above))
        self.laterals = nn.ModuleList(nn.Conv2d(out, pyramid_dim, 1) for out in reversed(outs))
        self.smooth = nn.ModuleList(_rows(pyramid_dim, pyramid_dim, 3, bias=True) for _ in outs[1:])
        self.dropout = InferenceScaledDropout(dropout)
        self.num_features = pyramid_dim
        half = pyramid_dim // 2
        self.offsets = nn.Sequential(
            _rows(pyramid_dim, half, 3, bias=True), nn.Conv2d(half, 2 * num_anchors(), (1, feature_dim))
        )
        self.scores = nn.Sequential(_rows(pyramid_dim, pyramid_dim, 3, bias=True))
        self.reset_classifier(num_classes)

    def forward(self, x: Float[Tensor, "b t d"]) -> CTCNOutput:
        levels = self.forward_levels(x)
        offsets = torch.cat([_by_anchor(self.offsets(self.dropout(level)), 2) for level in levels], 1)
        width = self.num_classes + 1
        scores = torch.cat([_by_anchor(self.scores(self.dropout(level)), width) for level in levels], 1)
        return CTCNOutput(10 * offsets.sigmoid() - 5, scores)

    def forward_levels(self, x: Float[Tensor, "b t d"]) -> list[Float[Tensor, "b _ _ _"]]:
        """Returns the pyramid, finest first: maps `[b c t d]` with t from a quarter of the snippets down to a 512th."""
        if x.ndim != 3 or x.shape[1:] != self.input_shape:
            raise ConfigError(f"{self.name}: the input has shape {tuple(x.shape)}; needs features {self.input_shape}")
        maps = [self.stem(x.unsqueeze(1))]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        coarse = [self.coarse[0](maps[-1])]
        for layer in list(self.coarse)[1:]:
            coarse.append(layer(F.relu(coarse[-1])))
        merged = self.laterals[0](maps[-1])
        fine = [merged]
        for lateral, smooth, below in zip(list(self.laterals)[1:], self.smooth, maps[-2:0:-1], strict=True):
            raised = F.interpolate(merged, size=below.shape[2:], mode="bilinear", align_corners=True)
            merged = raised + lateral(below)
            fine.append(smooth(merged))
        return [*reversed(fine), *coarse]

    def forward_features(self, x: Float[Tensor, "b t d"]) -> Float[Tensor, "b _"]:
        return self.forward_levels(x)[-1].mean((2, 3))

    def reset_classifier(self, num_classes: int) -> None:
        if num_classes < 1:
            raise ConfigError(f"ctcn: num_classes is {num_classes}; a detector needs 1 or more")
        self.num_classes = num_classes
        last = nn.Conv2d(self.num_features, (num_classes + 1) * num_anchors(), (1, self.input_shape[1]))
        self.scores = nn.Sequential(self.scores[0], last)


class _Bottleneck(nn.Module):
    def __init__(self, inner: int, width: int, *, stride: int):
        super().__init__()
        self.body = nn.Sequential(
            *_conv(inner, width, 1), *_conv(width, width, 3, stride=stride), *_conv(width, 4 * width, 1)[:2]
        )
        same = inner == 4 * width and stride == 1
        self.shortcut = None if same else nn.Sequential(*_conv(inner, 4 * width, 1, stride=stride)[:2])

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.body(x) + (x if self.shortcut is None else self.shortcut(x)))


def _rows(inner: int, out: int, size: int, *, stride: int = 1, bias: bool = False) -> nn.Conv2d:
    """Returns a convolution over time only."""
    return nn.Conv2d(inner, out, (size, 1), stride=(stride, 1), padding=(size // 2, 0), bias=bias)


def _conv(inner: int, out: int, size: int, *, stride: int = 1) -> list[nn.Module]:
    return [_rows(inner, out, size, stride=stride), nn.BatchNorm2d(out), nn.ReLU(inplace=True)]


def _by_anchor(level: Tensor, width: int) -> Tensor:
    """Reshapes maps `[b, anchors width, t, 1]` to rows `[b, t anchors, width]`."""
    return level.squeeze(3).transpose(1, 2).unflatten(2, (-1, width)).flatten(1, 2)
