from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from videozoo.layers.loss import (
    asymmetric_loss,
    balanced_weights,
    binary_cross_entropy,
    binary_distillation,
    binary_focal_loss,
    binary_symmetric_divergence,
    distillation,
    focal_loss,
    mixed_targets,
    smooth_targets,
    soft_cross_entropy,
    symmetric_divergence,
)

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


WEIGHTS = torch.tensor([0.5, 1.0, 2.0, 4.0, 0.25])
PRESENT = torch.tensor(
    [[1.0, 0, 1, 0, 0], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1], [0, 0, 0, 0, 1], [0, 1, 0, 0, 0], [0.3] * 5]
)


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def test_class_weights_are_torchs_but_for_the_mean():
    ours = soft_cross_entropy(SCORES, smooth_targets(A, 5), weights=WEIGHTS)
    assert_close(ours, F.cross_entropy(SCORES, A, weight=WEIGHTS, reduction="sum") / 6)
    halves = [soft_cross_entropy(SCORES[i], smooth_targets(A[i], 5), weights=WEIGHTS) for i in (A < 2, A >= 2)]
    assert_close(ours, sum(halves) / 2)


def test_focal_loss_written_out():
    p = [[math.exp(x) / sum(map(math.exp, row)) for x in row] for row in SCORES.tolist()]
    terms = [-WEIGHTS[a].item() * (1 - p[i][a]) ** 2 * math.log(p[i][a]) for i, a in enumerate(A.tolist())]
    ours = focal_loss(SCORES, smooth_targets(A, 5), gamma=2.0, weights=WEIGHTS)
    assert ours.item() == pytest.approx(sum(terms) / 6, rel=1e-5)
    assert_close(focal_loss(SCORES, smooth_targets(A, 5), gamma=0.0), F.cross_entropy(SCORES, A))


def test_binary_focal_loss_written_out():
    terms = []
    for scores, targets in zip(SCORES.tolist(), PRESENT.tolist(), strict=True):
        for x, t in zip(scores, targets, strict=True):
            p = sigmoid(x)
            terms.append(-t * (1 - p) ** 1.5 * math.log(p) - (1 - t) * p**1.5 * math.log(1 - p))
    assert binary_focal_loss(SCORES, PRESENT, gamma=1.5).item() == pytest.approx(sum(terms) / 30, rel=1e-5)


def test_asymmetric_loss_written_out():
    terms = []
    for scores, targets in zip(SCORES.tolist(), PRESENT.tolist(), strict=True):
        for k, (x, t) in enumerate(zip(scores, targets, strict=True)):
            p = sigmoid(x)
            m = max(p - 0.1, 0)
            terms.append(-t * WEIGHTS[k].item() * (1 - p) * math.log(p) - (1 - t) * m**3 * math.log(1 - m))
    ours = asymmetric_loss(SCORES, PRESENT, gammas=(1.0, 3.0), margin=0.1, weights=WEIGHTS)
    assert ours.item() == pytest.approx(sum(terms) / 30, rel=1e-5)
    assert_close(asymmetric_loss(SCORES, PRESENT, gammas=(0, 0), margin=0.0), binary_cross_entropy(SCORES, PRESENT))


@pytest.mark.parametrize("loss", [focal_loss, binary_focal_loss, asymmetric_loss])
def test_losses_and_their_gradients_stay_finite_when_sure(loss):
    for sign in (1, -1):
        scores = (sign * 200 * torch.eye(5)).requires_grad_()
        value = loss(scores, torch.eye(5))
        value.backward()
        assert torch.isfinite(value) and torch.isfinite(scores.grad).all()


def test_balanced_weights_make_classes_count_alike():
    counts = [10, 30, 0, 60]
    weights = balanced_weights(counts)
    assert [c * w for c, w in zip(counts, weights, strict=True)] == pytest.approx([100 / 3, 100 / 3, 0, 100 / 3])
    assert weights[2] == 1.0


def test_distillation_is_the_divergence_at_a_temperature():
    student, teacher = SCORES[:3], SCORES[3:]
    expected = F.kl_div((student / 4).log_softmax(-1), (teacher / 4).softmax(-1), reduction="batchmean") * 16
    assert_close(distillation(student, teacher, temperature=4.0), expected)
    assert distillation(teacher, teacher).item() == pytest.approx(0, abs=1e-6)


def test_binary_divergences_written_out():
    def divergence(x, y):
        p, q = sigmoid(x), sigmoid(y)
        return p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))

    student, teacher = SCORES[:3], SCORES[3:]
    pairs = list(zip(student.flatten().tolist(), teacher.flatten().tolist(), strict=True))
    soft = sum(divergence(y / 2, x / 2) for x, y in pairs) / 15 * 4
    assert binary_distillation(student, teacher, temperature=2.0).item() == pytest.approx(soft, rel=1e-4)
    both = sum(divergence(x, y) + divergence(y, x) for x, y in pairs) / 30
    assert binary_symmetric_divergence(student, teacher).item() == pytest.approx(both, rel=1e-4)
