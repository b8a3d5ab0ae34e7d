"""Key maps of other PyTorch projects: true names from their sources, and round trips at tiny size."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
import torchvision
from torch import nn
from torch.testing import assert_close

from tests.models.test_tsn import narrow
from videozoo.errors import WeightsError
from videozoo.models import create_model
from videozoo.weights import convert
from videozoo.weights.conventions import fitting_model
from videozoo.weights.importer import key_map

VIT = {"backbone_args": {"depth": 2, "embed_dim": 24, "num_heads": 2}, "crop_px": 32, "num_frames": 2, "num_classes": 3}
TINY = {
    "tsn": {"backbone": "resnet18", "num_classes": 3},
    "tsm": {"backbone": "resnet18", "num_classes": 3},
    "slowfast": {"width": 8, "num_classes": 3, "crop_px": 32, "num_frames": 8},
    "nonlocal": {"width": 8, "num_classes": 3, "crop_px": 64, "num_frames": 4},
    "timesformer": VIT,
    "videoswin": {"width": 6, "depths": (1, 1, 1, 1), "num_heads": (1, 1, 1, 1), "window": (2, 3, 3), "num_classes": 3},
}

RESNET_MM = """
backbone.conv1.conv.weight backbone.conv1.bn.weight backbone.conv1.bn.running_mean backbone.layer1.0.conv1.bn.bias
backbone.layer1.0.conv2.conv.weight backbone.layer1.0.conv2.bn.running_var backbone.layer2.0.downsample.conv.weight
backbone.layer2.0.downsample.bn.weight cls_head.fc_cls.weight cls_head.fc_cls.bias"""
RESNET_MIT = """
base_model.conv1.weight base_model.bn1.weight base_model.bn1.running_mean base_model.layer1.0.bn1.bias
base_model.layer1.0.conv2.weight base_model.layer1.1.bn2.running_var base_model.layer2.0.downsample.0.weight
base_model.layer2.0.downsample.1.weight new_fc.weight new_fc.bias"""

# spelled out by hand from the projects' module definitions
TRUE_NAMES = {
    ("mmaction2", "tsn"): RESNET_MM + " backbone.layer1.0.conv1.conv.weight",
    ("mmaction2", "tsm"): RESNET_MM
    + " backbone.layer1.0.conv1.conv.net.weight backbone.layer4.1.conv1.conv.net.weight",
    ("mit_tsm", "tsn"): RESNET_MIT + " base_model.layer1.0.conv1.weight",
    ("mit_tsm", "tsm"): RESNET_MIT + " base_model.layer1.0.conv1.net.weight base_model.layer4.1.conv1.net.weight",
    ("mmaction2", "slowfast"): """
        backbone.slow_path.conv1.conv.weight backbone.slow_path.conv1.bn.weight backbone.fast_path.conv1.conv.weight
        backbone.slow_path.conv1_lateral.conv.weight backbone.slow_path.conv1_lateral.bn.running_mean
        backbone.slow_path.layer1_lateral.conv.weight backbone.slow_path.layer3_lateral.conv.weight
        backbone.slow_path.layer1.0.conv1.conv.weight backbone.slow_path.layer1.0.conv3.bn.bias
        backbone.slow_path.layer1.0.downsample.conv.weight backbone.fast_path.layer4.2.conv2.conv.weight
        backbone.fast_path.layer2.0.downsample.bn.running_var cls_head.fc_cls.weight cls_head.fc_cls.bias""",
    ("mmaction2", "timesformer"): """
        backbone.cls_token backbone.pos_embed backbone.time_embed backbone.patch_embed.projection.weight
        backbone.transformer_layers.layers.0.attentions.0.norm.weight
        backbone.transformer_layers.layers.0.attentions.0.attn.in_proj_weight
        backbone.transformer_layers.layers.0.attentions.0.attn.in_proj_bias
        backbone.transformer_layers.layers.0.attentions.0.attn.out_proj.weight
        backbone.transformer_layers.layers.0.attentions.0.temporal_fc.bias
        backbone.transformer_layers.layers.1.attentions.1.norm.bias
        backbone.transformer_layers.layers.1.attentions.1.attn.in_proj_weight
        backbone.transformer_layers.layers.1.attentions.1.attn.out_proj.bias
        backbone.transformer_layers.layers.1.ffns.0.norm.weight
        backbone.transformer_layers.layers.1.ffns.0.layers.0.0.weight
        backbone.transformer_layers.layers.1.ffns.0.layers.1.bias
        backbone.norm.weight cls_head.fc_cls.weight""",
    ("mmaction2", "videoswin"): """
        backbone.patch_embed.proj.weight backbone.patch_embed.norm.bias backbone.layers.0.blocks.0.norm1.weight
        backbone.layers.0.blocks.0.attn.relative_position_bias_table backbone.layers.0.blocks.0.attn.qkv.weight
        backbone.layers.0.blocks.0.attn.proj.bias backbone.layers.3.blocks.0.mlp.fc1.weight
        backbone.layers.0.downsample.reduction.weight backbone.layers.2.downsample.norm.bias backbone.norm3.weight
        cls_head.fc_cls.weight""",
    ("pyslowfast", "slowfast"): """
        s1.pathway0_stem.conv.weight s1.pathway1_stem.bn.running_mean s1_fuse.conv_f2s.weight s1_fuse.bn.weight
        s4_fuse.conv_f2s.weight s2.pathway0_res0.branch1.weight s2.pathway0_res0.branch1_bn.bias
        s2.pathway1_res2.branch2.a.weight s4.pathway0_res5.branch2.b_bn.running_var s5.pathway1_res2.branch2.c.weight
        s5.pathway0_res0.branch2.c_bn.weight head.projection.weight head.projection.bias""",
    ("pyslowfast", "nonlocal"): """
        s1.pathway0_stem.conv.weight s1.pathway0_stem.bn.bias s2.pathway0_res0.branch1.weight
        s2.pathway0_res2.branch2.a_bn.weight s3.pathway0_nonlocal1.conv_theta.weight
        s3.pathway0_nonlocal3.conv_phi.bias s4.pathway0_nonlocal5.conv_g.weight s4.pathway0_nonlocal1.conv_out.weight
        s4.pathway0_nonlocal3.norm.running_mean s5.pathway0_res1.branch2.b.weight head.projection.weight""",
    ("timesformer", "timesformer"): """
        model.cls_token model.pos_embed model.time_embed model.patch_embed.proj.weight model.blocks.0.norm1.weight
        model.blocks.0.attn.qkv.bias model.blocks.1.attn.proj.weight model.blocks.1.temporal_norm1.bias
        model.blocks.1.temporal_attn.qkv.weight model.blocks.1.temporal_attn.proj.bias model.blocks.0.temporal_fc.weight
        model.blocks.1.norm2.weight model.blocks.1.mlp.fc1.weight model.blocks.1.mlp.fc2.bias model.norm.weight
        model.head.weight model.head.bias""",
}


def shuffled(name, source):
    model = fitting_model(name, TINY[name], source=source)[0].eval()
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand_like(tensor))
    return model


def foreign(model, source):
    """The model's state by their names; builders without a writer undo themselves."""
    names = key_map(model, source=source)
    state = {}
    for name, value in model.state_dict().items():
        theirs = names.theirs(name)
        array = value.numpy().copy()
        if any(re.search(pattern, name) for pattern in names.writers):
            state[theirs] = names.write(name, model, array)
        else:
            state[theirs] = names.read(name, model, {theirs: array}) if value.ndim else array
    return state


