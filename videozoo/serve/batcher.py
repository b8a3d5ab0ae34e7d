"""Runs a network for several requests at once."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

import numpy as np

from videozoo.contracts.backend import Backend, Outputs

__all__ = ["Batcher"]

Sample = Mapping[str, Any]
Observer = Callable[[int, float], None]


@dataclasses.dataclass(frozen=True, eq=False)
class _Call:
    """Samples of one request for one graph; calls with equal keys can go through the network together."""

    samples: Sequence[Sample]
    graph: str
    key: tuple[Any, ...]
    result: Future[Outputs]


class Batcher:
    """Collects the calls of several threads and runs them through the network together, in one thread of its own.

    A call that arrives alone runs at once. While the network computes, calls collect; and if further requests are in
    progress, a call waits up to `gather_s` for theirs. Only samples of the same shapes and graph share a batch. If a
    shared batch fails, each of its calls runs alone, so that a bad one affects no other.

    Args:
        batch: most samples of a shared batch; 1 shares nothing.
        num_active: returns the number of requests in progress.
        observe: called with (samples, seconds) after each run of the network.
    """

    def __init__(
        self, backend: Backend, *, batch: int, gather_s: float, num_active: Callable[[], int], observe: Observer
    ):
        self._backend, self._batch, self._gather_s = backend, batch, gather_s
        self._num_active, self._observe = num_active, observe
        self._calls: deque[_Call] = deque()
        self._changed = threading.Condition()
        self._is_open = True
        self._unsplit: set[tuple[Any, ...]] = set()  # keys whose outputs have no row for each sample
        self._alone = threading.Lock()  # one computation at a time
        self._thread = threading.Thread(target=self._run, name="batcher", daemon=True)
        self._thread.start()

    def submit(self, samples: Sequence[Sample], graph: str) -> Future[Outputs]:
        """Returns the future outputs for samples of a pipeline, with one row for each sample."""
        call = _Call(samples, graph, (graph, *map(_shape_of, samples[:1])), Future())
        with self._changed:
            self._calls.append(call)
            self._changed.notify()
        return call.result

    def outputs(self, batch: Mapping[str, Any], graph: str) -> Outputs:
        """Returns the outputs for a batch that no pipeline made, alone."""
        with self._alone:
            return self._backend.outputs(batch, graph=graph)

    def close(self) -> None:
        """Ends the thread after the calls that wait."""
        with self._changed:
            self._is_open = False
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while calls := self._gathered():
            self._answer(calls)

    def _gathered(self) -> list[_Call]:
        """Waits for calls and takes those that can run together; none once the batcher is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._calls or not self._is_open)
            if not self._calls:
                return []
            until_s = time.monotonic() + self._gather_s
            while self._is_open and self._may_grow() and (rest_s := until_s - time.monotonic()) > 0:
                self._changed.wait(rest_s)
            chosen = self._together()
            self._calls = deque(call for call in self._calls if call not in chosen)
            return chosen

    def _may_grow(self) -> bool:
        chosen = self._together()
        return sum(len(call.samples) for call in chosen) < self._batch and len(self._calls) < self._num_active()

    def _together(self) -> list[_Call]:
        first = self._calls[0]
        chosen, size = [first], len(first.samples)
        for call in list(self._calls)[1:] if first.key not in self._unsplit else ():
            if call.key == first.key and size + len(call.samples) <= self._batch:
                chosen.append(call)
                size += len(call.samples)
        return chosen

    def _answer(self, calls: Sequence[_Call]) -> None:
        calls = [call for call in calls if call.result.set_running_or_notify_cancel()]
        if len(calls) > 1:
            try:
                shared = self._computed([sample for call in calls for sample in call.samples], calls[0].graph)
            except Exception:  # whatever it is belongs to one of the calls, which gets it below
                shared = None
            if shared is not None and self._split(shared, calls):
                return
        for call in calls:
            try:
                call.result.set_result(self._computed(call.samples, call.graph))
            except Exception as error:  # the thread that waits raises it
                call.result.set_exception(error)

    def _computed(self, samples: Sequence[Sample], graph: str) -> Outputs:
        began_s = time.monotonic()
        with self._alone:
            found = self._backend.outputs(self._backend.collate(samples), graph=graph)
        self._observe(len(samples), time.monotonic() - began_s)
        return found

    def _split(self, outputs: Outputs, calls: Sequence[_Call]) -> bool:
        """Gives each call its rows; returns False if the outputs do not have one row for each sample."""
        ends = np.cumsum([len(call.samples) for call in calls])
        if any(not value.ndim or len(value) != ends[-1] for value in outputs.values()):
            self._unsplit.add(calls[0].key)
            return False
        for call, end in zip(calls, ends.tolist(), strict=True):
            start = end - len(call.samples)
            call.result.set_result({name: value[start:end] for name, value in outputs.items()})
        return True


def _shape_of(value: Any) -> Any:
    """Returns what two samples must have in common to be one batch: keys, types and shapes."""
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape
    if isinstance(value, Mapping):
        return tuple((key, _shape_of(part)) for key, part in value.items())
    if isinstance(value, list | tuple):
        return (type(value).__name__, *map(_shape_of, value))
    return type(value).__name__
