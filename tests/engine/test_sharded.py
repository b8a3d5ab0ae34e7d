"""Parameters in shards over two processes: the run of DDP, and files that one process reads."""

import copy

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.tensor import DTensor
from torch.utils._pytree import tree_leaves

from tests.contract.test_models import clips, tiny
from tests.contract.tiny import TINY
from tests.engine.test_distributed import finish, torchrun
from tests.engine.test_resume import assert_same_runs, same
from tests.engine.toy import make_trainer
from videozoo.engine import sharded
from videozoo.engine.distributed import World
from videozoo.engine.log import read_log
from videozoo.engine.muon import Muon
from videozoo.engine.optim import RMSProp, clip_gradients, gradient_norm
from videozoo.engine.options import Fit
from videozoo.errors import ConfigError
from videozoo.weights import checkpoint

SCRIPT = """
import sys
from pathlib import Path
from tests.engine import toy
from tests.engine.test_resume import kill_at, resume
from tests.engine.test_sharded import ARGS, use_blocks
from videozoo.engine.distributed import join_world

out_dir = Path(sys.argv[1])
use_blocks()
with join_world("cpu") as world:
    for kind in ("ddp", "fsdp"):
        toy.make_trainer(out_dir / kind, world=world, parallel=kind, **ARGS).run()
    make = lambda: toy.make_trainer(out_dir / "cut", world=world, parallel="fsdp", **ARGS)
    kill_at(make(), 7)
    world.gather(None)
    resume(make())
    trainer = make()
    shards = sum(p.to_local().numel() for p in trainer.task.parameters())
    sys.stdout.write(f"share {shards / sum(p.numel() for p in trainer.task.parameters())}\\n")
"""
ARGS = {"accumulate": 3, "clip_grad_norm": 0.1, "ema_decay": 0.9, "precise_bn": 2, "log_every": 1}


def use_blocks():
    """The toy model with a sequence of blocks that are worth a shard of their own."""
    from tests.engine import toy

    class Deep(toy.ToyModel):
        def __init__(self, **args):
            super().__init__(**args)
            blocks = (nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)) for _ in range(2))
            self.conv = nn.Sequential(self.conv, nn.Sequential(*blocks))

    toy.ToyModel = Deep
    sharded.MIN_UNIT = 8


@pytest.mark.long
def test_two_processes(tmp_path, monkeypatch):
    from tests.engine import toy

    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    out = finish(torchrun(script, tmp_path))
    assert max(float(word) for word in out.split() if word != "share") < 0.6

    ddp, fsdp = (checkpoint.read(tmp_path / kind / "last.pt") for kind in ("ddp", "fsdp"))
    pairs = [(ddp.model, fsdp.model), (ddp.resume["raw_model"], fsdp.resume["raw_model"])]
    states = [saved.resume["optimizer"]["state"] for saved in (ddp, fsdp)]
    pairs += [(states[0][index], states[1][index]) for index in states[0]]
    for ours, theirs in pairs:
        assert list(ours) == list(theirs)
        for name in ours:
            torch.testing.assert_close(ours[name], theirs[name], rtol=1e-6, atol=1e-6)
    for a, b in zip(*(read_log(tmp_path / kind / "log.jsonl") for kind in ("ddp", "fsdp")), strict=True):
        assert a.get("loss", 0) == pytest.approx(b.get("loss", 0), rel=1e-6)
        assert a.get("val/top1") == b.get("val/top1")
    assert_same_runs(tmp_path / "fsdp", tmp_path / "cut")

    monkeypatch.setattr(toy, "ToyModel", toy.ToyModel)
    monkeypatch.setattr(sharded, "MIN_UNIT", sharded.MIN_UNIT)
    use_blocks()
    alone = make_trainer(tmp_path / "fsdp", steps=12, **ARGS)
    alone.restore(fsdp)
    assert same(dict(alone.task.model.state_dict()), dict(fsdp.resume["raw_model"]))
    assert same(alone.optimizer.state_dict()["state"], fsdp.resume["optimizer"]["state"])


