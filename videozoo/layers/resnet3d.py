"""Blocks of three-dimensional residual networks, shared by SlowFast and Non-local."""

from __future__ import annotations

from torch import Tensor, nn

from videozoo.layers.conv3d import Conv3d

__all__ = ["BLOCKS_BY_DEPTH", "Bottleneck3d", "ConvNorm3d"]

# blocks in the stages res2 to res5; 26 is in no paper, for small data
BLOCKS_BY_DEPTH = {26: (2, 2, 2, 2), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


class ConvNorm3d(nn.Sequential):
    """Convolution without bias, padded to keep the size at stride 1, then batch normalisation."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: tuple[int, int, int],
        *,
        stride: tuple[int, int, int] = (1, 1, 1),
    ):
        super().__init__()
        padding = (kernel[0] // 2, kernel[1] // 2, kernel[2] // 2)
        self.conv = Conv3d(in_channels, out_channels, kernel, stride, padding, bias=False)
        self.norm = nn.BatchNorm3d(out_channels)


class Bottleneck3d(nn.Module):
    """Residual block of convolutions k x 1 x 1, 1 x 3 x 3 (which strides in space) and 1 x 1 x 1.

    The last normalisation starts at zero, so that a fresh block is the identity (arXiv:1706.02677, section 5.1).
    """

    def __init__(self, in_channels: int, width: int, out_channels: int, *, temporal_kernel: int = 1, stride: int = 1):
        super().__init__()
        self.a = ConvNorm3d(in_channels, width, (temporal_kernel, 1, 1))
        self.b = ConvNorm3d(width, width, (1, 3, 3), stride=(1, stride, stride))
        self.c = ConvNorm3d(width, out_channels, (1, 1, 1))
        nn.init.zeros_(self.c.norm.weight)
        self.shortcut: nn.Module = nn.Identity()
        if in_channels != out_channels or stride > 1:
            self.shortcut = ConvNorm3d(in_channels, out_channels, (1, 1, 1), stride=(1, stride, stride))
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.c(self.act(self.b(self.act(self.a(x))))) + self.shortcut(x))
