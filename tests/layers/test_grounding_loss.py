import math

import torch
from torch.testing import assert_close

from videozoo.layers.grounding_loss import alignment_loss, offset_loss


def naive(scores, ignored=()):
    num = len(scores)
    total = 0.0
    for i in range(num):
        for j in range(num):
            if (i, j) in ignored:
                continue
            weight = 1 / num + (1 if i == j else 0)
            total += weight * math.log(1 + math.exp(-scores[i][j] if i == j else scores[i][j]))
    return total / num**2


def test_alignment_by_hand():
    scores = torch.randn(4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert_close(alignment_loss(scores).item(), naive(scores.tolist()))


def test_ignored_pairs_count_nothing_and_the_diagonal_always_counts():
    scores = torch.randn(3, 3, dtype=torch.float64).requires_grad_()
    ignore = torch.tensor([[True, True, False], [False, True, False], [False, False, False]])
    loss = alignment_loss(scores, ignore=ignore)
    assert_close(loss.item(), naive(scores.tolist(), ignored={(0, 1)}))
    loss.backward()
    assert scores.grad[0, 1] == 0 and scores.grad.count_nonzero() == 8


def test_huge_scores_stay_finite():
    assert torch.isfinite(alignment_loss(torch.full((2, 2), 1e4)))


def test_offsets():
    assert offset_loss(torch.tensor([[1.0, 2.0]]), torch.tensor([[0.0, 4.0]])) == 1.5
