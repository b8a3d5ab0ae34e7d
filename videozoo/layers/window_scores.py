"""Scores of a classifier that slides over a feature map larger than in training."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from videozoo.shapes import Float

__all__ = ["pool_windows", "window_scores"]


def pool_windows(x: Float[Tensor, "b c t h w"], window: int | None) -> Float[Tensor, "b _ _ c"]:
    """Averages over time and over `window` x `window` positions at stride 1; a smaller map is one window.

    Without `window`, the complete map is one window.

    Input:  features [b, c, t, h, w]. Output: [b, h', w', c].
    """
    if window is None:
        return x.mean((2, 3, 4))[:, None, None]
    height, width = (min(window, size) for size in x.shape[-2:])
    return F.avg_pool2d(x.mean(2), (height, width), stride=1).permute(0, 2, 3, 1)


def window_scores(features: Float[Tensor, "b h w c"], classifier: nn.Module) -> Float[Tensor, "b k"]:
    """Returns scores [b, k] of window features [b, h, w, c]; for several windows, the log of their mean probability.

    The soft-max of the result is the mean of the windows' soft-maxes, as in fully convolutional testing.
    """
    scores = classifier(features).flatten(1, 2)
    if scores.shape[1] == 1:
        return scores.squeeze(1)
    return torch.logsumexp(scores.log_softmax(-1), 1) - torch.log(scores.new_tensor(float(scores.shape[1])))
