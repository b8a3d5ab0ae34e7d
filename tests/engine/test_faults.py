"""Full disks, crashing decoders and two processes: one line each, and nothing that was computed is lost."""

import errno
import os
import struct
import subprocess
import sys

import pytest
import torch

from tests.cli.test_crashes import CODE
from tests.engine.test_run import RECIPE, run
from tests.engine.toy import ToyPipeline, ToyRecords, make_trainer
from videozoo.data.motion import make_clips
from videozoo.engine.crash_file import CrashFile
from videozoo.engine.crashes import surviving_crashes
from videozoo.engine.distributed import World
from videozoo.engine.loader import TrainLoader
from videozoo.engine.log import RunLog
from videozoo.engine.run_files import RunFiles
from videozoo.engine.sinks import TensorBoard
from videozoo.errors import ConfigError, TrainingError
from videozoo.io.lock import locked
from videozoo.weights import checkpoint

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def full(*_, **__):
    raise FULL


@pytest.fixture
def world(tmp_path):
    make_clips(tmp_path / "world", num_train=8, num_val=4, size_px=32, num_classes=4)
    (tmp_path / "tiny.yaml").write_text(RECIPE.format(world=tmp_path / "world"))
    return tmp_path / "world"


@pytest.mark.parametrize("resume", [True, False])
def test_two_processes_in_one_folder(world, tmp_path, resume):
    run(tmp_path / "tiny.yaml", tmp_path / "run", "fit.duration=1st")
    before = {path: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    message = r"run: process \d+ is writing to it" if resume else r"run: is not empty; continue that run with --resume"
    with locked(tmp_path / "run"), pytest.raises(ConfigError, match=message):
        run(tmp_path / "tiny.yaml", tmp_path / "run", "fit.duration=1st", resume=resume)
    assert {path: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before


@pytest.mark.parametrize(("owner", "name"), [(TensorBoard, "write"), (TensorBoard, "close"), (RunLog, "close")])
def test_a_full_disk_is_one_line(tmp_path, monkeypatch, owner, name):
    monkeypatch.setattr(owner, name, full)
    step, advice = (
        (3, "no checkpoint was saved yet, --resume starts from the beginning")
        if name == "write"
        else (12, "continue with")
    )
    with pytest.raises(
        TrainingError, match=rf"^step {step}: the log in .*run cannot be written \(.*No space.*{advice}"
    ):
        make_trainer(tmp_path / "run", tensorboard=True).run()


def test_a_full_disk_does_not_hide_what_stopped_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr(RunLog, "close", full)
    with pytest.raises(TrainingError, match=r"loss nan.*: not finite"):
        make_trainer(tmp_path / "run", pipeline=ToyPipeline(poison=(4,))).run()


def test_scores_are_said_before_they_are_written(tmp_path, monkeypatch, capsys):
    write = RunLog.write
    monkeypatch.setattr(
        RunLog, "write", lambda log, step, values: full() if "val/top1" in values else write(log, step, values)
    )
    with pytest.raises(TrainingError, match=r"^step 5: the log"):
        make_trainer(tmp_path / "run").run(progress=True)
    assert "step 5: top1 " in capsys.readouterr().err


def test_tensorboard_hides_the_steps_after_the_one_resumed_from(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for step in (0, 2):
        with RunFiles(tmp_path, record={}).logging(step, sinks=["tensorboard"]):
            pass
        board = TensorBoard(tmp_path, step=step, record={})
        for later in range(step + 1, 5 if step else 6):
            board.write(later, {"loss": later + step})
        board.close()
    events = EventAccumulator(str(tmp_path / "tb"))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("loss")] == [(1, 1), (2, 2), (3, 5), (4, 6)]


# ---- crashes


def test_the_file_of_the_sample_being_decoded(tmp_path):
    path = tmp_path / ".decoding.train.0"
    file = CrashFile(path, {7, 3})
    with file.noting(5):
        assert CrashFile.read([path]) == ({5}, {3, 7})
    assert CrashFile.read([path]) == (set(), {3, 7})
    file.close()
    assert path.exists()  # to be remembered
    CrashFile(path).close()
    assert not path.exists()
    assert CrashFile.read([]) == (set(), set())
    path.write_bytes(b"")
    assert CrashFile.read([path]) == (set(), set())


def loader_after(tmp_path, suspect, pipeline):
    """A loader without workers, of a run whose last process ended at `suspect`."""
    files = RunFiles(tmp_path, record={})
    files.crash_file("train", 0).write_bytes(struct.pack("<q", suspect))
    loader = TrainLoader(ToyRecords(24), pipeline, batch_size=6, seed=3)
    return loader, surviving_crashes({"train": loader.fetcher}, files, world=World())


def test_a_suspect_that_crashes_is_given_up(tmp_path):
    loader, survived = loader_after(tmp_path, 3, ToyPipeline(die=(3,)))
    with survived:
        bad = [b for [batch] in loader.steps(0, 4) for b in batch["bad"]]
    assert [id_ for id_, _ in bad] == ["toy3"] and "toy3.mp4: it crashed the decoder" in bad[0][1]
    assert CrashFile.read([tmp_path / ".decoding.train.0"]) == (set(), {3})


def test_a_suspect_that_does_not_crash_was_killed_for_another_reason(tmp_path):
    loader, survived = loader_after(tmp_path, 3, ToyPipeline())
    with survived:
        assert not [b for [batch] in loader.steps(0, 4) for b in batch["bad"]]
    assert not list(tmp_path.iterdir())


def videozoo(tmp_path, *arguments):
    code = CODE.format(log=str(tmp_path / "opened"), arguments=[str(argument) for argument in arguments])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600, env=environment)


def test_training_without_workers_goes_on_by_resume(world, tmp_path):
    """As with workers, which need no other start; and evaluation names its file either way."""
    for split in ("train", "val"):
        clip = sorted((world / split).rglob("*.mp4"))[1]
        clip.rename(clip.with_name("bad.mp4"))
    arguments = ("train", tmp_path / "tiny.yaml", "fit.max_bad_share=0.2", "--out")
    crashed = [videozoo(tmp_path, *arguments, tmp_path / "alone").returncode]
    while crashed[-1] != 0:
        assert len(crashed) < 4
        found = videozoo(tmp_path, *arguments, tmp_path / "alone", "--resume")
        crashed.append(found.returncode)
    assert crashed == [-6, -6, 0], found.stderr  # a training clip, a validation clip
    assert "bad.mp4: it crashed the decoder" in found.stderr
    found = videozoo(tmp_path, *arguments, tmp_path / "workers", "fit.num_workers=1")
    assert found.returncode == 0, found.stderr
    for name in ("alone", "workers"):
        assert "bad.mp4: it crashed the decoder" in (tmp_path / name / "bad_files.txt").read_text()
    a, b = (checkpoint.read(tmp_path / name / "last.pt") for name in ("alone", "workers"))
    assert all(torch.equal(a.model[k], b.model[k]) for k in a.model)
    assert a.resume["scores"] == b.resume["scores"] and a.resume["scores"]["num_scored"] == 3
    for workers in (0, 1):
        found = videozoo(tmp_path, "eval", tmp_path / "alone", "--num-workers", workers, "--device", "cpu")
        assert found.returncode == 0, found.stderr
        assert "3 of 4 scored" in found.stdout and "bad.mp4: it crashed the decoder (signal 6, SIGABRT)" in found.stdout
