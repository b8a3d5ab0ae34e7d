"""A run that was killed and taken up again is, bit for bit, the run that was never stopped."""

import functools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests.engine.toy import ToyPipeline, make_trainer
from videozoo.engine.duration import Duration
from videozoo.engine.log import read_log
from videozoo.engine.muon import muon
from videozoo.errors import WeightsError
from videozoo.weights import checkpoint

TIMES = ("clips_per_s", "data_wait_share")


class Killed(BaseException):
    pass


def kill_at(trainer, step):
    """Nothing of step `step` or after it happens, and nothing is saved for it."""
    train_step = trainer._train_step

    def dies(*args):
        if trainer.step == step:
            raise Killed
        return train_step(*args)

    trainer._train_step = dies
    with pytest.raises(Killed):
        trainer.run()


def resume(trainer):
    trainer.restore(checkpoint.read(trainer.files.last))
    return trainer.run()


def logged(out_dir):
    return [{k: v for k, v in line.items() if k not in TIMES} for line in read_log(out_dir / "log.jsonl")]


def same(a, b):
    """Equal to the bit, tensors and all."""
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def assert_same_runs(one, other):
    assert logged(one) == logged(other)
    for name in ("last.pt", "best.pt"):
        a, b = checkpoint.read(one / name), checkpoint.read(other / name)
        assert a.step == b.step
        assert same(dict(a.model), dict(b.model))
        assert same(dict(a.resume), dict(b.resume))


@pytest.mark.parametrize("ema_decay", [None, 0.9])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("save_every", ["4st", "3st"], ids=["edge", "mid-epoch"])
def test_killed_and_resumed_is_undisturbed(tmp_path, save_every, accumulate, precision, ema_decay):
    args = {
        "save_every": Duration.parse(save_every),
        "accumulate": accumulate,
        "precision": precision,
        "ema_decay": ema_decay,
        "clip_grad_norm": 1.0,
        "log_every": 5,
    }
    make_trainer(tmp_path / "whole", **args).run()
    kill_at(make_trainer(tmp_path / "cut", **args), 7)
    result = resume(make_trainer(tmp_path / "cut", **args))
    assert result.step == 12
    assert_same_runs(tmp_path / "whole", tmp_path / "cut")


def test_worker_count_may_change_in_between(tmp_path):
    make_trainer(tmp_path / "whole").run()
    kill_at(make_trainer(tmp_path / "cut", num_workers=2), 6)
    resume(make_trainer(tmp_path / "cut", num_workers=1))
    assert_same_runs(tmp_path / "whole", tmp_path / "cut")


def test_muon_resumes_exactly(tmp_path):
    args = {"optimizer": functools.partial(muon, lr=0.01, weight_decay=0.1)}
    make_trainer(tmp_path / "whole", **args).run()
    kill_at(make_trainer(tmp_path / "cut", **args), 7)
    resume(make_trainer(tmp_path / "cut", **args))
    assert_same_runs(tmp_path / "whole", tmp_path / "cut")


def test_broken_data_resumes_exactly(tmp_path):
    args = {"pipeline": ToyPipeline(broken=(3, 4, 11)), "max_bad_share": 0.5}
    make_trainer(tmp_path / "whole", **args).run()
    kill_at(make_trainer(tmp_path / "cut", **args), 10)
    resume(make_trainer(tmp_path / "cut", **args))
    assert_same_runs(tmp_path / "whole", tmp_path / "cut")
    assert len((tmp_path / "cut" / "bad_files.txt").read_text().splitlines()) == 3


def test_killed_twice_and_while_evaluating(tmp_path):
    make_trainer(tmp_path / "whole").run()
    kill_at(make_trainer(tmp_path / "cut"), 5)
    trainer = make_trainer(tmp_path / "cut")

    def dies(task):
        raise Killed

    trainer.evaluate = dies  # before step 5 is saved
    with pytest.raises(Killed):
        resume(trainer)
    resume(make_trainer(tmp_path / "cut"))
    assert_same_runs(tmp_path / "whole", tmp_path / "cut")


def test_a_finished_run_stays_finished(tmp_path):
    make_trainer(tmp_path / "run").run()
    before = (tmp_path / "run" / "log.jsonl").read_text()
    assert resume(make_trainer(tmp_path / "run")).step == 12
    assert (tmp_path / "run" / "log.jsonl").read_text() == before


