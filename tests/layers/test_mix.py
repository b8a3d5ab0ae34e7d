from __future__ import annotations

import numpy as np
import pytest
import torch

from videozoo.errors import ConfigError
from videozoo.layers.mix import CutBox, Mix, cutmix, draw_box, mixup


def clips(b: int = 3) -> torch.Tensor:
    """Clip i is i everywhere."""
    return torch.arange(b).float().reshape(b, 1, 1, 1, 1).expand(b, 2, 3, 8, 6).clone()


def test_mixup_by_hand():
    mixed = mixup(clips(), 0.75, torch.tensor([1, 2, 0]))
    assert mixed[:, 0, 0, 0, 0].tolist() == [0.25, 1.25, 1.5]


def test_cutmix_replaces_the_box_in_every_frame_and_counts_it():
    mixed, lam = cutmix(clips(), torch.tensor([1, 2, 0]), CutBox(top=2, left=1, bottom=6, right=4))
    expected = clips()
    expected[:, :, :, 2:6, 1:4] = clips()[[1, 2, 0], :, :, 2:6, 1:4]
    assert torch.equal(mixed, expected)
    assert lam == 1 - 12 / 48
    assert (mixed[0] == 0).float().mean() == lam


def test_the_original_cuts_in_time_and_counts_in_space():
    mixed, lam = cutmix(clips(), torch.tensor([1, 2, 0]), CutBox(0, 2, 1, 6), box_in_time=True)
    assert (mixed[0, 0, :, 2:6] == 1).all() and (mixed[0, 1] == 0).all()
    assert lam == 1 - 4 / 48  # a quarter of the clip is replaced


def test_boxes_are_inside_and_of_the_right_area():
    rng = np.random.default_rng(0)
    boxes = [draw_box(rng, 100, 80, lam=0.75) for _ in range(200)]
    assert all(0 <= b.top <= b.bottom <= 100 and 0 <= b.left <= b.right <= 80 for b in boxes)
    assert max(b.area for b in boxes) == 50 * 40


def test_cutmix_lam_is_the_share_that_was_kept():
    mix = Mix(cutmix_alpha=1.0)
    for seed in range(10):
        video = clips(2)
        mixed, a, b, lam = mix(video, torch.tensor([0, 1]), torch.Generator().manual_seed(seed))
        if not torch.equal(a, b):
            assert (mixed[0] == 0).double().mean().item() == pytest.approx(lam)


def test_draws_follow_the_generator_and_leave_the_input_alone():
    video, label = torch.rand(4, 2, 3, 8, 8), torch.arange(4)
    before = video.clone()
    mix = Mix(mixup_alpha=0.8, cutmix_alpha=1.0)
    one, two = (mix(video, label, torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(one.video, two.video) and one.lam == two.lam
    assert torch.equal(video, before)
    torch.manual_seed(5)
    assert torch.equal(mix(video, label).video, one.video)


def test_switch_and_prob():
    video, label = torch.rand(4, 2, 3, 8, 8), torch.arange(4)
    untouched = Mix(mixup_alpha=1.0, prob=0.0)(video, label)
    assert untouched.lam == 1.0 and torch.equal(untouched.video, video)
    only_cut = Mix(mixup_alpha=1.0, cutmix_alpha=1.0, switch_prob=1.0)(video, label)
    kept = (only_cut.video == video).double().mean().item()  # mixup would change every pixel
    assert kept >= only_cut.lam > 0


def test_mean_of_lam_follows_the_beta_distribution():
    mix, video, label = Mix(mixup_alpha=0.2), torch.zeros(2, 1, 1, 2, 2), torch.arange(2)
    lams = [mix(video, label, torch.Generator().manual_seed(i)).lam for i in range(400)]
    assert abs(np.mean(lams) - 0.5) < 0.08
    assert np.mean([lam < 0.1 or lam > 0.9 for lam in lams]) > 0.5


def test_bad_arguments():
    with pytest.raises(ConfigError, match="needs both at least 0, and one above 0"):
        Mix()
    with pytest.raises(ConfigError, match=r"mix\.prob: got 2; needs a probability"):
        Mix(mixup_alpha=1.0, prob=2)
