"""SlowFast networks: a slow path for appearance and a fast, narrow path for motion.

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
    """Two 3-D ResNets, one on all frames and one on every `alpha`-th, joined by lateral convolutions (section 3).

    4x16 is `alpha=8, fusion_kernel=5`, 8x8 is `alpha=4, fusion_kernel=7`, both on 32 frames with stride 2.

    Input:  clips [b, num_frames, 3, h, w], normalised with mean 0.45 and deviation 0.225; the model samples both paths.
    Output: scores [b, num_classes], or features [b, num_features] when `num_classes` is 0. Frames larger than
            `crop_px` are scored in overlapping windows of that size, and the windows' probabilities are averaged;
            the scores are then log probabilities.
    Maps:   [b, num_features, num_frames / alpha, h / 32, w / 32], the slow path's channels first. The fast
            path's maps are averaged over each alpha frames, so means over time equal those of the two paths.

    Args:
        depth: 50, 101 or 152; 26 for small data.
        num_frames: frames of the fast path; a multiple of `alpha`.
        alpha: frames of the fast path per frame of the slow path.
        beta: channels of the slow path per channel of the fast path.
        width: channels of the slow path's stem.
        fusion_kernel: temporal kernel of the lateral convolutions.
        fusion_ratio: output channels of a lateral convolution per channel of the fast path.
        lateral_norm: normalise and rectify the lateral convolutions; most MMAction2 models do not.
        slow_frames: frames of the slow path: "spread" evenly from the first to the last, or "strided": every alpha-th
            from the first, as in MMAction2.
        pooling: area over which features are averaged: a "window" of the crop's size, or the whole "frame", as for
            weights trained with the short cycle of multigrid.
        crop_px: size of one window of the classifier, in pixels of the frame.

    Raises:
        ConfigError: `num_frames` is not a multiple of `alpha`, or `width` is not a multiple of `beta`.
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
        """Splits clips [b t c h w] into the slow path's [b c t/alpha h w] and the fast path's frames [b c t h w]."""
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
        """Returns the scores of two paths `[b c t h w]`; the fast path has alpha times as many frames."""
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
    """Returns a time-strided convolution from the fast to the slow path (section 3.4, "T-conv")."""
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