@pytest.mark.parametrize(("source", "name"), TRUE_NAMES)
def test_true_names_and_a_round_trip(source, name):
    model, other = shuffled(name, source), shuffled(name, source)
    state = foreign(other, source)
    wanted = set(TRUE_NAMES[source, name].split())
    assert wanted <= set(state), wanted - set(state)
    wrapped = {f"module.{key}": torch.from_numpy(np.array(value)) for key, value in state.items()}
    convert(model, wrapped, source=source)
    for key, value in other.state_dict().items():
        if not key.endswith("num_batches_tracked"):
            assert torch.equal(model.state_dict()[key], value), key


@pytest.mark.parametrize("source", ["mit_tsm", "mmaction2", "pyslowfast", "timesformer"])
def test_leftovers_and_gaps_are_listed(source):
    name = {"pyslowfast": "nonlocal", "timesformer": "timesformer"}.get(source, "tsn")
    model = shuffled(name, source)
    state = foreign(model, source)
    head = key_map(model, source=source).theirs("head.bias")
    state["aux_head.weight"] = state.pop(head)
    with pytest.raises(WeightsError, match=rf"1 missing: {head} \(our head.bias\); 1 unmatched: aux_head.weight;"):
        convert(model, state, source=source)


def test_older_names_of_the_same_tensors():
    model = shuffled("nonlocal", "pyslowfast")
    state = {k.replace("1.norm.", "1.bn."): v for k, v in foreign(model, "pyslowfast").items()}
    assert "s3.pathway0_nonlocal1.bn.weight" in state
    convert(model, state, source="pyslowfast")
    model = shuffled("videoswin", "mmaction2")
    state = {k.replace("backbone.norm3", "backbone.norm"): v for k, v in foreign(model, "mmaction2").items()}
    state["backbone.layers.0.blocks.0.attn.relative_position_index"] = np.zeros((18, 18), np.int64)
    convert(model, state, source="mmaction2")
    model = shuffled("tsn", "mit_tsm")
    state = {k.replace("new_fc.", "base_model.fc."): v for k, v in foreign(model, "mit_tsm").items()}
    convert(model, state, source="mit_tsm")


def test_bare_laterals_are_another_network():
    model = shuffled("slowfast", "mmaction2")
    state = {k: v for k, v in foreign(model, "mmaction2").items() if "_lateral.bn" not in k}
    with pytest.raises(WeightsError, match=r"16 missing: backbone.slow_path.conv1_lateral.bn.weight"):
        convert(model, state, source="mmaction2")
    bare, _ = fitting_model("slowfast", {**TINY["slowfast"], "lateral_norm": False}, source="mmaction2")
    convert(bare, state, source="mmaction2")
    assert bare.eval().forward_features(torch.randn(1, 8, 3, 32, 32)).shape == (1, bare.num_features)


