"""Batches are a function of (seed, step), every sample is accounted for, bad data is named."""

import collections
import itertools
import signal
import time

import numpy as np
import pytest
import torch

from tests.engine.toy import ToyPipeline, ToyRecords, sharing
from videozoo.engine.loader import EvalLoader, TrainLoader, Workers, collate, sample_rng
from videozoo.engine.order import sample_order
from videozoo.engine.stream import explain
from videozoo.errors import ConfigError, DataError, TrainingError
from videozoo.io.isolation import signal_name
from videozoo.report.evaluation import by_reason


def train_loader(num=26, *, pipeline=None, **args):
    return TrainLoader(ToyRecords(num), pipeline or ToyPipeline(), **sharing(**{"batch_size": 6, "seed": 3, **args}))


def videos(loader, start=0, stop=10):
    return [torch.stack([b["video"] for b in step]) for step in loader.steps(start, stop)]


def ids(loader, start=0, stop=10):
    return [[i for b in step for i in b["id"]] for step in loader.steps(start, stop)]


@pytest.mark.parametrize("num_workers", [1, 3])
def test_workers_change_nothing(num_workers):
    in_workers = videos(train_loader(num_workers=num_workers))
    for one, other in zip(videos(train_loader()), in_workers, strict=True):
        assert torch.equal(one, other)


def test_any_step_can_be_the_first():
    whole = videos(train_loader())
    for one, other in zip(whole[5:], videos(train_loader(num_workers=1), start=5), strict=True):
        assert torch.equal(one, other)


def test_order_and_noise_are_of_the_seed_and_the_epoch():
    loader = train_loader(num=24)
    epochs = [list(itertools.chain(*ids(loader, 4 * e, 4 * e + 4))) for e in (0, 1)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == sorted(f"toy{i}" for i in range(24))
    assert epochs[0] != epochs[1]
    assert epochs[0] == [f"toy{i}" for i in sample_order(3, 0, 24)]
    assert ids(loader) != ids(train_loader(num=24, seed=4))
    draws = [sample_rng(*key).random() for key in ((3, 0, 5), (4, 0, 5), (3, 1, 5), (3, 0, 6))]
    assert len(set(draws)) == 4


def test_the_global_generator_is_left_alone():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    videos(train_loader(num_workers=1))
    assert torch.equal(before, torch.get_rng_state())


def test_every_split_sees_the_same_step():
    """Ranks and micro-batches share a step's samples; together they are the big batch."""
    whole = [sorted(step) for step in ids(train_loader())]
    for world_size, accumulate in ((2, 1), (1, 3), (2, 3)):
        parts = [
            ids(train_loader(rank=rank, world_size=world_size, accumulate=accumulate)) for rank in range(world_size)
        ]
        assert [sorted(itertools.chain(*step)) for step in zip(*parts, strict=True)] == whole


def test_the_rest_of_an_epoch_is_dropped_and_another_each_time():
    loader = train_loader(num=26)
    assert loader.steps_per_epoch == 4
    seen = [set(itertools.chain(*ids(loader, 4 * e, 4 * e + 4))) for e in range(6)]
    assert all(len(epoch) == 24 for epoch in seen)
    assert len(set.union(*seen)) == 26


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"num": 5}, r"fit\.batch_size: 6 is more than the training data has \(5 samples\)"),
        (
            {"world_size": 4},
            r"6 cannot be shared evenly by 4 processes with fit\.accumulate 1; give a multiple of 4",
        ),
    ],
)
def test_numbers_that_do_not_divide(args, message):
    with pytest.raises(ConfigError, match=message):
        train_loader(**args)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_broken_training_records_are_replaced_by_the_next(num_workers):
    broken = train_loader(num=24, num_workers=num_workers, pipeline=ToyPipeline(broken=(3, 4, 23)))
    clean = ids(train_loader(num=24), 0, 4)
    replaced = [[{"toy3": "toy5", "toy4": "toy5", "toy23": "toy0"}.get(i, i) for i in step] for step in clean]
    bad = collections.Counter()
    found = []
    for (batch,) in broken.steps(0, 4):
        found.append(batch["id"])
        bad.update(batch["bad"])
    assert found == replaced
    reason = "videos/toy{}.mp4: moov atom not found; remove it from the list or fetch it again"
    assert bad == {
        ("toy3", reason.format(3)): 1,
        ("toy4", reason.format(4)): 2,
        ("toy23", reason.format(23)): 1,
    }


