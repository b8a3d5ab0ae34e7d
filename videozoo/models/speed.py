"""Measures the time of a model's forward pass and training step on this machine."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch.utils._pytree import tree_leaves

from videozoo.errors import ConfigError
from videozoo.models.folding import folded
from videozoo.models.memory_format import channels_last
from videozoo.models.model import VideoModel

__all__ = ["MODES", "Mode", "Timing", "time_model"]

Clock = Callable[[], float]
Mode = Literal["eager", "channels_last", "compiled", "bf16"]
MODES: tuple[Mode, ...] = ("eager", "channels_last", "compiled", "bf16")


@dataclasses.dataclass(frozen=True)
class Timing:
    """Median seconds of one mode; None if it was not measured, with the `reason`."""

    mode: Mode
    forward_s: float | None = None
    step_s: float | None = None
    reason: str | None = None


def time_model(
    make: Callable[[], VideoModel],
    *,
    modes: Sequence[Mode] = MODES,
    batch_size: int = 1,
    num_steps: int = 3,
    train: bool = True,
    cpu_time: bool = False,
    device: torch.device | str = "cpu",
) -> list[Timing]:
    """Measures the model that `make` builds in each of `modes`, on noise of its input shape.

    "eager" is plain float32. "channels_last" is the form of training and prediction: its memory format and, in the
    forward pass, folded batch norms; "compiled" and "bf16" add torch.compile or mixed precision to it. A step is
    forward, backward and SGD. The first call is not counted. A failing mode has a reason instead of times:
    torch.compile needs a compiler, and batch normalisation needs more than one value.

    Args:
        cpu_time: measure the CPU time of this process, summed over its threads, instead of wall-clock time; for
            machines with other load.

    Raises:
        ConfigError: a mode does not exist, `batch_size` or `num_steps` is below 1, or `device` has no CPU time.
    """
    if unknown := [mode for mode in modes if mode not in MODES]:
        raise ConfigError(f"modes: there is no '{unknown[0]}'; accepted: {', '.join(MODES)}")
    if batch_size < 1 or num_steps < 1:
        raise ConfigError(f"bench: {batch_size=} and {num_steps=} must be at least 1")
    if cpu_time and torch.device(device).type != "cpu":
        raise ConfigError(f"bench: CPU time cannot measure {device}; leave --cpu-time out")
    clock = time.process_time if cpu_time else time.perf_counter
    found = []
    for mode in modes:
        torch.manual_seed(0)
        model = make().to(device)
        clips = torch.randn(batch_size, *model.input_shape, device=device)
        if mode != "eager":
            channels_last(model, is_trained_on=torch.device(device) if train else None)
        predicting = model if mode == "eager" else folded(model)
        if mode == "compiled":
            for network in {model, predicting}:
                network.compile()
        seconds: dict[str, float] = {}
        reason = None
        try:
            with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=mode == "bf16"):
                seconds["forward_s"] = _forward(predicting, clips, num_steps, clock)
                if train:
                    seconds["step_s"] = _step(model, clips, num_steps, clock)
        except Exception as error:  # compilers and kernels raise unrelated classes; the table shows the reason
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        found.append(Timing(mode, seconds.get("forward_s"), seconds.get("step_s"), reason))
        if mode == "compiled":
            torch.compiler.reset()
    return found


@torch.no_grad()
def _forward(model: VideoModel, clips: torch.Tensor, num_steps: int, clock: Clock) -> float:
    model.eval()
    return _median_s(lambda: model(clips), num_steps, clips.device, clock)


def _step(model: VideoModel, clips: torch.Tensor, num_steps: int, clock: Clock) -> float:
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6)

    def step() -> None:
        outputs = tree_leaves(model(clips))
        loss = torch.stack([output.float().square().mean() for output in outputs]).sum()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return _median_s(step, num_steps, clips.device, clock)


def _median_s(call: Callable[[], object], num_steps: int, device: torch.device, clock: Clock) -> float:
    times = []
    for _ in range(1 + num_steps):
        _wait(device)
        start = clock()
        call()
        _wait(device)
        times.append(clock() - start)
    return statistics.median(times[1:])


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
