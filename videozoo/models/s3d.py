"""S3D: Inception with 3-D convolutions that are split into space and time.

Paper: Xie et al., arXiv:1712.04851.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import video

from videozoo.errors import ConfigError
from videozoo.models.model import DropoutClassifier
from videozoo.models.registry import register_model
from videozoo.shapes import Float

__all__ = ["S3d"]


@register_model
class S3d(DropoutClassifier):
    """torchvision's S3D.

    Input:  clips [b, t, 3, h, w] of 8 frames or more.
    Output: scores [b, num_classes], or features [b, 1024] when `num_classes` is 0.
    Maps:   [b, 1024, t/8, h/32, w/32].

    The features are averages of maps of two steps and 7 x 7 cells, averaged over all places of such a window; a clip of
    64 frames or more therefore counts its ends less.

    Args:
        num_frames: frames of a clip in `input_shape`.
        dropout: share of the features set to zero in training.
        crop_px: height and width of a frame in `input_shape`.

    Raises:
        ConfigError: the input is not a clip.
    """

    usual_recipe = "k400/s3d_128f"

    def __init__(self, *, num_classes: int = 400, num_frames: int = 128, dropout: float = 0.2, crop_px: int = 224):
        super().__init__()
        self.input_shape = (num_frames, 3, crop_px, crop_px)
        self.features = video.s3d(num_classes=1).features
        for module in self.features.modules():
            if isinstance(module, nn.Conv3d):  # with torch's default, a signal fades over the 35 layers
                nn.init.normal_(module.weight, std=1.2 * module.weight[0].numel() ** -0.5)
        self.num_features = 1024
        self.dropout = nn.Dropout(dropout)
        self.reset_classifier(num_classes)

    def forward_features(self, x: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b d"]:
        maps = self.forward_maps(x)
        t, h, w = maps.shape[2:]
        return F.avg_pool3d(maps, (min(t, 2), min(h, 7), min(w, 7)), stride=1).mean((2, 3, 4))

    def forward_maps(self, x: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b _ _ _ _"]:
        if x.ndim != 5 or x.shape[1] < 8:
            raise ConfigError(
                f"{self.name}: the input has shape {tuple(x.shape)}; needs clips [b t c h w] of 8 frames or more"
            )
        return self.features(x.transpose(1, 2))
