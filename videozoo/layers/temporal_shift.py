"""The temporal shift: exchanges channels between neighbouring frames, without arithmetic."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from videozoo.errors import ConfigError
from videozoo.shapes import Float

__all__ = ["check_fraction", "temporal_shift"]


def check_fraction(fraction: float) -> None:
    """Raises ConfigError if `fraction` of the channels cannot move in both directions."""
    if not 0 <= fraction <= 0.5:
        raise ConfigError(f"shift_fraction: got {fraction}; needs 0 (no shift) to 0.5 (every channel)")


def temporal_shift(x: Float[Tensor, "n c h w"], num_frames: int, fraction: float = 1 / 8) -> Float[Tensor, "n c h w"]:
    """Takes the first channels of each frame from the previous frame and the next channels from the next frame.

    Paper: TSM, arXiv:1811.08383, section 3.2 (the bi-directional shift). The first `int(c * fraction)` channels come
    from the previous frame, those up to `int(2 * c * fraction)` from the next frame, the rest stay. Values beyond the
    ends of a clip are zero.

    Each frame is written once, plus the shifted channels; nothing is written in place, so that autograd, torch.compile
    and export see three plain operations. The memory format of the input (channels last or not) is kept.

    Input:  frames [b*t, c, h, w] of complete clips, time running fastest, t = `num_frames`.
    Output: the same shape.
    """
    channels = x.shape[1]
    first, second = int(channels * fraction), int(2 * channels * fraction)
    channels_last = x.is_contiguous(memory_format=torch.channels_last)
    frames = x.permute(0, 2, 3, 1) if channels_last else x
    dim = -1 if channels_last else 2
    clips = frames.unflatten(0, (-1, num_frames))
    before, after, still = clips.split([first, second - first, channels - second], dim)
    later, sooner = (0,) * 6 + (1, -1), (0,) * 6 + (-1, 1)  # on the time axis, the first but one
    shifted = torch.cat([F.pad(before, later), F.pad(after, sooner), still], dim).flatten(0, 1)
    return shifted.permute(0, 3, 1, 2) if channels_last else shifted
