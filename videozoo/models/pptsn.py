"""PP-TSN: temporal segment networks on ResNet-D.

Origin: PaddleVideo 2.x; the network is from Wang et al., arXiv:1608.00859, the ResNet-D from arXiv:1812.01187.
"""

from __future__ import annotations

from typing import Any

from videozoo.models.image_backbone import Pretrained, project_first
from videozoo.models.param_rule import ParamRule
from videozoo.models.registry import register_model
from videozoo.models.tsn import TSN

__all__ = ["PPTSN"]


@register_model
class PPTSN(TSN):
    """TSN on ResNet-D ("vd"), with a higher learning rate for the classifier.

    Input:  clips [b, t, 3, h, w], normalised with the backbone's mean and deviation; any number of frames.
    Output: scores [b, num_classes], or features [b, num_features] when `num_classes` is 0.

    Args:
        first_projection: add a convolution to the first block's shortcut, as in PaddleVideo's networks of depth 18 and
            34. ImageNet weights do not include it, so it starts from random weights.
        others: as for `tsn`.

    Raises:
        ConfigError: `first_projection` is set but the backbone is not a ResNet, or as for `tsn`.
        WeightsError: as for `tsn`.
    """

    def __init__(
        self,
        *,
        num_classes: int = 400,
        num_segments: int = 3,
        backbone: str = "resnet50d",
        pretrained: Pretrained = None,
        backbone_args: dict[str, Any] | None = None,
        first_projection: bool = False,
        dropout: float = 0.4,
        crop_px: int = 224,
    ):
        super().__init__(
            num_classes=num_classes,
            num_segments=num_segments,
            backbone=backbone,
            pretrained=pretrained,
            backbone_args=backbone_args,
            dropout=dropout,
            crop_px=crop_px,
        )
        if first_projection:
            project_first(self.backbone, name=backbone)
        self.param_rules = (
            ParamRule(r"^head\.weight$", lr_scale=5),
            ParamRule(r"^head\.bias$", lr_scale=10, weight_decay=0.0),
        )
