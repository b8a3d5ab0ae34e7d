from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from videozoo.layers.temporal_shift import temporal_shift


def naive_shift(clip: torch.Tensor, fraction: float) -> torch.Tensor:
    """One value at a time, from the words of section 3.2 of the paper; clip is [t c h w]."""
    t, c = clip.shape[:2]
    out = torch.zeros_like(clip)
    for frame in range(t):
        for channel in range(c):
            source = frame
            if channel < int(c * fraction):
                source = frame - 1
            elif channel < int(2 * c * fraction):
                source = frame + 1
            if 0 <= source < t:
                out[frame, channel] = clip[source, channel]
    return out


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(
    ("t", "c", "fraction"), [(8, 16, 1 / 8), (4, 24, 1 / 16), (1, 8, 1 / 4), (3, 6, 0.5), (2, 5, 0)]
)
def test_shift_is_the_papers(t, c, fraction, memory_format):
    clips = torch.randn(2, t, c, 3, 4)
    frames = clips.flatten(0, 1).to(memory_format=memory_format)
    shifted = temporal_shift(frames, t, fraction)
    assert torch.equal(shifted, torch.cat([naive_shift(clip, fraction) for clip in clips]))
    assert shifted.is_contiguous(memory_format=memory_format)


def test_shift_is_linear_with_the_right_adjoint():
    x, y = torch.randn(2, 2 * 4, 16, 3, 3, dtype=torch.float64)
    x.requires_grad_()
    shifted = temporal_shift(x, 4)
    (shifted * y).sum().backward()
    # the gradient is the adjoint: <shift(x), y> = <x, adjoint(y)> for every x
    z = torch.randn_like(y)
    assert_close((temporal_shift(z, 4) * y).sum(), (z * x.grad).sum())


def test_shift_exports_with_a_free_batch():
    class Shift(torch.nn.Module):
        def forward(self, x):
            return temporal_shift(x, 4)

    x = torch.randn(8, 16, 3, 3)
    frames = torch.export.Dim("clips", min=2, max=16) * 4
    program = torch.export.export(Shift(), (x,), dynamic_shapes=({0: frames},))
    other = torch.randn(12, 16, 3, 3)
    assert torch.equal(program.module()(other), temporal_shift(other, 4))
