"""Calls of several threads share a batch, and a bad one affects no other."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from videozoo.errors import DataError
from videozoo.serve.batcher import Batcher
from videozoo.transforms.collate import collate


class Doubling:
    """Doubles `x`; refuses negative values, and waits for `go` in each batch."""

    form = "arrays"

    def __init__(self):
        self.sizes, self.go = [], threading.Event()

    def collate(self, samples):
        return collate(samples)

    def outputs(self, batch, *, graph="main"):
        self.go.wait(10)
        self.sizes.append(len(batch["x"]))
        if (batch["x"] < 0).any():
            raise DataError(f"x: is {batch['x'].min()}; it must be at least 0")
        if graph == "sum":
            return {"y": batch["x"].sum(keepdims=True)}
        if graph == "broken":
            raise RuntimeError("no such graph")
        return {"y": 2 * batch["x"]}


@pytest.fixture
def backend():
    return Doubling()


@pytest.fixture
def batcher(backend):
    made = Batcher(backend, batch=4, gather_s=0.0, num_active=lambda: 1, observe=lambda samples, seconds: None)
    yield made
    backend.go.set()
    made.close()


def sample(value, *, width=1):
    return {"id": str(value), "x": np.full(width, value, np.float32)}


def submitted(batcher, backend, *calls):
    """The futures of calls that wait together, behind one that occupies the network."""
    first = batcher.submit([sample(0)], "first")
    while batcher._calls:
        pass
    futures = [batcher.submit(samples, graph) for samples, graph in calls]
    backend.go.set()
    first.result(10)
    return futures


def test_calls_share_a_batch_and_get_their_own_rows(batcher, backend):
    calls = [([sample(1)], "main"), ([sample(2), sample(3)], "main"), ([sample(4)], "main"), ([sample(5)], "main")]
    found = [future.result(10)["y"].ravel().tolist() for future in submitted(batcher, backend, *calls)]
    assert found == [[2], [4, 6], [8], [10]]
    assert backend.sizes == [1, 4, 1]  # at most 4 samples together


def test_other_shapes_and_graphs_have_batches_of_their_own(batcher, backend):
    calls = [([sample(1)], "main"), ([sample(2, width=2)], "main"), ([sample(3)], "other"), ([sample(4)], "main")]
    found = [future.result(10)["y"].shape for future in submitted(batcher, backend, *calls)]
    assert found == [(1, 1), (1, 2), (1, 1), (1, 1)]
    assert sorted(backend.sizes) == [1, 1, 1, 2]


def test_a_bad_call_fails_alone(batcher, backend):
    good, bad, other = submitted(batcher, backend, ([sample(1)], "main"), ([sample(-1)], "main"), ([sample(2)], "main"))
    assert good.result(10)["y"].item() == 2 and other.result(10)["y"].item() == 4
    with pytest.raises(DataError, match=r"x: is -1\.0"):
        bad.result(10)
    assert batcher.submit([sample(3)], "main").result(10)["y"].item() == 6


def test_errors_of_a_runtime_reach_the_caller(batcher, backend):
    for future in submitted(batcher, backend, ([sample(1)], "broken"), ([sample(2)], "broken")):
        with pytest.raises(RuntimeError, match="no such graph"):
            future.result(10)


def test_outputs_without_a_row_for_each_sample_are_not_shared(batcher, backend):
    calls = [([sample(1)], "sum"), ([sample(2)], "sum")]
    assert [future.result(10)["y"].tolist() for future in submitted(batcher, backend, *calls)] == [[[1]], [[2]]]
    backend.sizes.clear()
    backend.go.clear()
    assert [future.result(10)["y"].tolist() for future in submitted(batcher, backend, *calls)] == [[[1]], [[2]]]
    assert backend.sizes == [1, 1, 1]


def test_a_call_that_nobody_waits_for_is_not_computed(batcher, backend):
    first = batcher.submit([sample(0)], "main")
    while batcher._calls:
        pass
    dropped, kept = batcher.submit([sample(1)], "main"), batcher.submit([sample(2)], "main")
    assert dropped.cancel()
    backend.go.set()
    assert first.result(10)["y"].item() == 0 and kept.result(10)["y"].item() == 4
    assert backend.sizes == [1, 1]


def test_many_threads_get_their_own_answers(backend):
    backend.go.set()
    batcher = Batcher(backend, batch=8, gather_s=0.01, num_active=lambda: 8, observe=lambda samples, seconds: None)
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda i: batcher.submit([sample(i)], "main").result(10)["y"].item(), range(200)))
    batcher.close()
    assert found == [2 * i for i in range(200)]
    assert max(backend.sizes) > 1
