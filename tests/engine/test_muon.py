"""Muon against torch's own, AdamW for the rest, orthogonal updates, and which parameters go where."""

import pytest
import torch
from torch import nn

from tests.engine.toy import ToyModel, ToyTask
from videozoo.config.check import build
from videozoo.engine.muon import Muon, orthogonalized
from videozoo.engine.registry import optimizers
from videozoo.errors import ConfigError
from videozoo.models import create_model


@pytest.mark.parametrize("shape", [(3, 8), (8, 3), (5, 5), (1, 4)])
def test_singular_values_come_near_one(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 1e3
    result = orthogonalized(matrix)
    assert result.shape == shape
    values = torch.linalg.svdvals(result)
    assert values.min() > 0.6
    assert values.max() < 1.25
    # the directions are those of the matrix: it is turned onto its own polar factor
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    assert torch.nn.functional.cosine_similarity(result.flatten(), (u @ v).flatten(), dim=0) > 0.95
    assert orthogonalized(torch.zeros(shape)).eq(0).all()


def steps(p, optimizer, num_steps=4):
    generator = torch.Generator().manual_seed(1)
    for _ in range(num_steps):
        p.grad = torch.randn(p.shape, generator=generator)
        optimizer.step()
    return p.detach()


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch before 2.9 has no Muon to compare with")
@pytest.mark.parametrize("shape", [(6, 24), (24, 6)])
def test_a_matrix_moves_as_torchs_own(shape):
    ours, theirs = (nn.Parameter(torch.ones(shape)) for _ in range(2))
    moved = steps(ours, Muon([{"params": [ours]}], lr=0.1, weight_decay=0.3)) - 1
    reference = torch.optim.Muon([theirs], lr=0.1, weight_decay=0.3, adjust_lr_fn="match_rms_adamw")
    # torch's iterates in bfloat16, which has 3 digits
    torch.testing.assert_close(moved, steps(theirs, reference) - 1, rtol=0.05, atol=0.02)


def test_a_convolution_is_the_matrix_of_its_channels():
    kernel, matrix = nn.Parameter(torch.ones(4, 3, 2, 2)), nn.Parameter(torch.ones(4, 12))
    moved = [steps(p, Muon([{"params": [p]}], lr=0.1)).flatten() for p in (kernel, matrix)]
    torch.testing.assert_close(*moved)


def test_the_others_move_as_adamw_moves_them():
    ours, theirs = (nn.Parameter(torch.ones(5)) for _ in range(2))
    args = {"lr": 0.1, "betas": (0.8, 0.9), "eps": 1e-3, "weight_decay": 0.3}
    groups = [{"params": [ours], "is_matrix": False}]
    torch.testing.assert_close(steps(ours, Muon(groups, **args)), steps(theirs, torch.optim.AdamW([theirs], **args)))


def test_without_gradients_nothing_moves():
    params = [nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2))]
    optimizer = Muon([{"params": [p], "is_matrix": p.ndim == 2} for p in params], lr=0.1, weight_decay=0.5)
    params[1].grad = torch.ones(2)
    optimizer.step()
    assert params[0].eq(1).all()
    assert params[1].ne(1).all()


def matrices(task):
    args = {"lr": 0.1, "groups": [{"match": "bias", "lr_scale": 2}]}
    groups = build(optimizers.get("muon"), args, where="optim", task=task).param_groups
    names = {id(p): name for name, p in task.model.named_parameters()}
    assert {names[id(p)] for g in groups for p in g["params"]} == set(names.values())
    assert {g["base_lr"] for g in groups} == {0.1, 0.2}
    return {names[id(p)] for g in groups if g["is_matrix"] for p in g["params"]}


def test_weights_between_features_are_muons():
    assert matrices(ToyTask(ToyModel(), ("a", "b", "c"))) == {"conv.weight", "fc.weight"}
    args = {"backbone_args": {"depth": 1, "embed_dim": 8, "num_heads": 1}, "crop_px": 32, "attention": "joint"}
    model = create_model("timesformer", num_classes=3, **args)
    block = "backbone.blocks.0."
    assert matrices(ToyTask(model, ("a", "b", "c"))) == {
        "backbone.patch_embed.proj.weight",
        *(block + name for name in ("attn.qkv.weight", "attn.proj.weight", "mlp.fc1.weight", "mlp.fc2.weight")),
    }


@pytest.mark.parametrize(("args", "said"), [({"lr": -1.0}, "lr=-1.0"), ({"lr": 0.1, "momentum": 1.0}, "momentum=1.0")])
def test_values_out_of_range_are_refused(args, said):
    with pytest.raises(ConfigError, match=rf"^optim: a value does not fit \(.*{said}.* must be"):
        build(optimizers.get("muon"), args, where="optim", task=ToyTask(ToyModel(), ("a", "b", "c")))
