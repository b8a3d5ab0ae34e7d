"""Non-local networks: what the inflation of a 2-D ResNet keeps."""

from __future__ import annotations

import pytest
import timm
import torch
from torch.testing import assert_close

from videozoo.errors import ConfigError
from videozoo.models import create_model
from videozoo.models.nonlocal_net import Nonlocal


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