def test_replacements_have_noise_of_their_own():
    (step,) = train_loader(num=6, pipeline=ToyPipeline(broken=(1,))).steps(0, 1)
    twice = [v for i, v in zip(step[0]["id"], step[0]["video"], strict=True) if i == "toy2"]
    assert len(twice) == 2 and not torch.equal(*twice)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_nothing_but_broken_records(num_workers):
    loader = train_loader(num_workers=num_workers, pipeline=ToyPipeline(broken=tuple(range(26))))
    with pytest.raises(TrainingError, match=r"^training data: 20 samples in a row cannot be used, the last: videos"):
        ids(loader)


def test_a_fault_that_many_records_share_counts_once():
    """A hundred sentences of one video without features are passed over; twenty such videos are not."""

    def pipeline(record, rng):
        if record.index < 60:
            raise DataError(f"no features of video '{record.index // per_video}'")
        return ToyPipeline()(record, rng)

    per_video = 60
    (batch,) = next(train_loader(num=64, pipeline=pipeline).steps(0, 1))
    assert set(batch["id"]) <= {"toy60", "toy61", "toy62", "toy63"}
    ((why, lost),) = by_reason(dict(batch["bad"]).items()).items()
    assert why == "no features of video '0'" and len(lost) > 20
    per_video = 2
    with pytest.raises(TrainingError, match=r"\d\d samples in a row cannot be used, the last: no features of video"):
        next(train_loader(num=64, pipeline=pipeline).steps(0, 1))


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("world_size", [1, 3])
def test_evaluation_sees_each_sample_once_and_names_the_others(world_size, num_workers):
    loaders = [
        EvalLoader(
            ToyRecords(26),
            ToyPipeline(broken=(3, 4, 25)),
            batch_size=2,
            **sharing(num_workers=num_workers, rank=rank, world_size=world_size),
        )
        for rank in range(world_size)
    ]
    batches = [batch for loader in loaders for batch in loader]
    assert len(batches) == sum(map(len, loaders))
    scored = [i for batch in batches for i in batch["id"]]
    assert sorted(scored) == sorted(f"toy{i}" for i in range(26) if i not in (3, 4, 25))
    assert sorted(i for batch in batches for i, _ in batch["bad"]) == ["toy25", "toy3", "toy4"]
    if world_size == 1:
        assert batches[0]["index"].tolist() == [0, 1]


def test_a_batch_may_be_empty():
    batches = list(EvalLoader(ToyRecords(4), ToyPipeline(broken=(0, 1)), batch_size=2))
    assert batches[0]["id"] == [] and len(batches[0]["bad"]) == 2
    assert batches[1]["id"] == ["toy2", "toy3"]


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_slow_record_is_cut_off(num_workers):
    loader = train_loader(num_workers=num_workers, pipeline=ToyPipeline(hang=(3,)), timeout_s=0.2)
    (bad,) = [b for (batch,) in loader.steps(0, 4) for b in batch["bad"]]
    assert bad[0] == "toy3"
    assert bad[1].startswith("videos/toy3.mp4: took longer than 0.2 s to decode; re-encode it")


@pytest.mark.long
def test_a_worker_that_hangs_beyond_python_is_replaced():
    clean = videos(train_loader(pipeline=ToyPipeline(broken=(3,)), accumulate=3), 0, 8)
    loader = train_loader(num_workers=2, accumulate=3, pipeline=ToyPipeline(hang=(3,), sleep="masked"), timeout_s=1.0)
    steps = list(loader.steps(0, 8))
    for one, step in zip(clean, steps, strict=True):
        assert torch.equal(one, torch.stack([b["video"] for b in step]))
    assert {b for step in steps for batch in step for b, _ in batch["bad"]} == {"toy3"}


CRASHES = [signal.SIGSEGV, signal.SIGABRT, signal.SIGFPE, signal.SIGKILL, 0]


@pytest.mark.parametrize("die_by", CRASHES)
def test_a_crash_in_a_worker_is_a_broken_record(die_by):
    """The decoder takes its process with it; batches, their order and their noise stay as they are."""
    clean = list(train_loader(pipeline=ToyPipeline(broken=(3, 11)), accumulate=3).steps(2, 9))
    crashing = train_loader(pipeline=ToyPipeline(die=(3, 11), die_by=die_by), accumulate=3, num_workers=2)
    steps = list(crashing.steps(2, 9))
    for one, other in zip(itertools.chain(*clean), itertools.chain(*steps), strict=True):
        assert one["id"] == other["id"] and torch.equal(one["video"], other["video"])
        assert [id_ for id_, _ in one["bad"]] == [id_ for id_, _ in other["bad"]]
    why = {why for step in steps for batch in step for _, why in batch["bad"]}
    how = signal_name(die_by) if die_by else "exit status 7"
    assert why == {
        f"videos/toy{i}.mp4: it crashed the decoder ({how}); remove it from the list or fetch it again" for i in (3, 11)
    }


