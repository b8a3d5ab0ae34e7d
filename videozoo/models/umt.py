"""Unmasked Teacher: VideoMAE's transformer on patches of single frames, taught by CLIP.

Paper: Li et al., arXiv:2303.16058.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from videozoo.layers.tubelets import sine_positions
from videozoo.models.registry import register_model
from videozoo.models.videomae import NormPlace, Positions, Videomae
from videozoo.shapes import Float

__all__ = ["UMT"]

PRETRAINED = (8, 14, 14)  # the grid of the fixed positions


@register_model
class UMT(Videomae):
    """Unmasked Teacher's encoder with mean pooling and a linear classifier.

    The defaults are the base model of 8 frames. Other grids than 8 x 14 x 14 tokens take the positions of that grid,
    interpolated; the authors then train them: `positions="learned"`.

    Input, output, maps, args: as for `videomae`.
    """

    usual_recipe = "k400/umt_b_8f"

    def __init__(
        self,
        *,
        num_classes: int = 400,
        num_frames: int = 8,
        width: int = 768,
        depth: int = 12,
        num_heads: int = 12,
        mlp_width: int | None = None,
        positions: Positions = "sine",
        norm_place: NormPlace = "pooled",
        dropout: float = 0.0,
        drop_path: float = 0.1,
        layer_decay: float = 1.0,
        tubelet_frames: int = 1,
        patch_px: int = 16,
        crop_px: int = 224,
    ):
        super().__init__(
            num_classes=num_classes,
            num_frames=num_frames,
            width=width,
            depth=depth,
            num_heads=num_heads,
            mlp_width=mlp_width,
            positions=positions,
            norm_place=norm_place,
            dropout=dropout,
            drop_path=drop_path,
            layer_decay=layer_decay,
            tubelet_frames=tubelet_frames,
            patch_px=patch_px,
            crop_px=crop_px,
        )

    def position_table(self) -> Float[Tensor, "1 n d"]:
        t, h, w = PRETRAINED
        table = sine_positions(t * h * w, self.num_features).unflatten(0, PRETRAINED).movedim(-1, 1)  # [t d h w]
        if self.grid[1:] != PRETRAINED[1:]:
            table = F.interpolate(table, size=self.grid[1:], mode="bicubic", align_corners=False)
        if self.grid[0] != t:
            table = F.interpolate(
                table.flatten(1).T.unsqueeze(0), size=self.grid[0], mode="linear", align_corners=False
            )
            table = table.squeeze(0).T.unflatten(1, (self.num_features, *self.grid[1:]))
        return table.movedim(1, -1).flatten(0, 2).unsqueeze(0)