def test_the_classifier_of_mmactions_slowfast_sees_the_fast_path_first():
    model = shuffled("slowfast", "mmaction2")
    state = foreign(model, "mmaction2")
    num_slow, num_fast = 4 * 8 * 8, 4 * 8  # width 8, beta 8
    columns = np.arange(num_slow + num_fast, dtype=np.float32)
    state["cls_head.fc_cls.weight"] = np.tile(columns, (3, 1))
    convert(model, state, source="mmaction2")
    assert model.head.weight[0].tolist() == [*columns[num_fast:], *columns[:num_fast]]


class NextFrameFirst(nn.Module):
    """The shift as TSM's authors coded it: the first eighth from the next frame, the second from the one before."""

    def __init__(self, net, num_frames):
        super().__init__()
        self.net, self.num_frames = net, num_frames

    def forward(self, x):
        clip = x.unflatten(0, (-1, self.num_frames))
        made, fold = clip.clone(), x.shape[1] // 8
        made[:, :, : 2 * fold] = 0
        for t in range(self.num_frames):
            if t + 1 < self.num_frames:
                made[:, t, :fold] = clip[:, t + 1, :fold]
            if t:
                made[:, t, fold : 2 * fold] = clip[:, t - 1, fold : 2 * fold]
        return self.net(made.flatten(0, 1))


@pytest.mark.parametrize(
    ("source", "backbone"),
    [("mit_tsm", "resnet18"), ("mit_tsm", "resnet50"), ("mit_tsm", "resnet101"), ("mmaction2", "resnet18")],
)
def test_the_shift_of_others_goes_the_other_way_round_and_scores_agree(source, backbone):
    torch.manual_seed(0)
    net = torchvision.models.get_model(backbone, weights=None)
    net.fc = nn.Linear(net.fc.in_features, 5)
    every = 2 if backbone == "resnet101" else 1
    for stage in (net.layer1, net.layer2, net.layer3, net.layer4):
        for block in stage[::every]:
            block.conv1 = NextFrameFirst(block.conv1, 4)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.5)
            nn.init.normal_(module.running_mean, std=0.1)
    sizes = {"num_segments": 4, "num_classes": 5, "crop_px": 64}
    model = create_model("tsm", backbone=backbone, shift_every=every, **sizes).eval()
    if source == "mit_tsm":
        state = {f"module.base_model.{k}".replace("base_model.fc", "new_fc"): v for k, v in net.state_dict().items()}
    else:
        renames = [
            ("conv1.net", "conv1.conv.net"),
            ("downsample.0", "downsample.conv"),
            ("downsample.1", "downsample.bn"),
        ]
        state = {}
        for key, value in net.state_dict().items():
            for old, new in renames:
                key = key.replace(old, new)
            if "downsample" not in key:
                key = key.replace("conv2.", "conv2.conv.").replace("bn1.", "conv1.bn.").replace("bn2.", "conv2.bn.")
            key = f"backbone.{key}".replace("backbone.conv1.weight", "backbone.conv1.conv.weight")
            state[key.replace("backbone.fc", "cls_head.fc_cls")] = value
    convert(model, state, source=source)
    clip = torch.randn(2, 4, 3, 64, 64)
    with torch.no_grad():
        expected = net.eval()(clip.flatten(0, 1)).unflatten(0, (2, 4)).mean(1)
        found = model(clip)
        unswapped = convert(create_model("tsn", backbone=backbone, num_classes=5), _as_tsn(net), source="mit_tsm")
        assert not torch.allclose(unswapped.eval()(clip), expected, rtol=1e-3)  # the shift matters
    assert_close(found, expected, rtol=3e-4, atol=1e-4)  # scores of hundreds, after a hundred layers in float32


def _as_tsn(net):
    named = ((key.replace(".net.", "."), value) for key, value in net.state_dict().items())
    return {f"base_model.{key}".replace("base_model.fc", "new_fc"): value for key, value in named}


@pytest.mark.parametrize(("backbone", "every", "wanted"), [("resnet101", 1, 2), ("resnet50", 2, 1)])
def test_weights_of_other_shifts_are_refused(backbone, every, wanted):
    with torch.device("meta"):
        model = create_model("tsm", backbone=backbone, shift_every=every)
    for source in ("mit_tsm", "mmaction2"):
        with pytest.raises(WeightsError, match=f"every second one; this model .*build it with shift_every={wanted}"):
            key_map(model, source=source)


def test_two_names_for_one_tensor():
    model = narrow("tsn")
    with pytest.raises(WeightsError, match=r"new_fc\.weight: there are two tensors of that name"):
        convert(model, {"new_fc.weight": np.ones(2), "module.new_fc.weight": np.zeros(2)}, source="mit_tsm")
