"""Three-dimensional convolutions, run as equivalent two-dimensional ones where that is faster."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from videozoo.shapes import Float

__all__ = ["Conv3d"]


class Conv3d(nn.Conv3d):
    """`nn.Conv3d` that runs one-frame kernels as 2-D convolutions.

    It does so for inputs in channels-last memory, where clips [b c t h w] are images [b*t c h w] without a copy. On a
    CPU, torch's 3-D convolutions are slower, above all for single clips. The parameters are those of `nn.Conv3d`.
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
