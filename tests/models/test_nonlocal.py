"""Non-local networks: what the inflation of a 2-D ResNet keeps."""

from __future__ import annotations

import pytest
import timm
import torch
from torch.testing import assert_close

from videozoo.errors import ConfigError
from videozoo.models import create_model
from videozoo.models.nonlocal_net import Nonlocal, NonlocalBlock


@pytest.mark.parametrize("arch", ["c2d", "i3d"])
def test_an_inflated_stage_sees_a_still_clip_as_an_image(arch, monkeypatch):
    torch.manual_seed(0)
    resnet = timm.create_model("resnet50", num_classes=0).eval()
    for module in resnet.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.running_mean, std=0.1)
    monkeypatch.setattr("videozoo.models.nonlocal_net.image_backbone", lambda name, pretrained: resnet)
    model = create_model("nonlocal", arch=arch, pretrained="imagenet").eval()
    image = torch.randn(1, 64, 6, 6)
    with torch.no_grad():
        clip = image.unsqueeze(2).expand(-1, -1, 7, -1, -1)
        assert_close(model.stages[0](clip)[:, :, 3], resnet.layer1(image), atol=1e-4, rtol=1e-3)
        stem = model.stem[0](torch.ones(1, 3, 5, 9, 9))[:, :, 2]
        assert_close(stem, resnet.bn1(resnet.conv1(torch.ones(1, 3, 9, 9))), atol=1e-4, rtol=1e-3)


def test_attention_of_the_long_network_follows_one_block_in_seven():
    with torch.device("meta"):
        model = create_model("nonlocal", depth=101)
    assert isinstance(model, Nonlocal)
    assert [list(stage.attention) for stage in model.stages] == [[], ["1", "3"], ["6", "13", "20"], []]


def test_sizes_that_no_image_network_has():
    with pytest.raises(ConfigError, match="no ImageNet weights of depth=26 and width=64; take depth 50, 101 or"):
        create_model("nonlocal", depth=26, pretrained="imagenet")


def test_attention_where_it_is_asked_for():
    with torch.device("meta"):
        model = create_model("nonlocal", depth=101, attention_blocks=((1,), (5, 3)))
        assert [list(stage.attention) for stage in model.stages] == [[], ["1"], ["3", "5"], []]
        model = create_model("nonlocal", attention=False)
        assert not any(stage.attention for stage in model.stages)
        with pytest.raises(ConfigError, match=r"attention_blocks has \[6\]; that stage has the blocks 0 to 5"):
            create_model("nonlocal", attention_blocks=((), (6,)))


@pytest.mark.parametrize(
    "args", [{}, {"scale": False}, {"pool": False}, {"bias": False}, {"norm": False}], ids=lambda args: str(*args)
)
def test_attention_in_other_forms(args):
    torch.manual_seed(0)
    block, x = NonlocalBlock(8, init_std=0.5, **args).eval(), torch.randn(2, 8, 2, 4, 6)
    assert torch.equal(block(x), x), "a fresh block changes nothing"
    last = block.norm if args.get("norm", True) else block.out
    torch.nn.init.normal_(last.weight)
    keys = torch.nn.functional.max_pool3d(x, (1, 2, 2)) if args.get("pool", True) else x
    scores = block.theta(x).flatten(2).mT @ block.phi(keys).flatten(2)
    attended = block.g(keys).flatten(2) @ (scores / (2 if args.get("scale", True) else 1)).softmax(-1).mT
    assert_close(block(x), x + block.norm(block.out(attended.unflatten(2, (2, 4, 6)))))
    assert (block.out.bias is None) is (not args.get("bias", True))


@pytest.mark.parametrize("time_pool", [True, False])
def test_odd_clips_where_time_is_not_halved(time_pool):
    model = create_model("nonlocal", depth=26, width=8, num_classes=3, crop_px=32, time_pool=time_pool).eval()
    clip = torch.randn(1, 5, 3, 32, 32)
    if not time_pool:
        assert model(clip).shape == (1, 3)
        return
    with pytest.raises(ConfigError, match="the clip has 5 frames; the model halves time, give"):
        model(clip)
