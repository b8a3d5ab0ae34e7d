import pytest
import torch

from videozoo.layers.proposal_loss import balanced_log_loss, banded_regression_loss, bmn_losses


def test_balanced_loss_by_hand():
    probs, positive = torch.tensor([0.8, 0.4, 0.1, 0.2]), torch.tensor([True, False, False, False])
    want = -(0.5 * torch.tensor(0.8).log() + 0.5 * (1 - probs[1:]).log().mean())
    assert balanced_log_loss(probs, positive).item() == pytest.approx(want.item(), abs=1e-5)


@pytest.mark.parametrize("all_of", [True, False])
def test_one_kind_alone_is_finite(all_of):
    loss = balanced_log_loss(torch.full((4,), 0.3), torch.full((4,), all_of))
    assert 0 < loss.item() < 2


def test_bands_are_drawn_as_often_as_high_ones():
    torch.manual_seed(0)
    target = torch.cat([torch.full((50,), 0.9), torch.full((950,), 0.5), torch.full((2000,), 0.1)]).view(1, 30, 100)
    for value in (0.9, 0.5, 0.1):
        probs = target + (target == value)  # an error of 1 on one band alone
        loss = banded_regression_loss(probs, target, low=0.3, high=0.7)
        assert loss.item() == pytest.approx(0.5 / 3, rel=0.35)


def test_a_short_band_gives_what_it_has():
    target = torch.tensor([[0.9, 0.8, 0.95, 0.5, 0.1]])
    draws = [torch.zeros(1, 5) + 0.5] * 2
    probs = torch.zeros(1, 5)
    sane = banded_regression_loss(probs, target, low=0.3, high=0.7, draws=draws)
    assert sane.item() == pytest.approx(0.5 * target.square().mean().item())
    odd = banded_regression_loss(probs, target, low=0.3, high=0.7, draws=draws, full_bands_take_all=True)
    weight = torch.tensor([3.0, 3, 3, 2, 2])
    assert odd.item() == pytest.approx((0.5 * (weight * target.square()).sum() / weight.sum()).item())


def test_a_video_without_segments_has_a_finite_loss_and_gradient():
    answers = [torch.full(shape, 0.4, requires_grad=True) for shape in ((1, 4, 6), (1, 4, 6), (1, 6), (1, 6))]
    parts = bmn_losses(
        *answers, overlap=torch.zeros(1, 4, 6), start_target=torch.zeros(1, 6), end_target=torch.zeros(1, 6)
    )
    parts["loss"].backward()
    assert all(part.isfinite() for part in parts.values())
    assert all(answer.grad.isfinite().all() for answer in answers)
