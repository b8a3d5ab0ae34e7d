"""Losses of networks that find the boundaries of actions and rate proposals: BSN and BMN."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from videozoo.shapes import Float

__all__ = ["balanced_log_loss", "banded_regression_loss", "bmn_losses", "bsn_proposal_loss", "bsn_temporal_losses"]

EPS = 1e-6


def balanced_log_loss(
    probs: Tensor, positive: Tensor, *, valid: Tensor | None = None, extra_negatives: int = 0
) -> Tensor:
    """Returns the mean binary log loss with equal total weight for positives and negatives; either may be missing.

    Args:
        probs: probabilities of any shape.
        positive: booleans of the same shape.
        valid: booleans; entries that count. None counts all.
        extra_negatives: added to the number of negatives when their weight is computed.
    """
    valid = torch.ones_like(positive) if valid is None else valid.expand_as(positive)
    positive, negative = positive & valid, ~positive & valid
    entries, positives = valid.sum(), positive.sum()
    of_positives = 0.5 * entries / positives.clamp(min=1)
    of_negatives = 0.5 * entries / (entries - positives + extra_negatives).clamp(min=1)
    gain = of_positives * positive * (probs + EPS).log() + of_negatives * negative * (1 - probs + EPS).log()
    return -gain.sum() / entries


def banded_regression_loss(
    probs: Tensor,
    target: Tensor,
    *,
    low: float,
    high: float,
    valid: Tensor | None = None,
    low_share: float = 1.0,
    draws: Sequence[Tensor] | None = None,
    full_bands_take_all: bool = False,
) -> Tensor:
    """Returns half the mean squared error on all high targets and on random ones of the middle and the low band.

    The middle band contributes as many targets as the high band, the low band `low_share` times as many.

    Args:
        low, high: limits of the middle band: over `low`, up to `high`.
        valid: booleans; entries that count. None counts all.
        draws: uniform numbers in [0, 1) for the middle and the low band, of a shape that broadcasts to the targets;
            None draws them.
        full_bands_take_all: if a band has too few entries, add every entry of the map once, valid or not, as the
            original code does; else take all entries of the band.
    """
    valid = torch.ones_like(target, dtype=torch.bool) if valid is None else valid.expand_as(target)
    target = target * valid
    top = (target > high) & valid
    bands = ((target > low) & ~top & valid, (target <= low) & valid)
    if draws is None:
        draws = [torch.rand(target.shape[-2:], device=target.device) for _ in bands]
    weight = top.to(probs.dtype)
    for band, draw, share in zip(bands, draws, (1.0, low_share), strict=True):
        left_out = 1 - share * top.sum() / band.sum().clamp(min=1)
        chosen = draw * band > left_out
        weight = weight + (chosen if full_bands_take_all else chosen & band)
    return 0.5 * (weight * (probs - target).square()).sum() / weight.sum().clamp(min=1)


def bmn_losses(
    iou: Float[Tensor, "b d t"],
    match: Float[Tensor, "b d t"],
    start: Float[Tensor, "b t"],
    end: Float[Tensor, "b t"],
    *,
    overlap: Float[Tensor, "b d t"],
    start_target: Float[Tensor, "b t"],
    end_target: Float[Tensor, "b t"],
    draws: Sequence[Tensor] | None = None,
    full_bands_take_all: bool = False,
) -> dict[str, Tensor]:
    """Returns BMN's "loss" = "boundary" + 10 "regression" + "match" (arXiv:1907.09702, section 4.3).

    Args:
        iou, match: predictions `[b d t]`; start, end: `[b t]`.
        overlap: best overlap of each cell with the truth `[b d t]`; start_target, end_target: `[b t]`.
        draws, full_bands_take_all: see `banded_regression_loss`.
    """
    d, t = overlap.shape[-2:]
    steps = torch.arange(max(d, t), device=overlap.device)
    valid = (steps[:d, None] + steps[:t]) < t  # the segment ends inside the video
    boundary = balanced_log_loss(start, start_target > 0.5) + balanced_log_loss(end, end_target > 0.5)
    regression = banded_regression_loss(
        iou, overlap, low=0.3, high=0.7, valid=valid, draws=draws, full_bands_take_all=full_bands_take_all
    )
    matching = balanced_log_loss(match, overlap > 0.9, valid=valid)
    total = boundary + 10 * regression + matching
    return {"loss": total, "boundary": boundary, "regression": regression, "match": matching}


def bsn_temporal_losses(probs: Float[Tensor, "b 3 t"], targets: Float[Tensor, "b 3 t"]) -> dict[str, Tensor]:
    """Returns the sum of the balanced log losses of start, end and action; both `[b 3 t]` (arXiv:1806.02964, 3.4)."""
    parts = [balanced_log_loss(probs[:, i], targets[:, i] > 0.5, extra_negatives=1) for i in range(3)]
    return {"loss": torch.stack(parts).sum(), "start": parts[0], "end": parts[1], "action": parts[2]}


def bsn_proposal_loss(
    probs: Tensor,
    overlap: Tensor,
    *,
    valid: Tensor | None = None,
    draws: Sequence[Tensor] | None = None,
    full_bands_take_all: bool = False,
) -> Tensor:
    """Returns BSN's regression loss of each proposal's overlap with the truth; all `[b n]`."""
    return banded_regression_loss(
        probs,
        overlap,
        low=0.2,
        high=0.6,
        valid=valid,
        low_share=2.0,
        draws=draws,
        full_bands_take_all=full_bands_take_all,
    )
