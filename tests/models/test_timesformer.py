"""TimeSformer's three schemes of attention."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from videozoo.errors import ConfigError
from videozoo.models import create_model
from videozoo.weights.importer import key_map

SMALL = {"backbone_args": {"patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 2}, "crop_px": 16}


def small(attention, **args):
    torch.manual_seed(0)
    model = create_model("timesformer", attention=attention, num_frames=3, num_classes=4, **SMALL, **args).eval()
    for name, parameter in model.named_parameters():
        if not parameter.any() or name.endswith("qkv.weight"):
            nn.init.normal_(parameter, std=0.5)
    return model


@pytest.mark.parametrize("attention", ["divided", "joint", "space"])
def test_every_parameter_learns_and_the_order_of_frames_matters_where_time_is_seen(attention):
    model = small(attention)
    clip = torch.randn(1, 3, 3, 16, 16)
    scores = model(clip)
    (scores * torch.randn_like(scores)).sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []
    assert torch.allclose(scores, model(clip.flip(1)), atol=1e-5) == (attention == "space")


def test_attention_over_space_is_the_image_network_on_each_frame():
    model = small("space")
    clip = torch.randn(2, 3, 3, 16, 16)
    with torch.no_grad():
        before_norm = []
        model.backbone.norm.register_forward_pre_hook(lambda module, args: before_norm.append(args[0]))
        model.forward_features(clip)
        for frame in clip.unbind(1):
            model.backbone.forward_features(frame)
        assert_close(before_norm[0], torch.stack([x[:, 0] for x in before_norm[1:]]).mean(0), atol=1e-5, rtol=1e-4)


def test_joint_attention_of_one_frame_is_the_image_network():
    torch.manual_seed(0)
    model = create_model("timesformer", attention="joint", num_frames=1, num_classes=0, **SMALL).eval()
    image = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        assert_close(model(image.unsqueeze(1)), model.backbone.forward_features(image)[:, 0], atol=1e-5, rtol=1e-4)


def test_names_of_undivided_attention_elsewhere():
    names = key_map(small("joint"), source="mmaction2")
    layer = "backbone.transformer_layers.layers.1"
    assert names.theirs("backbone.blocks.1.norm1.weight") == f"{layer}.norms.0.weight"
    assert names.theirs("backbone.blocks.1.attn.qkv.bias") == f"{layer}.attentions.0.attn.in_proj_bias"
    assert names.theirs("backbone.blocks.1.norm2.weight") == f"{layer}.norms.1.weight"


@pytest.mark.parametrize("name", ["timesformer", "pptimesformer", "tokenshift"])
def test_where_and_when_as_wide_as_told(name):
    model = create_model(name, num_classes=4, num_frames=64, position_std=0.5, **SMALL)
    published = create_model(name, num_classes=4, num_frames=64, **SMALL)
    assert 0.4 < model.backbone.pos_embed.std() < 0.6 and published.backbone.pos_embed.std() < 0.1
    if name != "tokenshift":
        assert 0.4 < model.time_embed.std() < 0.6 and not published.time_embed.any()
        apart = create_model(name, num_classes=4, num_frames=64, position_std=0.5, time_std=2.0, **SMALL)
        assert 1.6 < apart.time_embed.std() < 2.4 and apart.backbone.pos_embed.std() < 0.6
    with pytest.raises(ConfigError, match=r"position_std: is 0\.5, but 'imagenet' weights include learned positions"):
        create_model(name, pretrained="imagenet", position_std=0.5, **SMALL)
