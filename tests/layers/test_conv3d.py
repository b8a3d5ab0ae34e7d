"""Convolutions of one frame give what torch's three-dimensional ones give, wherever the channels lie."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from videozoo.layers.conv3d import Conv3d

SIZES = {
    "pointwise": {"kernel_size": 1},
    "spatial": {"kernel_size": (1, 3, 3), "stride": (1, 2, 2), "padding": (0, 1, 1), "bias": False},
    "depthwise": {"kernel_size": (1, 5, 3), "padding": (0, 2, 1), "groups": 4},
    "dilated": {"kernel_size": (1, 3, 3), "dilation": (1, 2, 2)},
    "temporal": {"kernel_size": (3, 1, 1), "padding": (1, 0, 0)},
    "strided in time": {"kernel_size": 1, "stride": (2, 1, 1)},
    "padded in time": {"kernel_size": (1, 3, 3), "padding": 1},
    "padded by reflection": {"kernel_size": (1, 3, 3), "padding": (0, 1, 1), "padding_mode": "reflect"},
    "padded by name": {"kernel_size": (1, 3, 3), "padding": "same"},
}


@pytest.mark.parametrize("form", [torch.contiguous_format, torch.channels_last_3d], ids=["contiguous", "channels_last"])
@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_gives_what_torch_gives(size: dict, form: torch.memory_format) -> None:
    torch.manual_seed(0)
    ours, theirs = Conv3d(4, 8, **size).double(), nn.Conv3d(4, 8, **size).double()
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 4, 6, 9, 10, dtype=torch.double).to(memory_format=form)
    inputs = [x.clone(memory_format=torch.preserve_format).requires_grad_() for _ in range(2)]
    found, expected = ours(inputs[0]), theirs(inputs[1])
    torch.testing.assert_close(found, expected)
    found.square().sum().backward()
    expected.square().sum().backward()
    torch.testing.assert_close(inputs[0].grad, inputs[1].grad)
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.grad)


def _ran(conv: nn.Module, x: torch.Tensor) -> set[int]:
    """Dimensions of the inputs of the convolutions that ran."""
    with torch.profiler.profile(record_shapes=True) as profile:
        conv(x)
    return {len(event.input_shapes[0]) for event in profile.events() if event.name == "aten::_convolution"}


def test_images_are_not_moved() -> None:
    conv = Conv3d(4, 8, (1, 3, 3))
    clip = torch.randn(2, 4, 6, 9, 10)
    last = clip.to(memory_format=torch.channels_last_3d)
    assert _ran(conv, last) == {4}
    assert _ran(conv, clip) == {5}  # would have to be copied
    assert _ran(Conv3d(4, 8, (3, 1, 1)), last) == {5}
    assert conv(last).is_contiguous(memory_format=torch.channels_last_3d)
    assert conv(last[:0]).shape == (0, 8, 6, 7, 8)
    assert conv(last[0]).shape == (8, 6, 7, 8)
