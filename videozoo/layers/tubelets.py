"""Clips as tokens: patches that span several frames, and their places."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from videozoo.errors import ConfigError
from videozoo.shapes import Float

__all__ = ["TubeletEmbed", "sine_positions"]

Grid = tuple[int, int, int]  # tokens along t, h and w


class TubeletEmbed(nn.Module):
    """Embeds the tubelets of clips: `tubelet_frames` frames times `patch_px` x `patch_px` pixels each."""

    def __init__(self, width: int, *, tubelet_frames: int, patch_px: int):
        super().__init__()
        self.size = (tubelet_frames, patch_px, patch_px)
        self.proj = nn.Conv3d(3, width, self.size, self.size)

    def grid(self, x: Float[Tensor, "b t c h w"], *, name: str) -> Grid:
        """Returns the numbers of tubelets along t, h and w.

        Raises:
            ConfigError: the input of the model `name` is not a clip of whole tubelets.
        """
        t, px, _ = self.size
        if x.ndim != 5 or any(have % size for have, size in zip(_sizes(x), self.size, strict=True)):
            raise ConfigError(
                f"{name}: the input has shape {tuple(x.shape)}; needs clips [b t c h w] with t a multiple of {t}, and "
                f"h and w multiples of {px}: change num_frames and crop_px of the input"
            )
        frames, height, width = _sizes(x)
        return frames // t, height // px, width // px

    def forward(self, x: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b n d"]:
        return self.proj(x.transpose(1, 2)).flatten(2).transpose(1, 2)


def sine_positions(num_positions: int, width: int) -> Float[Tensor, "n d"]:
    """Returns fixed position embeddings `[num_positions width]`: sine and cosine in turn, at falling frequencies.

    Paper: Vaswani et al., arXiv:1706.03762, section 3.5.
    """
    rates = 10000.0 ** (-(torch.arange(width, dtype=torch.float64) // 2) * 2 / width)
    angles = torch.arange(num_positions, dtype=torch.float64).unsqueeze(1) * rates
    return torch.where(torch.arange(width) % 2 == 0, angles.sin(), angles.cos()).float()


def _sizes(x: Tensor) -> Grid:
    return x.shape[1], x.shape[3], x.shape[4]
