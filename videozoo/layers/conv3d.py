"""Three-dimensional convolutions, run as two-dimensional ones where that is the same and faster."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from videozoo.shapes import Float

__all__ = ["Conv3d"]


class Conv3d(nn.Conv3d):
    """`nn.Conv3d`, which runs a kernel of one frame over the frames as over images.

    It does so where the channels lie last in memory: the frames [b c t h w] are images [b*t c h w] then without being
    moved. torch has slower kernels for 3-D convolutions on a CPU, above all for single clips. The parameters are those
    of `nn.Conv3d`.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        in_time = (self.kernel_size[0], self.stride[0], self.padding[0])
        self.is_spatial = in_time == (1, 1, 0) and self.padding_mode == "zeros"

    def forward(self, x: Float[Tensor, "... _ _ _ _"]) -> Float[Tensor, "... _ _ _ _"]:
        is_clips = x.ndim == 5 and x.is_contiguous(memory_format=torch.channels_last_3d)
        if not (self.is_spatial and is_clips):
            return super().forward(x)
        images = x.transpose(1, 2).flatten(0, 1)
        weight, padding = self.weight.squeeze(2), self.padding[1:]
        found = F.conv2d(images, weight, self.bias, self.stride[1:], padding, self.dilation[1:], self.groups)
        return found.unflatten(0, (x.shape[0], x.shape[2])).transpose(1, 2)