def test_log_is_cut_back_to_the_checkpoint(tmp_path):
    trainer = make_trainer(tmp_path / "run", save_every=Duration(4, "st"), log_every=1)
    kill_at(trainer, 7)
    with (tmp_path / "run" / "log.jsonl").open("a") as file:
        file.write('{"step": 8, "lo')  # killed while writing
    assert [line["step"] for line in read_log(tmp_path / "run" / "log.jsonl")][-1] == 7
    again = make_trainer(tmp_path / "run", save_every=Duration(4, "st"), log_every=1)
    kill_at_once = checkpoint.read(tmp_path / "run" / "last.pt")
    again.restore(kill_at_once)
    with again.files.logging(again.step):
        pass
    assert [line["step"] for line in read_log(tmp_path / "run" / "log.jsonl")] == [1, 2, 3, 4]


def test_published_weights_cannot_be_resumed(tmp_path):
    make_trainer(tmp_path / "run").run()
    trainer = make_trainer(tmp_path / "run")
    with pytest.raises(WeightsError, match=r"best\.pt: holds weights only; start a new run with --init"):
        trainer.restore(checkpoint.read(tmp_path / "run" / "best.pt"))


def test_sigterm_finishes_the_step_and_saves(tmp_path):
    make_trainer(tmp_path / "whole").run()
    trainer = make_trainer(tmp_path / "cut")
    train_step = trainer._train_step

    def with_signal(*args):
        if trainer.step == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        return train_step(*args)

    trainer._train_step = with_signal
    before = signal.getsignal(signal.SIGTERM)
    result = trainer.run()
    assert (result.step, result.stopped_by) == (5, "SIGTERM")  # before the evaluation that step 5 is due
    assert signal.getsignal(signal.SIGTERM) is before
    assert resume(make_trainer(tmp_path / "cut")).stopped_by is None
    assert_same_runs(tmp_path / "whole", tmp_path / "cut")


SCRIPT = """
import sys, time
from pathlib import Path
from tests.engine.toy import make_trainer
from videozoo.weights import checkpoint

out_dir, slow_from = Path(sys.argv[1]), int(sys.argv[2])
trainer = make_trainer(out_dir, steps=300, num_workers=2, log_every=1)
if (out_dir / "last.pt").is_file():
    trainer.restore(checkpoint.read(out_dir / "last.pt"))
train_step = trainer._train_step

def slow(*args):
    if trainer.step >= slow_from:
        time.sleep(0.5)
    return train_step(*args)

trainer._train_step = slow
result = trainer.run()
print(result.step, result.stopped_by)
"""


def start(out_dir, slow_from):
    """A run whose steps take long from one on: whoever is to stop it there has a minute for it on a busy machine."""
    root = Path(__file__).parents[2]
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", SCRIPT, str(out_dir), str(slow_from)],
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())},  # equal bits need equal threads
    )


def log_of(out_dir):
    """What tells the logs of two processes of a run apart: each begins with a new file."""
    path = out_dir / "log.jsonl"
    return path.stat().st_ino if path.exists() else None


def wait_for_step(out_dir, step, process, *, log_before):
    """Waits until `process` has logged a step; what an earlier one logged does not count."""
    while log_of(out_dir) == log_before or not (lines := read_log(out_dir / "log.jsonl")) or lines[-1]["step"] < step:
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


@pytest.mark.long
def test_real_kills(tmp_path):
    """SIGKILL twice, then SIGTERM to the whole group, workers and all, then to the end."""
    make_trainer(tmp_path / "whole", steps=300, log_every=1).run()
    for step, send in ((20, signal.SIGKILL), (90, signal.SIGKILL), (150, signal.SIGTERM)):
        log_before = log_of(tmp_path / "cut")
        process = start(tmp_path / "cut", step)
        wait_for_step(tmp_path / "cut", step, process, log_before=log_before)
        (os.killpg if send == signal.SIGTERM else os.kill)(process.pid, send)
        out, err = process.communicate(timeout=120)
        assert process.returncode == (0 if send == signal.SIGTERM else -signal.SIGKILL), err
    assert out.split()[1] == "SIGTERM"
    process = start(tmp_path / "cut", 300)
    assert process.communicate(timeout=120)[0].split() == ["300", "None"]
    assert_same_runs(tmp_path / "whole", tmp_path / "cut")
    json.loads((tmp_path / "cut" / "log.jsonl").read_text().splitlines()[-1])
