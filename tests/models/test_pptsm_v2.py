"""PP-TSMv2: where time is mixed."""

from __future__ import annotations

import pytest
import torch

from videozoo.errors import ConfigError
from videozoo.models import create_model

ARGS = {"num_segments": 4, "scale": 0.125, "last_width": 16, "num_classes": 3}


@pytest.mark.parametrize(
    ("frame_attention", "changed"), [(False, [True, True, False, False]), (True, [True, True, True, True])]
)
@torch.no_grad()
def test_one_shift_reaches_one_frame_and_attention_all(frame_attention, changed):
    torch.manual_seed(0)
    model = create_model("pptsm_v2", **ARGS, frame_attention=frame_attention).eval()
    clip = torch.randn(1, 4, 3, 64, 64)
    other = clip.clone()
    other[:, 0] = torch.randn(3, 64, 64)
    differs = (model.forward_frames(clip) - model.forward_frames(other)).abs().amax((0, 2)) > 0
    assert differs.tolist() == changed


@torch.no_grad()
def test_dropout_is_scaled_where_it_is_said():
    x = torch.randn(1, 4, 3, 64, 64)
    torch.manual_seed(0)
    usual = create_model("pptsm_v2", **ARGS, dropout=0.5).eval()
    torch.manual_seed(0)
    at_inference = create_model("pptsm_v2", **ARGS, dropout=0.5, dropout_scaling="inference").eval()
    assert torch.allclose((usual(x) - usual.head.bias) / 2, at_inference(x) - at_inference.head.bias, atol=1e-6)


def test_another_number_of_frames_is_an_error():
    with pytest.raises(ConfigError, match=r"pptsm_v2: the input has shape .* of 4 frames: sample as many"):
        create_model("pptsm_v2", **ARGS)(torch.zeros(1, 8, 3, 64, 64))