@pytest.mark.parametrize("num_workers", [1, 2])
def test_a_crash_in_evaluation_leaves_one_sample_out(num_workers):
    pipeline = ToyPipeline(die=(0, 4, 25), die_by=signal.SIGSEGV)
    loader = EvalLoader(ToyRecords(26), pipeline, batch_size=4, workers=Workers(num_workers))
    for _ in range(2):  # the second time nothing crashes any more
        batches = list(loader)
        assert [i for b in batches for i in b["id"]] == [f"toy{i}" for i in range(26) if i not in (0, 4, 25)]
        assert [i for b in batches for i, _ in b["bad"]] == ["toy0", "toy4", "toy25"]


def test_a_worker_killed_once_is_no_fault_of_its_sample(tmp_path):
    """Memory may have run out for another process's sake."""
    clean = ids(train_loader())
    pipeline = ToyPipeline(die=(3,), die_by=signal.SIGKILL, die_once=tmp_path / "died")
    loader = train_loader(pipeline=pipeline, num_workers=1)
    assert ids(loader) == clean and not loader.fetcher.given_up
    assert (tmp_path / "died").exists()


def test_a_death_does_not_interrupt_what_is_not_waiting_for_data():
    loader = train_loader(pipeline=ToyPipeline(die=(3,), die_by=signal.SIGSEGV), num_workers=2)
    before = signal.getsignal(signal.SIGCHLD)
    num_steps = 0
    for _ in loader.steps(0, 8):
        num_steps += 1
        end = time.monotonic() + 0.2  # as long as a training step may take
        while time.monotonic() < end:
            pass
    assert num_steps == 8 and "toy3" in loader.fetcher.given_up[3]
    assert signal.getsignal(signal.SIGCHLD) is before


def test_worker_after_worker_dies(monkeypatch):
    """Whatever the reason is, it is not the files."""
    monkeypatch.setattr("videozoo.engine.stream.TRIES", 3)
    loader = train_loader(pipeline=ToyPipeline(die=tuple(range(26)), die_by=signal.SIGSEGV), num_workers=1)
    with pytest.raises(
        TrainingError,
        match=r"^data loading: 3 worker processes in a row died, the last at videos/toy.*mp4 \(signal 11, SIGSEGV\)",
    ):
        ids(loader)


def test_a_full_shared_memory_says_what_to_set():
    loader = train_loader(pipeline=ToyPipeline(die=(3,), die_by=signal.SIGBUS), num_workers=1)
    with pytest.raises(TrainingError, match=r"shared memory .* is full .*--shm-size=8g.*lower fit\.num_workers"):
        ids(loader)
    told = explain(RuntimeError("unable to write to file </torch_7_1>: No space left on device (28), shared memory"))
    assert isinstance(told, TrainingError) and "--shm-size" in str(told)
    other = RuntimeError("mat1 and mat2 shapes cannot be multiplied")
    assert explain(other) is other


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_fault_of_the_code_comes_as_it_is(num_workers):
    def pipeline(record, rng):
        raise RuntimeError("the pipeline is wrong")

    with pytest.raises(RuntimeError, match="the pipeline is wrong"):
        ids(train_loader(pipeline=pipeline, num_workers=num_workers))


def test_collate():
    samples = [
        {"id": "a", "video": torch.zeros(2, 3), "label": np.int64(1), "weight": 0.5, "names": ["x"]},
        {"id": "b", "video": torch.ones(2, 3), "label": np.int64(2), "weight": 1, "names": []},
    ]
    batch = collate(samples)
    assert batch["id"] == ["a", "b"] and batch["names"] == [["x"], []]
    assert batch["video"].shape == (2, 2, 3)
    assert batch["label"].tolist() == [1, 2] and batch["label"].dtype == torch.int64
    samples[1]["video"] = torch.ones(2, 4)
    with pytest.raises(DataError, match=r"batch of a, b: 'video' has the shapes \[\(2, 3\), \(2, 4\)\]"):
        collate(samples)