@pytest.fixture
def world():
    """One process that takes itself for many."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield World()
    dist.destroy_process_group()


@pytest.mark.parametrize("name", sorted(TINY))
def test_every_model_learns_in_shards(name, world, monkeypatch):
    """The gradients are those of the model in one piece."""
    monkeypatch.setattr(sharded, "MIN_UNIT", 100)
    plain = tiny(name).train()
    cut, x = copy.deepcopy(plain), clips(plain)
    sharded.shard(cut, world=world)
    assert all(isinstance(p, DTensor) for p in cut.parameters())
    for net in (plain, cut):
        torch.manual_seed(1)
        sum(out.square().mean() for out in tree_leaves(net(x))).backward()
    for a, b in zip(plain.parameters(), cut.parameters(), strict=True):
        if a.grad is None:  # of a tower that clips do not reach
            assert b.grad is None
            continue
        torch.testing.assert_close(a.grad, sharded.full_tensor(b.grad))


def test_a_scalar_is_refused(world):
    net = nn.Linear(2, 2)
    net.scale = nn.Parameter(torch.tensor(1.0))
    with pytest.raises(ConfigError, match=r"fit\.parallel: fsdp cannot shard the scalar scale; use ddp"):
        sharded.shard(net, world=world)


def test_blocks_are_members_of_lists():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Linear(9, 9)
            self.stage = nn.Sequential(nn.Sequential(nn.Linear(9, 9), nn.ReLU()), nn.Linear(2, 2))
            self.blocks = nn.ModuleList([nn.TransformerEncoderLayer(8, 2, 8)])

    net = Net()
    assert list(sharded.units(net, min_params=50)) == [net.stage[0][0], net.blocks[0]]
    assert list(sharded.units(net, min_params=1)) == [net.stage[0][0], net.stage[1], net.blocks[0]]
    net.open_blocks = True
    layer = net.blocks[0]
    assert list(sharded.units(net, min_params=50)) == [layer.self_attn, layer.linear1, layer.linear2]


def muon(params, lr):
    return Muon([{"params": [p], "is_matrix": p.ndim == 2} for p in params], lr=lr)


@pytest.mark.parametrize("make", [RMSProp, muon, torch.optim.AdamW, torch.optim.SGD])
def test_an_optimizer_is_saved_whole_and_cut_again(make, world):
    def after_steps(net, optimizer, steps):
        for _ in range(steps):
            net(torch.ones(2, 4)).square().sum().backward()
            norm = gradient_norm(net.parameters())
            clip_gradients(net.parameters(), norm, 0.1)
            optimizer.step()
            optimizer.zero_grad()
        return net

    torch.manual_seed(0)
    first = nn.Linear(4, 3)
    plain, cut, again = (copy.deepcopy(first) for _ in range(3))
    plain_optimizer, cut_optimizer, again_optimizer = (make(n.parameters(), lr=0.1) for n in (plain, cut, again))
    for net, optimizer in ((cut, cut_optimizer), (again, again_optimizer)):
        sharded.shard(net, optimizer, world=world)
    after_steps(plain, plain_optimizer, 3)
    after_steps(cut, cut_optimizer, 2)
    sharded.load_full_state_dict(again, sharded.full_state_dict(cut, world=world))
    sharded.load_optimizer(again_optimizer, sharded.full_optimizer_state_dict(cut_optimizer, world=world))
    after_steps(again, again_optimizer, 1)
    state = sharded.full_optimizer_state_dict(again_optimizer, world=world)
    for value in state["state"].values():
        assert not any(isinstance(v, DTensor) for v in value.values())
    torch.testing.assert_close(sharded.full_state_dict(again, world=world), dict(plain.state_dict()))
    torch.testing.assert_close(state["state"], plain_optimizer.state_dict()["state"])


def test_fp16_is_refused():
    with pytest.raises(ConfigError, match=r"fit\.precision: is fp16; fit\.parallel=fsdp does not support"):
        Fit(parallel="fsdp", precision="fp16")
