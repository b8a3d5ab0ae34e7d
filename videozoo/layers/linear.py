"""Linear layers, run as equivalent pointwise convolutions where that is faster."""

from __future__ import annotations

import functools
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from videozoo.shapes import Float

__all__ = ["PointwiseLinear", "convolutions_are_faster"]

NUM_IMAGES = 16  # with one thread, torch has its fast convolutions only for as many images


class PointwiseLinear(nn.Linear):
    """`nn.Linear` that runs as a 1x1 convolution: the rows of the input are pixels with their channels last."""

    def forward(self, x: Float[Tensor, "... _"]) -> Float[Tensor, "... _"]:
        if torch.compiler.is_compiling():
            return super().forward(x)
        width = x.shape[-1]
        num_rows = x.numel() // max(width, 1)
        num_images = 1 if num_rows % NUM_IMAGES else NUM_IMAGES
        is_fast = num_images == NUM_IMAGES or torch.get_num_threads() > 1
        is_plain = x.device.type == "cpu" and x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
        if not (is_fast and is_plain and num_rows):
            return super().forward(x)
        pixels = x.reshape(num_images, -1, 1, width).permute(0, 3, 1, 2)
        weight = self.weight.view(-1, 1, 1, width).permute(0, 3, 1, 2)
        found = F.conv2d(pixels, weight, self.bias)
        return found.permute(0, 2, 3, 1).reshape(*x.shape[:-1], -1)


@functools.cache
def convolutions_are_faster() -> bool:
    """Returns whether torch's matrix products use narrower instructions here than its convolutions.

    On processors of AMD with AVX-512, MKL's products use AVX2 and oneDNN's convolutions AVX-512.
    """
    if torch.backends.cpu.get_cpu_capability() != "AVX512" or not torch.backends.mkldnn.is_available():
        return False
    information = Path("/proc/cpuinfo")
    return torch.backends.mkl.is_available() and information.is_file() and "AuthenticAMD" in information.read_text()
