"""The loop: what a step does, what it refuses, and what it leaves behind."""

import errno
import os
import re

import pytest
import torch

from tests.engine.toy import ToyPipeline, make_trainer
from videozoo.engine.average import WeightAverage
from videozoo.engine.duration import Duration
from videozoo.engine.log import read_log
from videozoo.engine.optim import gradient_norm
from videozoo.errors import DataError, TrainingError
from videozoo.weights import checkpoint


def weights(trainer):
    return {name: p.detach().clone() for name, p in trainer.task.model.named_parameters()}


def test_it_learns(tmp_path):
    result = make_trainer(tmp_path / "run", steps=60, eval_every=Duration(20, "st")).run()
    assert result.scores["top1"] > 90
    assert result.best_score == max(
        line["val/top1"] for line in read_log(tmp_path / "run" / "log.jsonl") if "val/top1" in line
    )
    best = checkpoint.read(tmp_path / "run" / "best.pt")
    assert best.step == result.best_step
    assert best.class_names == ("a", "b", "c") and best.record["model"] == {"name": "toy"}


@pytest.mark.parametrize("accumulate", [2, 3, 6])
def test_accumulation_equals_the_big_batch(tmp_path, accumulate):
    """Without batch norm, dropout and the toy's own random loss, which see a micro-batch at a time."""
    args = {"norm": False, "dropout": 0.0, "steps": 8, "clip_grad_norm": 0.3}
    big, small = (make_trainer(tmp_path / str(n), accumulate=n, **args) for n in (1, accumulate))
    for trainer in (big, small):
        trainer._micro_seed = lambda micro, trainer=trainer: trainer.step
        trainer.run()
    for a, b in zip(weights(big).values(), weights(small).values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_worker_count_changes_nothing(tmp_path):
    for n in (0, 2):
        make_trainer(tmp_path / str(n), num_workers=n).run()
    a, b = (checkpoint.read(tmp_path / str(n) / "last.pt").model for n in (0, 2))
    assert all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_not_finite_stops_before_the_optimizer_moves(tmp_path, what):
    trainer = make_trainer(tmp_path / "run", pipeline=ToyPipeline(poison=(4,)) if what == "loss" else None)
    before = []
    check = trainer._check_finite

    def noting(*args):
        before[:] = [weights(trainer)]
        check(*args)

    trainer._check_finite = noting
    if what == "gradient":
        trainer.task.model.fc.weight.register_hook(lambda g: g * (float("inf") if trainer.step == 5 else 1))
    with pytest.raises(
        TrainingError,
        match=r"^step \d+: .*(loss nan|grad_norm (nan|inf)).*: not finite \(fp32, samples toy\d+, .*\); "
        r"lower optim\.lr, .*; (no checkpoint was saved yet, --resume starts from the beginning|"
        r"continue with --resume from .*last\.pt \(step 4\))$",
    ) as caught:
        trainer.run()
    assert ("toy4" in str(caught.value)) == (what == "loss")
    for name, p in trainer.task.model.named_parameters():
        assert torch.equal(p.detach(), before[0][name]) and p.isfinite().all()


def test_half_precision_skips_a_step_that_overflows(tmp_path):
    trainer = make_trainer(tmp_path / "run", precision="fp16", steps=4)
    trainer.task.model.fc.weight.register_hook(lambda g: g * (float("inf") if trainer.step == 1 else 1))
    result = trainer.run()
    assert result.step == 4
    assert trainer.scaler.get_scale() == 2**15
    assert all(p.isfinite().all() for p in trainer.task.model.parameters())


def test_half_precision_gives_up_when_the_scale_is_gone(tmp_path):
    trainer = make_trainer(tmp_path / "run", precision="fp16", steps=40)
    trainer.task.model.fc.weight.register_hook(lambda g: g * float("inf"))
    with pytest.raises(TrainingError, match=r"step 18: grad_norm (inf|nan): not finite \(fp16"):
        trainer.run()


def test_broken_data_is_listed_and_bounded(tmp_path):
    pipeline = ToyPipeline(broken=(3, 4, 11))
    result = make_trainer(tmp_path / "fine", pipeline=pipeline, max_bad_share=0.2).run()
    assert result.num_bad == 3
    lines = (tmp_path / "fine" / "bad_files.txt").read_text().splitlines()
    assert sorted(line.partition("\t")[0] for line in lines) == ["toy11", "toy3", "toy4"]
    assert "moov atom not found" in lines[0]
    with pytest.raises(
        TrainingError,
        match=r"step \d+: [23] of 26 training samples cannot be used, more than fit\.max_bad_share 0\.05; "
        r".*bad_files\.txt lists them \(videos/toy\d+\.mp4: moov atom",
    ):
        make_trainer(tmp_path / "bad", pipeline=pipeline).run()
    assert (tmp_path / "bad" / "bad_files.txt").read_text().count("moov") >= 2


def test_what_many_samples_lack_is_told_once(tmp_path, capsys):
    def pipeline(record, rng):
        if record.index < 8:
            raise DataError("no features of video 'a'")
        return ToyPipeline()(record, rng)

    trainer = make_trainer(tmp_path / "run", pipeline=pipeline, max_bad_share=0.5, log_every=1)
    assert trainer.run(progress=True).num_bad == 8
    lines = (tmp_path / "run/bad_files.txt").read_text().splitlines()
    assert len(lines) == 8 and all(
        line.startswith("toy") and line.endswith("\tno features of video 'a'") for line in lines
    )
    assert capsys.readouterr().err.count("no features of video 'a'") == 1


def test_disk_full_leaves_the_previous_checkpoint(tmp_path, monkeypatch):
    trainer = make_trainer(tmp_path / "run")
    save = torch.save

    def full(content, path):
        if content["step"] > 4:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        save(content, path)

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(
        TrainingError,
        match=r"^step 5: .*best\.pt: cannot be written \(.*[Nn]o space left on device\).*"
        r"continue with --resume from .*last\.pt \(step 4\)",
    ):
        trainer.run()
    assert checkpoint.read(tmp_path / "run" / "last.pt").step == 4
    assert not list((tmp_path / "run").glob(".*.tmp"))


def test_log_that_cannot_be_written(tmp_path, monkeypatch):
    trainer = make_trainer(tmp_path / "run")

    def full(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("videozoo.engine.log.RunLog.write", full)
    with pytest.raises(TrainingError, match=r"step 3: the log in .*run cannot be written \(.*No space left"):
        trainer.run()


def test_out_of_memory_says_what_to_lower(tmp_path):
    trainer = make_trainer(tmp_path / "run", accumulate=2)

    def forward(batch):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")

    trainer.forward = forward
    with pytest.raises(
        TrainingError,
        match=r"^step 1: out of memory on cpu with 3 samples at a time \(fit\.batch_size 6, "
        r"fit\.accumulate 2, 1 process\); raise fit\.accumulate",
    ):
        trainer.run()


def test_other_errors_come_as_they_are(tmp_path):
    trainer = make_trainer(tmp_path / "run")

    def forward(batch):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    trainer.forward = forward
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        trainer.run()


def test_average_is_what_is_evaluated_and_published(tmp_path):
    trainer = make_trainer(tmp_path / "run", ema_decay=0.5)
    seen = []
    evaluate = trainer.evaluate
    trainer.evaluate = lambda task: seen.append(task) or evaluate(task)
    trainer.run()
    assert set(seen) == {trainer.average.task}
    saved = checkpoint.read(tmp_path / "run" / "last.pt")
    average, raw = trainer.average.task.model.state_dict(), trainer.task.model.state_dict()
    assert all(torch.equal(saved.model[k], average[k]) for k in average)
    assert all(torch.equal(saved.resume["raw_model"][k], raw[k]) for k in raw)
    assert not torch.equal(average["fc.weight"], raw["fc.weight"])


def test_average_by_its_formula(tmp_path):
    task = make_trainer(tmp_path / "run").task
    average = WeightAverage(task, decay=0.3)
    start = task.model.fc.weight.detach().clone()
    with torch.no_grad():
        task.model.fc.weight += 1
        task.model.norm.num_batches_tracked += 5
    average.update(task, step=1)  # (1 + 1) / (10 + 1) is below the decay
    torch.testing.assert_close(average.task.model.fc.weight, start + 9 / 11)
    average.update(task, step=100)
    torch.testing.assert_close(average.task.model.fc.weight, start + 1 - 0.3 * 2 / 11)
    assert average.task.model.norm.num_batches_tracked == 5


def test_gradients_are_clipped_before_the_step(tmp_path):
    trainer = make_trainer(tmp_path / "run", clip_grad_norm=0.01, steps=2)
    norms = []
    step = trainer.optimizer.step
    trainer.optimizer.step = lambda: norms.append(float(gradient_norm(trainer.params))) or step()
    trainer.run()
    assert norms == [pytest.approx(0.01), pytest.approx(0.01)]


def test_older_checkpoints_are_kept_on_request(tmp_path):
    make_trainer(tmp_path / "run", keep=2, save_every=Duration(3, "st")).run()
    assert sorted(p.name for p in (tmp_path / "run").glob("step_*")) == [
        "step_00000009.pt",
        "step_00000012.pt",
    ]
    assert checkpoint.read(tmp_path / "run" / "step_00000009.pt").step == 9


def test_tensorboard_has_what_the_log_has(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    make_trainer(tmp_path / "run", tensorboard=True).run()
    events = EventAccumulator(str(tmp_path / "run" / "tb"))
    events.Reload()
    lines = read_log(tmp_path / "run" / "log.jsonl")
    assert set(events.Tags()["scalars"]) == {k for line in lines for k in line} - {"step"}
    assert {"loss", "aux", "lr", "grad_norm", "clips_per_s", "data_wait_share", "val/top1"} <= set(
        events.Tags()["scalars"]
    )
    assert [e.step for e in events.Scalars("loss")] == [3, 6, 9, 12]
    assert events.Scalars("loss")[0].value == pytest.approx(lines[0]["loss"])


def test_progress_without_a_terminal_is_lines(tmp_path, capsys):
    trainer = make_trainer(tmp_path / "run")
    trainer.run(progress=True)
    lines = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"step 5: top1 [\d.]+", lines[0])
    assert re.fullmatch(
        r"epoch 3\.0  step 12/12  0:00:00 left  loss [\d.]+  [\d.e+]+ clips/s  waiting for data \d+%",
        lines[-2],
    )
