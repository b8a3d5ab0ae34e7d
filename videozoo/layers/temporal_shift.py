"""The temporal shift: exchanges channels between neighbouring frames, without arithmetic."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from videozoo.errors import ConfigError
from videozoo.shapes import Float

__all__ = ["Past", "Shift", "check_fraction", "past_shift", "temporal_shift"]


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
    clips, dim = _clips(x, num_frames)
    before, after, still = clips.split([first, second - first, channels - second], dim)
    later, sooner = (0,) * 6 + (1, -1), (0,) * 6 + (-1, 1)  # on the time axis, the first but one
    return _images(torch.cat([F.pad(before, later), F.pad(after, sooner), still], dim), dim)


def past_shift(
    x: Float[Tensor, "n c h w"], num_frames: int, fraction: float, before: Float[Tensor, "b _ h w"] | None = None
) -> tuple[Float[Tensor, "n c h w"], Float[Tensor, "b _ h w"]]:
    """Takes the first `int(c * fraction)` channels of each frame from the previous frame; the rest stay.

    Paper: TSM, arXiv:1811.08383, section 3.2 (the uni-directional shift) and section 4.3 (its cache on a stream).

    Input:  frames as for `temporal_shift`; `before` holds those channels of the frame before each clip, else zeros.
    Output: the shifted frames, and those channels of the last frame of each clip.
    """
    moving = int(x.shape[1] * fraction)
    clips, dim = _clips(x, num_frames)
    moved, still = clips.split([moving, x.shape[1] - moving], dim)
    first = torch.zeros_like(moved[:, :1]) if before is None else _clips(before, 1, like=dim)[0]
    shifted = torch.cat([torch.cat([first, moved[:, :-1]], 1), still], dim)
    return _images(shifted, dim), _images(moved[:, -1:], dim)


@dataclasses.dataclass
class Past:
    """The memory that the causal shifts of one network share while it runs on streams.

    Attributes:
        num_frames: frames of each clip in the current forward pass.
        before: the channels of the frame before each clip, by the shift's name; missing ones are zero.
        after: the same channels of the last frame; None unless the clips continue.
    """

    num_frames: int = 1
    before: Mapping[str, Tensor] = dataclasses.field(default_factory=dict)
    after: dict[str, Tensor] | None = None

    def begin(self, before: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Begins a pass over frames that follow `before`; returns the memory that the pass fills."""
        self.before, self.after = before, {}
        return self.after

    def end(self) -> None:
        """Ends the pass; the next clips have no past."""
        self.before, self.after = {}, None


@dataclasses.dataclass
class Shift:
    """The temporal shift at one place of a network, in both directions or from the past only.

    Attributes:
        name: identifies the place in `past`.
        num_frames: frames of a clip; with a past, those of `past` count.
        past: makes the shift causal.
    """

    name: str
    num_frames: int
    fraction: float
    past: Past | None = None

    def __call__(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        if self.past is None:
            return temporal_shift(x, self.num_frames, self.fraction)
        shifted, last = past_shift(x, self.past.num_frames, self.fraction, self.past.before.get(self.name))
        if self.past.after is not None:
            self.past.after[self.name] = last
        return shifted


def _clips(x: Tensor, num_frames: int, *, like: int | None = None) -> tuple[Tensor, int]:
    """Returns frames as clips, and the axis of their channels: the last one in the format channels last."""
    channels_last = x.is_contiguous(memory_format=torch.channels_last) if like is None else like == -1
    frames = x.permute(0, 2, 3, 1) if channels_last else x
    return frames.unflatten(0, (-1, num_frames)), -1 if channels_last else 2


def _images(clips: Tensor, dim: int) -> Tensor:
    """Returns clips as frames `[n c h w]`; the inverse of `_clips`."""
    frames = clips.flatten(0, 1)
    return frames.permute(0, 3, 1, 2) if dim == -1 else frames
