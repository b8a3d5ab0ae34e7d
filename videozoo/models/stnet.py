"""StNet: a 2-D network on stacks of consecutive frames, with temporal convolutions between its stages.

Paper: He et al., arXiv:1811.01549.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from timm.models.resnet import ResNet
from torch import Tensor, nn

from videozoo.errors import ConfigError
from videozoo.layers.inflate import inflate
from videozoo.models.image_backbone import Pretrained, image_backbone
from videozoo.models.model import LinearClassifier
from videozoo.models.registry import register_model
from videozoo.shapes import Float

__all__ = ["Stnet"]


class TemporalBlock(nn.Module):
    """A residual branch: convolution over three segments, rectifier, normalisation, in this order (section 3.2)."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv3d(channels, channels, (3, 1, 1), padding=(1, 0, 0))
        self.norm = nn.BatchNorm3d(channels)
        nn.init.kaiming_normal_(self.conv.weight, nonlinearity="relu")
        nn.init.zeros_(self.conv.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, num_segments: int) -> Tensor:
        """Maps [b*s c h w], with `num_segments` segments per clip, to the same shape."""
        clips = x.unflatten(0, (-1, num_segments)).transpose(1, 2)
        return x + self.norm(F.relu(self.conv(clips))).transpose(1, 2).flatten(0, 1)


class TemporalXception(nn.Module):
    """Two separable convolutions over segments plus a linear shortcut, then the maximum over time (section 3.3).

    Input: features [b, in_channels, s, 1]. Output: [b, channels].
    """

    def __init__(self, in_channels: int, channels: int):
        super().__init__()
        self.norm = nn.BatchNorm2d(in_channels)
        self.depthwise1 = nn.Conv2d(in_channels, in_channels, (3, 1), padding=(1, 0), groups=in_channels)
        self.pointwise1 = nn.Conv2d(in_channels, channels, 1)
        self.norm1 = nn.BatchNorm2d(channels)
        self.depthwise2 = nn.Conv2d(channels, channels, (3, 1), padding=(1, 0), groups=channels)
        self.pointwise2 = nn.Conv2d(channels, channels, 1)
        self.shortcut = nn.Conv2d(in_channels, channels, 1)
        self.norm2 = nn.BatchNorm2d(channels)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x)
        branch = F.relu(self.norm1(self.pointwise1(self.depthwise1(x))))
        branch = self.pointwise2(self.depthwise2(branch))
        return F.relu(self.norm2(branch + self.shortcut(x))).amax((2, 3))


@register_model
class Stnet(LinearClassifier):
    """A timm ResNet on stacks of `segment_frames` frames, with temporal blocks after its second and third stage.

    A stack, the paper's "super-image", concatenates the frames of one segment along the channels (section 3.1). The
    network accepts any number of segments, e.g. 7 for training and 25 for testing.

    Input:  clips [b, s * segment_frames, 3, h, w], segment after segment, normalised with the backbone's mean and
            deviation.
    Output: scores [b, num_classes], or features [b, num_features] when `num_classes` is 0.
    Maps:   [b, c, s, h, w] of the backbone; the temporal Xception block computes the features from their means.

    Args:
        num_segments: segments of a training clip.
        segment_frames: consecutive frames per segment; must equal `segment_frames` of the input spec.
        backbone: a timm ResNet.
        pretrained: "imagenet" starts from timm's weights; each input channel of the first convolution gets their mean
            over the colours, divided by `segment_frames`. None starts from random weights.
        backbone_args: arguments for timm's constructor, to change the backbone's size.
        head_width: width of the features, the output of the temporal Xception block.
        crop_px: height and width of a frame in `input_shape`; the network accepts any size.

    Raises:
        ConfigError: the backbone is not a ResNet or rejects `backbone_args`, or a clip has an incomplete segment.
        WeightsError: the ImageNet weights cannot be fetched.
    """

    head_std = None

    def __init__(
        self,
        *,
        num_classes: int = 400,
        num_segments: int = 7,
        segment_frames: int = 5,
        backbone: str = "resnet50",
        pretrained: Pretrained = None,
        backbone_args: dict[str, Any] | None = None,
        head_width: int = 1024,
        crop_px: int = 224,
    ):
        super().__init__()
        found = image_backbone(backbone, pretrained=pretrained, args=backbone_args)
        if not isinstance(found, ResNet) or not isinstance(found.conv1, nn.Conv2d):
            raise ConfigError(f"backbone: '{backbone}' is not a ResNet with a single stem convolution; take resnet50")
        resnet: Any = found
        resnet.conv1 = _stacked_stem(resnet.conv1, segment_frames, is_trained=pretrained is not None)
        self.segment_frames = segment_frames
        self.input_shape = (num_segments * segment_frames, 3, crop_px, crop_px)
        self.backbone = resnet
        self.temporal = nn.ModuleList(TemporalBlock(resnet.feature_info[stage]["num_chs"]) for stage in (2, 3))
        self.xception = TemporalXception(resnet.num_features, head_width)
        self.num_features = head_width
        self.reset_classifier(num_classes)

    def forward_features(self, x: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b d"]:
        maps = self.forward_maps(x)
        segments = self.backbone.global_pool(maps.transpose(1, 2).flatten(0, 1)).unflatten(0, (-1, maps.shape[2]))
        return self.xception(segments.transpose(1, 2).unsqueeze(-1))

    def forward_maps(self, x: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b _ _ _ _"]:
        if x.ndim != 5 or x.shape[1] % self.segment_frames:
            raise ConfigError(
                f"{self.name}: the input has shape {tuple(x.shape)}; needs clips [b t c h w] in whole segments of "
                f"{self.segment_frames} frames"
            )
        num_segments = x.shape[1] // self.segment_frames
        net = self.backbone
        x = x.unflatten(1, (num_segments, self.segment_frames)).flatten(0, 1).flatten(1, 2)
        x = net.maxpool(net.act1(net.bn1(net.conv1(x))))
        x = self.temporal[0](net.layer2(net.layer1(x)), num_segments)
        x = self.temporal[1](net.layer3(x), num_segments)
        return net.layer4(x).unflatten(0, (-1, num_segments)).transpose(1, 2)


def _stacked_stem(conv: nn.Conv2d, frames: int, *, is_trained: bool) -> nn.Conv2d:
    """Returns a stem convolution for stacks of `frames` frames; if `conv` `is_trained`, its weights are inflated."""
    kernel, stride, padding = conv.kernel_size, conv.stride, conv.padding
    stem = nn.Conv2d(3 * frames, conv.out_channels, kernel, stride, padding, bias=False)  # type: ignore[arg-type]
    nn.init.kaiming_normal_(stem.weight, mode="fan_out", nonlinearity="relu")
    if is_trained:
        gray = conv.weight.detach().mean(1, keepdim=True).expand_as(conv.weight)
        with torch.no_grad():
            stem.weight.copy_(inflate(gray, frames).transpose(1, 2).flatten(1, 2))
    return stem
