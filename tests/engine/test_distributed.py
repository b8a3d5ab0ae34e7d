"""Two processes over gloo: equal to one with the same batch, killed and resumed to the bit."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests.engine.test_resume import assert_same_runs
from tests.engine.toy import make_trainer
from videozoo.engine.distributed import World, join_world
from videozoo.engine.log import read_log
from videozoo.errors import ConfigError
from videozoo.weights import checkpoint

SCRIPT = """
import os, sys
from pathlib import Path
from tests.engine.toy import ToyPipeline, make_trainer
from videozoo.engine.distributed import join_world
from videozoo.weights import checkpoint

out_dir, plain = Path(sys.argv[1]), sys.argv[2] == "plain"
args = {"ema_decay": 0.9, "pipeline": ToyPipeline(broken=(3, 4)), "max_bad_share": 0.5}
if plain:
    args = {"norm": False, "dropout": 0.0}

def train(world):
    trainer = make_trainer(out_dir, world=world, steps=int(sys.argv[3]), **args)
    if plain:
        trainer._micro_seed = lambda micro: trainer.step
    if (out_dir / "last.pt").is_file():
        trainer.restore(checkpoint.read(out_dir / "last.pt"))
    result = trainer.run()
    sys.stdout.write(f"rank {world.rank} {result.step} {result.stopped_by} {result.num_bad}\\n")

with join_world("cpu") as world:
    train(world)
threads = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
sys.stdout.write(f"threads {[name for name in threads if 'gloo' in name]}\\n")
"""


def torchrun(script, *args, restarts=0):
    return subprocess.Popen(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
        + [f"--max-restarts={restarts}", str(script), *map(str, args)],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])},
    )


def finish(process):
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return out


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    return path


@pytest.mark.long
def test_two_processes_equal_one_with_the_same_batch(tmp_path, script):
    finish(torchrun(script, tmp_path / "two", "plain", 12))
    one = make_trainer(tmp_path / "one", norm=False, dropout=0.0)
    one._micro_seed = lambda micro: one.step
    one.run()
    a, b = (checkpoint.read(tmp_path / name / "last.pt").model for name in ("one", "two"))
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=1e-6, atol=1e-6)
    for x, y in zip(*(read_log(tmp_path / n / "log.jsonl") for n in ("one", "two")), strict=True):
        assert x.keys() == y.keys() and x.get("loss", 0) == pytest.approx(y.get("loss", 0), rel=1e-6)


@pytest.mark.long
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="the system does not list threads")
def test_no_thread_of_the_group_is_left(tmp_path, script):
    """A thread of the group that outlives Python may abort the process after a complete run."""
    out = finish(torchrun(script, tmp_path / "run", "plain", 3))
    assert out.count("threads []") == 2, out


@pytest.mark.long
def test_two_processes_resume_exactly_after_one_is_killed(tmp_path, script):
    """torchrun starts both anew when one is gone; they take the run up where it was saved."""
    finish(torchrun(script, tmp_path / "whole", "full", 400))
    process = torchrun(script, tmp_path / "cut", "full", 400, restarts=1)
    while not (lines := read_log(tmp_path / "cut" / "log.jsonl")) or lines[-1]["step"] < 30:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)
    os.kill(children(process.pid)[1], signal.SIGKILL)
    out = finish(process)
    assert "rank 0 400 None 2" in out and "rank 1 400 None 2" in out
    assert_same_runs(tmp_path / "whole", tmp_path / "cut")


def children(pid):
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(path.read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(path.parent.name))
        except OSError:
            continue
    return sorted(found)


def test_alone(monkeypatch):
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    with join_world("cpu") as world:
        assert world == World() and world.is_first
        assert world.gather("x") == ["x"] and world.from_first(3) == 3
        assert world.mean(torch.tensor([2.0])).tolist() == [2.0]


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("gpu", r"device: there is no device 'gpu'"),
        pytest.param(
            "cuda",
            r"device: is 'cuda', but torch finds no such device here; write auto",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU"),
        ),
    ],
)
def test_no_such_device(device, message):
    with pytest.raises(ConfigError, match=message), join_world(device):
        pass
