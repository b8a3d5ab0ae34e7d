"""Scores of a classifier that slides over a feature map larger than the one it was trained on."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from videozoo.shapes import Float

__all__ = ["pool_windows", "window_scores"]


def pool_windows(x: Float[Tensor, "b c t h w"], window: int | None) -> Float[Tensor, "b _ _ c"]:
    """Averages over all of time and every `window` x `window` place, at stride 1; smaller maps are one window.

    Without a `window` the whole map is one.

    Input:  features [b, c, t, h, w]. Output: [b, h', w', c].
    """
    if window is None:
        return x.mean((2, 3, 4))[:, None, None]
    height, width = (min(window, size) for size in x.shape[-2:])
    return F.avg_pool2d(x.mean(2), (height, width), stride=1).permute(0, 2, 3, 1)


def window_scores(features: Float[Tensor, "b h w c"], classifier: nn.Module) -> Float[Tensor, "b k"]:
    """Scores [b, k] of window features [b, h, w, c]: a window's own, or the log of the mean probability of several.

    The soft-max of the answer is the mean of the windows' soft-maxes, as fully convolutional testing averages them.
    """
    scores = classifier(features).flatten(1, 2)
    if scores.shape[1] == 1:
        return scores.squeeze(1)
    return torch.logsumexp(scores.log_softmax(-1), 1) - torch.log(scores.new_tensor(float(scores.shape[1])))
