"""Boundary-sensitive features: the action probability inside of a segment and around its ends.

Paper: Lin et al., BSN, arXiv:1806.02964, section 3.3.
"""

from __future__ import annotations

import torch
from torch import Tensor

from videozoo.shapes import Float

__all__ = ["boundary_sensitive"]


def boundary_sensitive(
    action: Float[Tensor, "b t"],
    segments: Float[Tensor, "... n 2"],
    *,
    num_action: int = 16,
    num_boundary: int = 8,
    num_subsamples: int = 3,
    boundary_ratio: float = 0.25,
) -> Tensor:
    """Computes `decoding.proposals.proposal_features` on a device: `[b, n, num_action + 2 num_boundary]`.

    Args:
        action: probability of an action at each snippet `[b t]`.
        segments: `[n 2]` for all samples or `[b n 2]`, in shares of the sequence.
    """
    b, t = action.shape
    padded = torch.nn.functional.pad(action, (1, 1))  # outside of the sequence the probability is zero

    def sample(low: Tensor, high: Tensor, num: int) -> Tensor:
        step = (high - low) / (num - 1)
        points = torch.arange(num * num_subsamples + 1, device=action.device, dtype=segments.dtype)
        at = (low - step / 2).unsqueeze(-1) + (step / num_subsamples).unsqueeze(-1) * points
        place = (at * t + 0.5).clamp(0, t + 1)  # in columns of `padded`, whose middles are whole numbers
        below = place.floor().clamp(max=t)
        share = (place - below).to(action.dtype)
        column = below.long().expand(b, -1, -1).flatten(1)
        left, right = (padded.gather(1, column + k).view(b, *at.shape[-2:]) for k in (0, 1))
        read = left + (right - left) * share
        return read.unfold(-1, num_subsamples + 1, num_subsamples).mean(-1)

    low, high = segments.unbind(-1)
    reach = (high - low) * boundary_ratio
    parts = (
        sample(low, high, num_action),
        sample(low - reach, low + reach, num_boundary),
        sample(high - reach, high + reach, num_boundary),
    )
    return torch.cat(parts, -1)
