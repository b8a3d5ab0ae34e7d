from __future__ import annotations

import torch
import torch.nn.functional as F
from torch.testing import assert_close

from videozoo.layers.loss import mixed_targets, smooth_targets, soft_cross_entropy, symmetric_divergence

SCORES = torch.randn(6, 5, generator=torch.Generator().manual_seed(0)) * 3
A, B = torch.tensor([0, 1, 2, 3, 4, 0]), torch.tensor([4, 4, 2, 0, 1, 3])


def test_smoothing_is_torchs():
    for smoothing in (0.0, 0.1):
        ours = soft_cross_entropy(SCORES, smooth_targets(A, 5, smoothing))
        assert_close(ours, F.cross_entropy(SCORES, A, label_smoothing=smoothing))


def test_mixing_targets_mixes_losses():
    a, b = smooth_targets(A, 5, 0.1), smooth_targets(B, 5, 0.1)
    mixed = soft_cross_entropy(SCORES, mixed_targets(a, b, 0.3))
    assert_close(mixed, 0.3 * soft_cross_entropy(SCORES, a) + 0.7 * soft_cross_entropy(SCORES, b))


def test_each_sample_may_have_its_own_share():
    a, b = smooth_targets(A, 5), smooth_targets(B, 5)
    share = torch.tensor([1.0, 0.0, 1.0, 0.0, 1.0, 0.0])
    assert torch.equal(mixed_targets(a, b, share).argmax(1), torch.where(share == 1, A, B))


def test_half_precision_scores_are_scored_in_float32():
    loss = soft_cross_entropy(SCORES.bfloat16(), smooth_targets(A, 5))
    assert loss.dtype == torch.float32
    assert_close(loss, F.cross_entropy(SCORES.bfloat16().float(), A))


def test_symmetric_divergence_is_the_mean_of_both():
    p, q = SCORES[:3].log_softmax(-1), SCORES[3:].log_softmax(-1)
    both = [F.kl_div(x, y, log_target=True, reduction="batchmean") for x, y in ((p, q), (q, p))]
    assert_close(symmetric_divergence(SCORES[:3], SCORES[3:]), sum(both) / 2)
