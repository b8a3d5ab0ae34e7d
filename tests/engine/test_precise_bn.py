"""Precise batch norm: equal to the averages computed by hand, and to the bit the same after a kill."""

import pytest
import torch
from torch import nn

from tests.engine.test_distributed import finish, torchrun
from tests.engine.test_resume import assert_same_runs, kill_at, resume
from tests.engine.toy import make_trainer
from videozoo.engine.precise_bn import estimate_statistics
from videozoo.errors import ConfigError
from videozoo.weights import checkpoint


def test_equals_the_averages_by_hand():
    torch.manual_seed(0)
    batches = [torch.randn(5, 3, 4, 4) * (i + 1) + i for i in range(3)]
    net = nn.Sequential(nn.BatchNorm2d(3), nn.ReLU(), nn.BatchNorm2d(3)).eval()
    net[2].momentum = 0.3
    net[0](batches[0])
    affine = [p.detach().clone() for p in net.parameters()]
    estimate_statistics(net, batches, forward=net)

    def rows(x):
        return x.transpose(0, 1).flatten(1)

    hidden = []
    for x in batches:
        mean, var = rows(x).mean(1), rows(x).var(1, correction=0)
        hidden.append(((x - mean[:, None, None]) / (var[:, None, None] + 1e-5).sqrt()).relu())
    for norm, inputs in ((net[0], batches), (net[2], hidden)):
        torch.testing.assert_close(norm.running_mean, sum(rows(x).mean(1) for x in inputs) / 3)
        torch.testing.assert_close(norm.running_var, sum(rows(x).var(1) for x in inputs) / 3)
    assert not net.training and (net[0].momentum, net[2].momentum) == (0.1, 0.3)
    assert net[0].num_batches_tracked == 0
    assert all(torch.equal(a, b) for a, b in zip(affine, net.parameters(), strict=True))


def test_frozen_norms_stay():
    class Frozen(nn.BatchNorm1d):
        def train(self, mode=True):
            return super().train(False)

    net = nn.Sequential(Frozen(2), nn.BatchNorm1d(2))
    estimate_statistics(net, [torch.randn(8, 2) + 5], forward=net)
    assert net[0].running_mean.tolist() == [0, 0]
    assert net[1].running_mean.min() > 3


def test_evaluated_and_published_with_it(tmp_path):
    """The batches are those of the steps ahead, whose samples are a function of (seed, step)."""
    trainer = make_trainer(tmp_path / "run", precise_bn=3, accumulate=2)
    trainer.run()
    saved = checkpoint.read(tmp_path / "run" / "last.pt").model
    model, trainer.step = trainer.task.model.train(), 12
    sums = []
    model.norm.register_forward_pre_hook(lambda m, args: sums.append(args[0].mean((0, 2, 3))))
    for step in trainer.loader.steps(12, 15):
        for batch in step:
            model(trainer.input_spec.to_device(batch, "cpu")["video"])
    assert len(sums) == 6
    torch.testing.assert_close(saved["norm.running_mean"], (sum(sums) / 6).detach())


def test_training_does_not_depend_on_it(tmp_path):
    runs = {n: make_trainer(tmp_path / str(n), precise_bn=n) for n in (0, 2)}
    for trainer in runs.values():
        trainer.run()
    a, b = (dict(trainer.task.model.named_parameters()) for trainer in runs.values())
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not torch.equal(runs[0].task.model.norm.running_mean, runs[2].task.model.norm.running_mean)


@pytest.mark.parametrize("ema_decay", [None, 0.9])
def test_killed_and_resumed_is_undisturbed(tmp_path, ema_decay):
    args = {"precise_bn": 2, "ema_decay": ema_decay}
    make_trainer(tmp_path / "whole", **args).run()
    kill_at(make_trainer(tmp_path / "cut", **args), 7)
    resume(make_trainer(tmp_path / "cut", num_workers=1, **args))
    assert_same_runs(tmp_path / "whole", tmp_path / "cut")


def test_without_evaluation(tmp_path):
    trainer = make_trainer(tmp_path / "run", precise_bn=2, steps=3)
    trainer.evaluate = None
    trainer.run()
    plain = make_trainer(tmp_path / "plain", steps=3)
    plain.evaluate = None
    plain.run()
    assert not torch.equal(trainer.task.model.norm.running_mean, plain.task.model.norm.running_mean)


def test_negative():
    with pytest.raises(ConfigError, match=r"fit\.precise_bn: is -1; must be 0 or more"):
        make_trainer.__globals__["Fit"](precise_bn=-1)


SCRIPT = """
import sys, torch
from torch import nn
from videozoo.engine.distributed import join_world
from videozoo.engine.precise_bn import estimate_statistics

with join_world("cpu") as world:
    net = nn.BatchNorm1d(2)
    batches = torch.arange(16.0).reshape(4, 2, 2) ** 2
    estimate_statistics(net, batches[world.rank :: 2], forward=net, world=world)
    # in one piece: the other process writes to the same pipe
    sys.stdout.write(f"rank {world.rank} {net.running_mean.tolist()} {net.running_var.tolist()}\\n")
"""


@pytest.mark.long
def test_two_processes_average_over_both(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    out = finish(torchrun(tmp_path / "script.py"))
    batches = torch.arange(16.0).reshape(4, 2, 2) ** 2
    mean, var = batches.mean(1).mean(0).tolist(), batches.var(1).mean(0).tolist()
    assert all(f"rank {rank} {mean} {var}" in out for rank in (0, 1)), out
