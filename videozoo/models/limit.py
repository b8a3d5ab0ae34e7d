"""Measures how near a forward pass comes to the limits of this machine, and which kinds of layers take the time.

The limits are rates that torch itself reaches in the same process: of a large matrix product, of a 3x3 convolution, and
of a copy within main memory. They take turns with the model, so other load of the machine slows all of them alike.
"""

from __future__ import annotations

import collections
import dataclasses
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.profiler import profile
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

__all__ = [
    "KINDS",
    "Clock",
    "Limit",
    "Operation",
    "Rates",
    "fastest_s",
    "measure_limit",
    "operations",
    "shares_of_time",
]

Clock = Callable[[], float]

KINDS = ("convolution", "depthwise", "attention", "linear", "copies", "norms", "activations", "other")
NAMES = {  # parts of the names of torch's operations, by kind; the first that fits counts
    "convolution": ("conv",),
    "attention": ("attention", "softmax", "bmm"),
    "linear": ("mm", "matmul", "linear"),
    "norms": ("norm",),
    "activations": ("relu", "gelu", "silu", "swish", "sigmoid", "tanh", "clamp", "threshold"),
    "copies": ("copy", "clone", "contiguous", "cat", "stack", "index", "gather", "roll", "pad", "fill", "zero"),
}
MATRIX_SIZE = 1536
CONVOLUTION = (16, 128, 56)  # images, channels, height and width
COPY_BYTES = 1 << 27  # larger than the caches


@dataclasses.dataclass(frozen=True)
class Operation:
    """One convolution, matrix product or attention of a forward pass.

    Attributes:
        flops: floating-point operations; a multiply-add counts as two.
        num_bytes: size of its inputs, weights and outputs, the least that it moves.
    """

    name: str
    flops: int
    num_bytes: int


@dataclasses.dataclass(frozen=True)
class Rates:
    """The fastest rates that torch reached."""

    matmul_flops_per_s: float
    convolution_flops_per_s: float
    copy_bytes_per_s: float

    def arithmetic_s(self, operation: Operation) -> float:
        """Returns the time of an operation at the rate of its kind: convolution or matrix product."""
        is_convolution = "conv" in operation.name
        return operation.flops / (self.convolution_flops_per_s if is_convolution else self.matmul_flops_per_s)

    def least_s(self, operation: Operation) -> float:
        """Returns the time that arithmetic or main memory needs, whichever is longer."""
        return max(self.arithmetic_s(operation), operation.num_bytes / self.copy_bytes_per_s)


@dataclasses.dataclass(frozen=True)
class Limit:
    """A forward pass compared with the limits.

    Attributes:
        forward_s: the fastest pass.
        share: time that the pass's arithmetic takes at the rates of `rates`, divided by `forward_s`.
        share_with_memory: the same, where each operation takes as long as its arithmetic or its traffic with main
            memory, whichever is longer. Above 1, its maps stay in the caches.
        shares_of_time: of the pass, by kind of layer, in 0..1.
    """

    forward_s: float
    flops: int
    rates: Rates
    share: float
    share_with_memory: float
    shares_of_time: Mapping[str, float]


def measure_limit(
    forward: Callable[[], object], *, device: torch.device, num_turns: int = 5, clock: Clock = time.perf_counter
) -> Limit:
    """Measures a forward pass and the limits of the machine in turn."""
    probes = _probes(device)
    calls = {"forward": forward, **{name: call for name, (call, _) in probes.items()}}
    seconds = fastest_s(calls, num_turns=num_turns, clock=clock, device=device)
    rates = Rates(**{f"{name}_per_s": work / seconds[name] for name, (_, work) in probes.items()})
    found = operations(forward)
    return Limit(
        forward_s=seconds["forward"],
        flops=sum(operation.flops for operation in found),
        rates=rates,
        share=sum(map(rates.arithmetic_s, found)) / seconds["forward"],
        share_with_memory=sum(map(rates.least_s, found)) / seconds["forward"],
        shares_of_time=shares_of_time(forward, device),
    )


def fastest_s(
    calls: Mapping[str, Callable[[], object]],
    *,
    num_turns: int,
    clock: Clock = time.perf_counter,
    device: torch.device | None = None,
) -> dict[str, float]:
    """Returns the time of each function's fastest call. They take turns; the first turn is not counted."""
    found: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(1 + num_turns):
        for name, call in calls.items():
            start_s = clock()
            call()
            _wait(device)
            found[name].append(clock() - start_s)
    return {name: min(seconds[1:]) for name, seconds in found.items()}


def operations(forward: Callable[[], object]) -> list[Operation]:
    """Returns the convolutions, matrix products and attentions of a forward pass, in order."""
    with torch.no_grad(), _Operations() as mode:
        forward()
    return mode.found


class _Operations(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: list[Operation] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if (count := flop_registry.get(func._overloadpacket)) is not None:
            flops = int(count(*args, **kwargs, out_val=out))
            tensors = {id(leaf): leaf for leaf in tree_leaves((args, kwargs, out)) if isinstance(leaf, Tensor)}
            num_bytes = sum(tensor.nbytes for tensor in tensors.values())
            self.found.append(Operation(func._overloadpacket.__name__, flops, num_bytes))
        return out


def _wait(device: torch.device | None) -> None:
    if device is not None and device.type == "cuda":
        torch.cuda.synchronize(device)


def _probes(device: torch.device) -> dict[str, tuple[Callable[[], object], int]]:
    """Returns a function for each field of `Rates`, with its work."""
    matrices = torch.randn(2, MATRIX_SIZE, MATRIX_SIZE, device=device)
    images, channels, size = CONVOLUTION
    maps = torch.randn(images, channels, size, size, device=device).to(memory_format=torch.channels_last)
    weight = torch.randn(channels, channels, 3, 3, device=device).to(memory_format=torch.channels_last)
    source = torch.zeros(COPY_BYTES // 4, device=device)
    target = torch.empty_like(source)
    return {
        "matmul_flops": (lambda: matrices[0] @ matrices[1], 2 * MATRIX_SIZE**3),
        "convolution_flops": (lambda: F.conv2d(maps, weight, padding=1), 2 * 9 * maps.numel() * channels),
        "copy_bytes": (lambda: target.copy_(source), 2 * COPY_BYTES),  # read and written
    }


def shares_of_time(forward: Callable[[], object], device: torch.device) -> dict[str, float]:
    """Returns the share of each kind of layer in a pass; copies that a convolution makes of its input are copies."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler would note its start and end on stderr
    is_cuda = device.type == "cuda"
    clocked = profile(use_device="cuda" if is_cuda else None, use_kineto=False, record_shapes=True)
    with torch.no_grad(), clocked as found:
        forward()
    times: dict[str, float] = collections.defaultdict(float)
    for event in found.key_averages(group_by_input_shape=True):
        kind = _kind(event.key, event.input_shapes)
        times[kind] += event.self_device_time_total if is_cuda else event.self_cpu_time_total
    whole = sum(times.values()) or 1.0
    return {kind: times[kind] / whole for kind in KINDS}


def _kind(name: str, input_shapes: Sequence[Sequence[int]]) -> str:
    for kind, parts in NAMES.items():
        if any(part in name for part in parts):
            return "depthwise" if kind == "convolution" and _is_depthwise(input_shapes) else kind
    return "other"


def _is_depthwise(input_shapes: Sequence[Sequence[int]]) -> bool:
    maps, weight = input_shapes[:2]
    return len(maps) >= 3 and len(weight) >= 3 and maps[1] > 1 and weight[1] == 1
