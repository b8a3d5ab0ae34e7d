from __future__ import annotations

import re

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.testing import assert_close

from tests.models.test_tsn import NARROW, narrow
from videozoo.errors import ConfigError
from videozoo.layers.temporal_shift import temporal_shift
from videozoo.models import create_model


def test_the_residual_branch_is_shifted_and_the_shortcut_is_not():
    model = narrow("tsm", num_segments=4)
    block = model.backbone.layer1[0]
    nn.init.normal_(block.bn2.weight)  # zero at first, which would hide the branch
    x = torch.randn(8, 64, 6, 6)
    branch = block.act1(block.bn1(F.conv2d(temporal_shift(x, 4), block.conv1.weight, padding=1)))
    branch = block.bn2(block.conv2(branch))
    assert_close(block(x), (branch + block.downsample(x)).relu())


def test_tsn_and_tsm_load_each_other_and_agree_without_shift():
    tsn, tsm, still = narrow("tsn"), narrow("tsm"), narrow("tsm", shift_fraction=0.0)
    nn.init.normal_(tsn.backbone.layer1[0].bn2.weight)
    for model in (tsm, still):
        model.load_state_dict(tsn.state_dict())
    clips = torch.randn(1, 8, 3, 32, 32)
    assert_close(still(clips), tsn(clips))
    assert (tsm(clips) - tsn(clips)).abs().max() > 1e-4


@pytest.mark.parametrize(
    ("backbone", "args", "branches"),
    [
        ("resnet18", NARROW, 4),
        ("resnet50", {"layers": [1, 1, 1, 1]}, 4),
        ("resnet50d", {"layers": [1, 1, 1, 1]}, 4),
        ("resnext50_32x4d", {"layers": [1, 1, 1, 1]}, 4),
        ("regnetx_002", None, 13),
        ("mobilenetv2_050", None, 10),
        ("mobilenetv3_small_050", None, 7),
        ("efficientnet_b0", None, 9),
    ],
)
def test_families(backbone, args, branches):
    model = create_model("tsm", backbone=backbone, backbone_args=args, num_classes=2, num_segments=2).eval()
    assert sum(bool(module._forward_pre_hooks) for module in model.modules()) == branches
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.0)  # zero at the end of a branch, at first
    x = torch.randn(1, 2, 3, 32, 32)
    with torch.no_grad():
        assert not torch.equal(model.forward_frames(x), model.forward_frames(x.flip(1)).flip(1))


@pytest.mark.parametrize("backbone", ["vit_tiny_patch16_224", "convnext_atto"])
def test_a_backbone_without_residual_convolutions_is_refused(backbone):
    with pytest.raises(ConfigError, match=f"backbone: '{backbone}' has no residual convolution .*; tsm takes a ResNet"):
        create_model("tsm", backbone=backbone)


def test_a_clip_of_another_length_is_refused():
    with pytest.raises(ConfigError, match="tsm: the clip has 4 frames; the model was built for 8"):
        narrow("tsm")(torch.randn(1, 4, 3, 32, 32))


def test_more_than_all_channels_cannot_move():
    with pytest.raises(ConfigError, match=r"shift_fraction: got 0.6; needs 0 \(no shift\) to 0.5"):
        narrow("tsm", shift_fraction=0.6)


def test_rates_of_the_head():
    model = narrow("tsm")
    found = {}
    for name, _ in model.named_parameters():
        rule = next((rule for rule in model.param_rules if re.search(rule.match, name)), None)
        found[name] = (rule.lr_scale, rule.weight_decay) if rule else None
    assert found.pop("head.weight") == (5, None)
    assert found.pop("head.bias") == (10, 0.0)
    assert set(found.values()) == {None}


def test_every_second_block_is_shifted():
    model = create_model("tsm", backbone="resnet18", backbone_args=NARROW | {"layers": [1, 2, 3, 1]}, shift_every=2)
    hooked = {name for name, module in model.backbone.named_modules() if module._forward_pre_hooks}
    assert hooked == {"layer1.0.conv1", "layer2.0.conv1", "layer3.0.conv1", "layer3.2.conv1", "layer4.0.conv1"}
    with pytest.raises(ConfigError, match="shift_every: got 0; 1 shifts every block"):
        narrow("tsm", shift_every=0)


def test_dropout_scaling_at_inference():
    plain, scaled = narrow("tsm", dropout=0.25), narrow("tsm", dropout=0.25, dropout_scaling="inference")
    nn.init.zeros_(plain.head.bias)
    scaled.load_state_dict(plain.state_dict())
    clips = torch.randn(1, 8, 3, 32, 32)
    assert_close(scaled(clips), 0.75 * plain(clips))


def test_channels_last_goes_through_the_shift():
    model, clips = narrow("tsm"), torch.randn(1, 8, 3, 32, 32)
    scores = model(clips)
    seen = []
    model.to(memory_format=torch.channels_last)
    model.backbone.layer2[0].conv2.register_forward_pre_hook(
        lambda m, args: seen.append(args[0].is_contiguous(memory_format=torch.channels_last))
    )
    assert_close(model(clips), scores, atol=1e-5, rtol=1e-4)
    assert seen == [True]


def test_strided_shortcuts_are_those_of_paddlevideos_shallow_networks():
    args = {"backbone": "resnet18d", "backbone_args": {"layers": [1, 1, 1, 1]}, "num_classes": 7, "num_segments": 2}
    model = create_model("pptsm", **args, shortcuts="strided")
    strides = [
        [layer.stride[0] for layer in stage[0].downsample if hasattr(layer, "stride")] for stage in _stages(model)
    ]
    assert strides == [[1], [2], [2], [2]]  # a convolution each, and no pooling before it
    assert create_model("pptsm", **args).backbone.layer1[0].downsample is None
    assert model(torch.randn(1, 2, 3, 32, 32)).shape == (1, 7)
    with pytest.raises(ConfigError, match="backbone: 'mobilenetv2_050' is not a ResNet; its first shortcut"):
        create_model("pptsm", backbone="mobilenetv2_050", shortcuts="strided")


def _stages(model):
    return [model.backbone.get_submodule(f"layer{i}") for i in (1, 2, 3, 4)]
