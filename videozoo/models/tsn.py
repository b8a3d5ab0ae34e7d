"""Temporal Segment Networks: a 2-D backbone on a few frames, with averaged features.

Paper: Wang et al., arXiv:1608.00859.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from videozoo.errors import ConfigError
from videozoo.models.image_backbone import Pretrained, image_backbone, image_maps
from videozoo.models.model import DropoutClassifier
from videozoo.models.registry import register_model
from videozoo.shapes import Float

__all__ = ["TSN"]


@register_model
class TSN(DropoutClassifier):
    """A timm backbone on each frame; the features are averaged over time and classified by one linear layer.

    The classifier is linear, so this equals the average of the frames' scores, the paper's consensus. Clips may have
    any number of frames, e.g. 3 for training and 25 for testing.

    Input:  clips [b, t, 3, h, w], normalised with the backbone's mean and deviation.
    Output: scores [b, num_classes], or features [b, num_features] when `num_classes` is 0.

    Args:
        num_segments: frames of a training clip; the network accepts any number.
        backbone: name of any timm model, with an optional tag, e.g. "resnet50" or
            "vit_small_patch16_224.augreg_in21k".
        pretrained: "imagenet" starts from timm's weights; None starts from random weights.
        backbone_args: arguments for timm's constructor, to change the backbone's size.
        dropout: share of the averaged features set to zero in training.
        crop_px: height and width of a frame in `input_shape`; convolutional backbones accept any size.

    Raises:
        ConfigError: timm has no such backbone, or it does not accept `backbone_args`.
        WeightsError: the ImageNet weights cannot be fetched.
    """

    def __init__(
        self,
        *,
        num_classes: int = 400,
        num_segments: int = 3,
        backbone: str = "resnet50",
        pretrained: Pretrained = None,
        backbone_args: dict[str, Any] | None = None,
        dropout: float = 0.4,
        crop_px: int = 224,
    ):
        super().__init__()
        self.backbone = image_backbone(backbone, pretrained=pretrained, args=backbone_args)
        width: Any = getattr(self.backbone, "head_hidden_size", None) or self.backbone.num_features
        self.num_features = int(width)
        self.input_shape = (num_segments, 3, crop_px, crop_px)
        self.dropout: nn.Module = nn.Dropout(dropout)
        self.reset_classifier(num_classes)

    def forward_features(self, x: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b d"]:
        return self.forward_frames(x).mean(1)

    def forward_frames(self, x: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b t d"]:
        """Returns the features of each frame `[b t num_features]` of clips `[b t c h w]`."""
        self._check(x)
        return self.backbone(x.flatten(0, 1)).unflatten(0, (-1, x.shape[1]))

    def forward_maps(self, x: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b _ _ _ _"]:
        self._check(x)
        return image_maps(self.backbone, x.flatten(0, 1)).unflatten(0, (-1, x.shape[1])).transpose(1, 2)

    def _check(self, x: Tensor) -> None:
        if x.ndim != 5:
            raise ConfigError(f"{self.name}: the input has shape {tuple(x.shape)}; needs clips [b t c h w]")
