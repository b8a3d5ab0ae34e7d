from __future__ import annotations

import socket

import pytest
import timm
import torch
from huggingface_hub import constants
from safetensors import safe_open
from safetensors.torch import save_file
from torch.testing import assert_close

from videozoo.errors import ConfigError, WeightsError
from videozoo.models import create_model

NARROW = {"layers": [1, 1, 1, 1], "channels": [8, 16, 24, 32]}


def narrow(name="tsn", **args):
    return create_model(name, backbone="resnet18", backbone_args=NARROW, num_classes=7, crop_px=32, **args).eval()


def test_consensus_is_the_average_of_the_frames_scores():
    model, clips = narrow(), torch.randn(2, 5, 3, 32, 32)
    alone = torch.stack([model(clips[:, t : t + 1]) for t in range(5)], 1)
    assert_close(model(clips), alone.mean(1))


@pytest.mark.parametrize("backbone", ["vit_tiny_patch16_224", "mobilenetv3_small_050", "convnext_atto"])
def test_any_timm_backbone(backbone):
    model = create_model("tsn", backbone=backbone, num_classes=3, crop_px=224)
    with torch.no_grad():
        assert model.forward_features(torch.randn(1, 2, 3, 224, 224)).shape == (1, model.num_features)
        assert model(torch.randn(1, 1, 3, 224, 224)).shape == (1, 3)


@pytest.mark.parametrize(
    ("backbone", "args", "pools_maps"),
    [
        ("resnet18", {**NARROW, "zero_init_last": False}, True),
        ("swin_tiny_patch4_window7_224", {"depths": (1, 1), "num_heads": (1, 2), "embed_dim": 12}, True),
        ("vit_tiny_patch16_224", {"depth": 2, "global_pool": "avg", "fc_norm": False, "dynamic_img_size": True}, True),
        ("deit_tiny_distilled_patch16_224", {"depth": 1, "dynamic_img_size": True}, False),  # it has two class tokens
    ],
)
def test_maps_of_any_backbone_with_a_grid(backbone, args, pools_maps):
    torch.manual_seed(0)
    model = create_model("tsn", backbone=backbone, backbone_args=args, num_classes=3, crop_px=64).eval()
    clip = torch.randn(1, 2, 3, 64, 96) if "swin" not in backbone else torch.randn(1, 2, 3, 224, 224)
    other = clip.clone()
    other[:, :, :, -32:, -32:] = torch.randn(1, 2, 3, 32, 32)
    with torch.no_grad():
        maps = model.forward_maps(clip)
        change = (model.forward_maps(other) - maps).abs().mean((0, 1, 2))
        assert maps.shape[:3] == (1, model.num_features, 2)
        assert maps.shape[3] * clip.shape[4] == maps.shape[4] * clip.shape[3]
        assert change[-1, -1] > 2 * change[0, 0]
        if pools_maps:
            assert_close(maps.mean((2, 3, 4)), model.forward_features(clip), atol=1e-5, rtol=1e-4)


def test_a_backbone_of_several_grids_has_no_maps():
    args = {"embed_dims": (16, 16, 16, 16), "serial_depths": (1, 1, 1, 1), "parallel_depth": 1}
    model = create_model("tsn", backbone="coat_tiny", backbone_args=args, num_classes=3, crop_px=224)
    with pytest.raises(ConfigError, match=r"^backbone: CoaT has no feature maps on one grid; take e\.g\. resnet50$"):
        model.forward_maps(torch.randn(1, 1, 3, 224, 224))


def test_a_misspelt_backbone_is_guessed():
    with pytest.raises(ConfigError, match="timm has no model 'resnt50'; did you mean resnet50"):
        create_model("tsn", backbone="resnt50")


def test_a_wrong_backbone_argument_is_named():
    with pytest.raises(ConfigError, match=r"backbone_args: .*'chanels'; see the arguments of timm's 'resnet18'"):
        create_model("tsn", backbone="resnet18", backbone_args={"chanels": [8]})


def test_pretrained_without_network_says_what_to_do(monkeypatch):
    def offline(*args, **kwargs):
        raise OSError("no route to host\nand a long story")

    monkeypatch.setattr(timm.models, "load_pretrained", offline)
    with pytest.raises(WeightsError, match=r"'resnet18': no ImageNet weights \(OSError: no route to host\); connect"):
        create_model("tsn", backbone="resnet18", pretrained="imagenet")


def test_without_a_network_only_the_cache_is_asked(monkeypatch, tmp_path):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    message = r"'resnet18': no ImageNet .*127\.0\.0\.1:9 cannot be reached\); .* add model\.pretrained=null$"
    with pytest.raises(WeightsError, match=message):
        create_model("tsn", backbone="resnet18", pretrained="imagenet")
    assert not constants.HF_HUB_OFFLINE


def test_a_server_that_answers_is_asked(monkeypatch):
    seen = []
    monkeypatch.setattr(timm.models, "load_pretrained", lambda *args, **kwargs: seen.append(constants.HF_HUB_OFFLINE))
    monkeypatch.delenv("HTTP_PROXY", raising=False)
    monkeypatch.delenv("http_proxy", raising=False)
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        create_model("tsn", backbone="resnet18", pretrained="imagenet")
    create_model("tsn", backbone="resnet18", pretrained="imagenet")  # it is gone
    assert seen == [False, True]


def test_only_imagenet_is_a_pretrained_start():
    with pytest.raises(ConfigError, match="pretrained: input should be 'imagenet'; got 'coco'"):
        create_model("tsn", pretrained="coco")


@pytest.mark.usefixtures("unchecked_shapes")
def test_an_image_is_not_a_clip():
    with pytest.raises(ConfigError, match=r"tsn: the input has shape \(2, 3, 32, 32\); needs clips \[b t c h w\]"):
        narrow()(torch.randn(2, 3, 32, 32))


def test_a_first_projection():
    args = {"backbone": "resnet18d", "backbone_args": {"layers": [1, 1, 1, 1]}, "num_classes": 7}
    model = create_model("pptsn", first_projection=True, **args)
    assert model.backbone.layer1[0].downsample[1].weight.shape == (64, 64, 1, 1)
    assert model(torch.randn(1, 2, 3, 32, 32)).shape == (1, 7)
    assert create_model("pptsn", **args).backbone.layer1[0].downsample is None
    with pytest.raises(ConfigError, match="backbone: 'mobilenetv3_small_050' is not a ResNet; its first shortcut"):
        create_model("pptsn", backbone="mobilenetv3_small_050", first_projection=True)


def test_pretrained_positions_are_brought_to_the_models_size(tmp_path):
    size = {"depth": 1, "embed_dim": 24, "num_heads": 2, "img_size": 32}
    torch.manual_seed(0)
    file = tmp_path / "weights.safetensors"
    save_file(timm.create_model("vit_tiny_patch16_224", **size).state_dict(), file)
    args = {**size, "img_size": 64, "pretrained_cfg_overlay": {"file": str(file)}}
    model = create_model("tsn", backbone="vit_tiny_patch16_224", pretrained="imagenet", backbone_args=args, crop_px=64)
    assert model.backbone.pos_embed.shape == (1, 17, 24)
    with safe_open(file, "pt") as saved:
        assert_close(model.backbone.cls_token, saved.get_tensor("cls_token"))
