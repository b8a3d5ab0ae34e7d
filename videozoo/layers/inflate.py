"""Weights of image networks, inflated over time."""

from __future__ import annotations

from torch import Tensor

from videozoo.shapes import Float

__all__ = ["inflate"]


def inflate(weight: Float[Tensor, "o i h w"], num_frames: int) -> Float[Tensor, "o i _ h w"]:
    """Turns a 2-D convolution's weights [o i h w] into those of a 3-D one [o i t h w] that averages over its frames.

    Paper: I3D, arXiv:1705.07750, section 2.4. A still clip gives the same result as its frame.
    """
    return weight.unsqueeze(2).repeat(1, 1, num_frames, 1, 1) / num_frames
