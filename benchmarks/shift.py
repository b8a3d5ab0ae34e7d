"""What the temporal shift costs: TSM beside TSN on the same frames, and ways to write the shift.

    python benchmarks/shift.py [--frames 8] [--px 224] [--repeats 5] [--threads 1] [--channels-last]

Runs of the two networks take turns, so that a busy machine slows both; the ratio of medians is what to look
at.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from videozoo.layers.temporal_shift import temporal_shift
from videozoo.models import create_model


def cat_of_padded(x: Tensor, num_frames: int, fraction: float = 1 / 8) -> Tensor:
    """The textbook way: the clip between two frames of zeros, sliced three times."""
    first, second = int(x.shape[1] * fraction), int(2 * x.shape[1] * fraction)
    clip = x.unflatten(0, (-1, num_frames))
    zeros = torch.zeros_like(clip[:, :1])
    padded = torch.cat([zeros, clip, zeros], 1)
    parts = [padded[:, :-2, :first], padded[:, 2:, first:second], clip[:, :, second:]]
    return torch.cat(parts, 2).flatten(0, 1)


class _OneWrite(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, num_frames, first, second):
        ctx.sizes = num_frames, first, second
        return _OneWrite.write(x, num_frames, first, second, forward=True)

    @staticmethod
    def backward(ctx, grad):
        return _OneWrite.write(grad, *ctx.sizes, forward=False), None, None, None

    @staticmethod
    def write(x, num_frames, first, second, *, forward):
        out = torch.empty_like(x)
        a, b = (tensor.unflatten(0, (-1, num_frames)) for tensor in (x, out))
        later, sooner = (slice(0, first), slice(first, second))
        if not forward:
            later, sooner = sooner, later
        b[:, 1:, later], b[:, 0, later] = a[:, :-1, later], 0
        b[:, :-1, sooner], b[:, -1, sooner] = a[:, 1:, sooner], 0
        b[:, :, second:] = a[:, :, second:]
        return out


def one_write(x: Tensor, num_frames: int, fraction: float = 1 / 8) -> Tensor:
    """The least there is: one allocation, each value written once, its own backward."""
    return _OneWrite.apply(x, num_frames, int(x.shape[1] * fraction), int(2 * x.shape[1] * fraction))


def medians(calls: dict[str, Callable[[], object]], repeats: int, device: str) -> dict[str, float]:
    """Median seconds of each call; the calls take turns."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(repeats + 1):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if device == "cuda":
                torch.cuda.synchronize()
            if turn:  # the first is warm-up
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--px", type=int, default=224)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--channels-last", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    layout = torch.channels_last if options.channels_last else torch.contiguous_format

    print("shift alone, ms:        forward   forward + backward")
    for channels, px in ((256, options.px // 4), (1024, options.px // 16)):
        x = torch.randn(options.frames, channels, px, px, device=options.device).to(memory_format=layout)
        x.requires_grad_()
        grad = torch.randn_like(x)
        for shift in (cat_of_padded, one_write, temporal_shift):
            assert torch.equal(shift(x, options.frames), cat_of_padded(x, options.frames))
            with torch.no_grad():
                forward = medians({"": lambda s=shift, x=x: s(x, options.frames)}, 20, options.device)[""]
            calls = {"": lambda s=shift, x=x, g=grad: torch.autograd.grad(s(x, options.frames), x, g)}
            both = medians(calls, 20, options.device)[""]
            print(f"  {channels:4d} x {px:2d}px  {shift.__name__:15s} {forward * 1e3:7.2f}   {both * 1e3:7.2f}")

    clips = torch.randn(1, options.frames, 3, options.px, options.px, device=options.device)
    networks = {
        name: create_model(name, num_segments=options.frames).to(options.device, memory_format=layout)
        for name in ("tsn", "tsm")
    }

    def forward(name: str) -> None:
        with torch.no_grad():
            networks[name].eval()(clips)

    def step(name: str) -> None:
        networks[name].train()(clips).logsumexp(-1).sum().backward()

    for what, call in (("forward", forward), ("training step", step)):
        times = medians({name: lambda n=name, c=call: c(n) for name in networks}, options.repeats, options.device)
        ratio = times["tsm"] / times["tsn"]
        print(f"{what}: tsn {times['tsn']:.3f} s, tsm {times['tsm']:.3f} s, ratio {ratio:.3f}")


if __name__ == "__main__":
    main()
