"""SlowFast networks: a slow path for what things are, a fast and narrow one for how they move.

Paper: Feichtenhofer et al., arXiv:1812.03982.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from videozoo.errors import ConfigError
from videozoo.layers.resnet3d import BLOCKS_BY_DEPTH, Bottleneck3d, ConvNorm3d
from videozoo.layers.window_scores import pool_windows
from videozoo.models.model import WindowClassifier
from videozoo.models.registry import register_model
from videozoo.shapes import Float

__all__ = ["Slowfast"]

SLOW_KERNELS, FAST_KERNELS = (1, 1, 3, 3), (3, 3, 3, 3)  # temporal, of res2 to res5 (table 1)


@register_model
class Slowfast(WindowClassifier):
    """Two ResNets over one clip, the slow one at every `alpha`-th frame, joined by lateral convolutions (section 3).

    4x16 is `alpha=8, fusion_kernel=5` on 32 frames, 8x8 is `alpha=4, fusion_kernel=7` on 32 frames; both take frames at
    stride 2.

    Input:  clips [b, num_frames, 3, h, w], normalised with mean 0.45 and deviation 0.225; both paths are made inside.
    Output: scores [b, num_classes], or features [b, num_features] when `num_classes` is 0. Frames larger than
            `crop_px` are scored in overlapping windows of that size, whose probabilities are averaged: the scores are
            then logarithms of probabilities.
    Maps:   [b, num_features, num_frames / alpha, h / 32, w / 32], the slow path's channels first; each frame of the
            fast path's is the mean of alpha. Their means over time are those of the two paths, side by side.

    Args:
        depth: 50, 101 or 152; 26 for small data.
        num_frames: frames of the fast path; a multiple of `alpha`.
        alpha: frames of the fast path to one of the slow path.
        beta: channels of the slow path to one of the fast path.
        width: channels of the slow path's stem.
        fusion_kernel: temporal kernel of the lateral convolutions.
        fusion_ratio: channels that a lateral convolution makes of each of the fast path's.
        lateral_norm: whether those convolutions are normalised and rectified; most of MMAction2's are bare.
        slow_frames: the slow path's frames: "spread" from the first to the last, or "strided" by alpha from the first
            on, as in MMAction2.
        pooling: features are averaged over a "window" of the crop's size, or over the whole "frame", however large, as
            weights do that were trained with the short cycle of multigrid.
        crop_px: size that one window of the classifier covers.

    Raises:
        ConfigError: `num_frames` is no multiple of `alpha`, or `width` none of `beta`.
    """

    usual_recipe = "k400/slowfast_r50_4x16"

    def __init__(
        self,
        *,
        num_classes: int = 400,
        depth: Literal[26, 50, 101, 152] = 50,
        num_frames: int = 32,
        alpha: int = 8,
        beta: int = 8,
        width: int = 64,
        fusion_kernel: int = 5,
        fusion_ratio: int = 2,
        lateral_norm: bool = True,
        slow_frames: Literal["spread", "strided"] = "spread",
        pooling: Literal["window", "frame"] = "window",
        dropout: float = 0.5,
        crop_px: int = 224,
    ):
        super().__init__()
        if num_frames % alpha or width % beta:
            raise ConfigError(
                f"slowfast: num_frames={num_frames} and width={width} must be multiples of "
                f"alpha={alpha} and beta={beta}"
            )
        self.alpha, self.slow_frames = alpha, slow_frames
        self.input_shape = (num_frames, 3, crop_px, crop_px)
        self.window = max(crop_px // 32, 1) if pooling == "window" else None
        fast = width // beta
        self.slow_stem = _stem(width, temporal_kernel=1)
        self.fast_stem = _stem(fast, temporal_kernel=5)
        slow_stages, fast_stages, laterals = [], [], []
        slow_in, fast_in = width, fast
        for stage, blocks in enumerate(BLOCKS_BY_DEPTH[depth]):
            laterals.append(_lateral(fast_in, fusion_ratio * fast_in, fusion_kernel, alpha, has_norm=lateral_norm))
            slow_in += fusion_ratio * fast_in
            scale, stride = 2**stage, 1 if stage == 0 else 2
            slow_stages.append(_stage(slow_in, width * scale, blocks, SLOW_KERNELS[stage], stride))
            fast_stages.append(_stage(fast_in, fast * scale, blocks, FAST_KERNELS[stage], stride))
            slow_in, fast_in = 4 * width * scale, 4 * fast * scale
        self.laterals = nn.ModuleList(laterals)
        self.slow_stages = nn.ModuleList(slow_stages)
        self.fast_stages = nn.ModuleList(fast_stages)
        self.dropout = nn.Dropout(dropout)
        self.num_features = slow_in + fast_in
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        self.reset_classifier(num_classes)

    def forward_maps(self, x: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b _ _ _ _"]:
        slow, fast = self.path_maps(*self.split_paths(x))
        return torch.cat([slow, fast.unflatten(2, (-1, self.alpha)).mean(3)], 1)

    def forward_windows(self, x: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b _ _ d"]:
        return self.path_windows(*self.split_paths(x))

    def split_paths(
        self, x: Float[Tensor, "b t c h w"]
    ) -> tuple[Float[Tensor, "b c _ h w"], Float[Tensor, "b c t h w"]]:
        """Returns clips [b t c h w] as the slow path's frames [b c t/alpha h w] and the fast path's [b c t h w]."""
        num_frames = x.shape[1]
        if num_frames % self.alpha:
            raise ConfigError(
                f"slowfast: the clip has {num_frames} frames; the slow path needs a multiple of alpha={self.alpha}"
            )
        fast = x.transpose(1, 2)
        if self.slow_frames == "strided":
            return fast[:, :, :: self.alpha], fast
        places = torch.linspace(0, num_frames - 1, num_frames // self.alpha, device=x.device).long()
        return fast.index_select(2, places), fast

    def forward_paths(self, slow: Float[Tensor, "b c _ h w"], fast: Float[Tensor, "b c _ h w"]) -> Float[Tensor, "b k"]:
        """Returns the scores of two paths `[b c t h w]`; the fast one has alpha times the frames."""
        return self.score_windows(self.path_windows(slow, fast))[1]

    def path_windows(
        self, slow: Float[Tensor, "b c _ h w"], fast: Float[Tensor, "b c _ h w"]
    ) -> Float[Tensor, "b _ _ d"]:
        """Returns the features [b h' w' c] of each window of two paths [b c t h w]."""
        return torch.cat([pool_windows(path, self.window) for path in self.path_maps(slow, fast)], -1)

    def path_maps(
        self, slow: Float[Tensor, "b c _ h w"], fast: Float[Tensor, "b c _ h w"]
    ) -> tuple[Float[Tensor, "b _ _ _ _"], Float[Tensor, "b _ _ _ _"]]:
        """Returns the last maps of each of two paths [b c t h w], each with its own channels and frames."""
        slow, fast = self.slow_stem(slow), self.fast_stem(fast)
        for lateral, slow_stage, fast_stage in zip(self.laterals, self.slow_stages, self.fast_stages, strict=True):
            slow = slow_stage(torch.cat([slow, lateral(fast)], 1))
            fast = fast_stage(fast)
        return slow, fast


def _stem(width: int, *, temporal_kernel: int) -> nn.Sequential:
    conv = ConvNorm3d(3, width, (temporal_kernel, 7, 7), stride=(1, 2, 2))
    return nn.Sequential(conv, nn.ReLU(inplace=True), nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)))


def _lateral(in_channels: int, out_channels: int, kernel: int, alpha: int, *, has_norm: bool) -> nn.Sequential:
    """Time-strided convolution from the fast to the slow path (section 3.4, "T-conv")."""
    conv = ConvNorm3d(in_channels, out_channels, (kernel, 1, 1), stride=(alpha, 1, 1))
    if has_norm:
        return nn.Sequential(conv, nn.ReLU(inplace=True))
    conv.add_module("norm", nn.Identity())
    return nn.Sequential(conv)


def _stage(in_channels: int, width: int, blocks: int, temporal_kernel: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        *(
            Bottleneck3d(
                in_channels if block == 0 else 4 * width,
                width,
                4 * width,
                temporal_kernel=temporal_kernel,
                stride=stride if block == 0 else 1,
            )
            for block in range(blocks)
        )
    )
