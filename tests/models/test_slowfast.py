"""SlowFast: which frames the slow path sees, and what of a larger frame is averaged."""

from __future__ import annotations

import torch
from torch.testing import assert_close

from videozoo.models import create_model

NARROW = {"depth": 26, "width": 8, "num_frames": 8, "alpha": 4, "crop_px": 64, "num_classes": 5}


def test_frames_of_the_slow_path():
    clip = torch.arange(32.0).view(1, 32, 1, 1, 1)
    for kind, expected in (("spread", [0, 10, 20, 31]), ("strided", [0, 8, 16, 24])):
        with torch.device("meta"):
            model = create_model("slowfast", slow_frames=kind)
        slow, fast = model.split_paths(clip)
        assert slow.flatten().tolist() == expected
        assert torch.equal(fast.flatten(), clip.flatten())


def test_a_larger_frame_is_pooled_in_windows_or_whole():
    torch.manual_seed(0)
    windows, whole = create_model("slowfast", **NARROW).eval(), create_model("slowfast", pooling="frame", **NARROW)
    whole.eval().load_state_dict(windows.state_dict())
    torch.nn.init.normal_(windows.head.weight)
    whole.head.weight.data.copy_(windows.head.weight)
    with torch.no_grad():
        clip = torch.randn(2, 8, 3, 64, 64)
        assert_close(whole(clip), windows(clip))
        clip = torch.randn(2, 8, 3, 96, 96)
        paths = windows.split_paths(clip)
        assert windows.path_windows(*paths).shape[1:3] == (2, 2)
        assert whole.path_windows(*paths).shape[1:3] == (1, 1)
        larger = create_model("slowfast", **{**NARROW, "crop_px": 96}).eval()
        larger.load_state_dict(windows.state_dict())
        assert_close(whole(clip), larger(clip))
        assert (whole(clip).softmax(-1) - windows(clip).softmax(-1)).abs().max() > 1e-3


def test_maps_have_both_paths_at_the_slow_ones_rate():
    model = create_model("slowfast", **NARROW | {"num_frames": 16}).eval()
    clip = torch.randn(2, 16, 3, 64, 96)
    with torch.no_grad():
        maps = model.forward_maps(clip)
        slow, fast = model.path_maps(*model.split_paths(clip))
    assert maps.shape == (2, model.num_features, 4, 2, 3)
    assert (slow.shape[2], fast.shape[2]) == (4, 16)
    assert_close(maps[:, : slow.shape[1]], slow)
    assert_close(maps.mean(2), torch.cat([slow.mean(2), fast.mean(2)], 1))  # as heads of regions pool them
