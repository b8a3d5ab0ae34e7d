"""PP-TSM: the temporal shift module on ResNet-D.

Origin: PaddleVideo 2.x; the shift is from Lin et al., arXiv:1811.08383, the backbone from He et al., arXiv:1812.01187.
"""

from __future__ import annotations

from typing import Any, Literal

from torch import nn

from videozoo.models.image_backbone import Pretrained, project_first
from videozoo.models.registry import register_model
from videozoo.models.tsm import TSM

__all__ = ["PPTSM"]

Shortcuts = Literal["pooled", "strided"]


@register_model
class PPTSM(TSM):
    """TSM on ResNet-D ("vd") with leaky rectifiers; its recipes add label smoothing, mixup and precise batch norm.

    ResNet-D has a stem of three small convolutions and pools before the shortcut's projection. All activations are
    LeakyReLU with slope 0.01.

    Input:  clips [b, num_segments, 3, h, w], normalised with the backbone's mean and deviation.
    Output: scores [b, num_classes], or features [b, num_features] when `num_classes` is 0.

    Args:
        shortcuts: "pooled" shortcuts pool before their convolution, as in ResNet-D. "strided" shortcuts stride instead,
            and the first stage has one, too, as in PaddleVideo's networks of depth 18 and 34.
        others: as for `tsm`; `backbone_args` may override `act_layer`.

    Raises:
        ConfigError: `shortcuts` is "strided" but the backbone is not a ResNet, or as for `tsm`.
        WeightsError: as for `tsm`.
    """

    head_std = 0.01

    def __init__(
        self,
        *,
        num_classes: int = 400,
        num_segments: int = 8,
        backbone: str = "resnet50d",
        pretrained: Pretrained = None,
        backbone_args: dict[str, Any] | None = None,
        shift_fraction: float = 1 / 8,
        is_causal: bool = False,
        shortcuts: Shortcuts = "pooled",
        dropout: float = 0.5,
        crop_px: int = 224,
    ):
        super().__init__(
            num_classes=num_classes,
            num_segments=num_segments,
            backbone=backbone,
            pretrained=pretrained,
            backbone_args={"act_layer": "leaky_relu", **(backbone_args or {})},
            shift_fraction=shift_fraction,
            is_causal=is_causal,
            dropout=dropout,
            crop_px=crop_px,
        )
        self.shortcuts = shortcuts
        if shortcuts == "strided":
            project_first(self.backbone, name=backbone)
            _stride_shortcuts(self.backbone)


def _stride_shortcuts(backbone: nn.Module) -> None:
    for stage in range(1, 5):
        block: Any = backbone.get_submodule(f"layer{stage}.0")
        *_, conv, norm = block.downsample
        conv.stride = (block.stride, block.stride)
        block.downsample = nn.Sequential(conv, norm)
