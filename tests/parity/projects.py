"""Weights of MMAction2 and PySlowFast beside those projects' own code: the same clip must have the same scores.

    uv venv --python 3.11 OTHERS
    uv pip install --python OTHERS/bin/python mmengine 'mmcv-lite<2.1' einops decord scipy opencv-python-headless fvcore
    uv pip install --python OTHERS/bin/python --no-deps mmaction2==1.1.0 pyslowfast==1.0
    python -m tests.parity.projects OTHERS/lib/python3.11/site-packages

Their networks run under our torch, with parameters drawn at random; each prints the largest difference of its scores
relative to the largest score.
"""

from __future__ import annotations

import json
import sys
import types
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from videozoo.weights import convert
from videozoo.weights.conventions import fitting_model

NUM_CLASSES = 11
TOLERANCE = 1e-4

# label, their network, our model and its arguments, frames and size of the clip, their scores of a clip [b t c h w]
Case = tuple[str, nn.Module, str, dict[str, Any], tuple[int, int], Callable[[nn.Module, Tensor], Tensor]]


def mmaction2() -> Iterator[Case]:
    """TSN, TSM, SlowFast with and without normalised laterals, TimeSformer and Video Swin, of several sizes."""
    import mmaction.models  # noqa: F401  # registers them
    from mmaction.registry import MODELS
    from mmengine.config import ConfigDict
    from mmengine.registry import init_default_scope

    init_default_scope("mmaction")

    def build(backbone: dict[str, Any], head: dict[str, Any]) -> nn.Module:
        head = {"num_classes": NUM_CLASSES, **head}
        return MODELS.build(ConfigDict(type="Recognizer3D", backbone=backbone, cls_head=head))

    def of_frames(net: nn.Module, clips: Tensor) -> Tensor:
        return net.cls_head(net.backbone(clips.flatten(0, 1)), num_segs=clips.shape[1])

    def of_clips(net: nn.Module, clips: Tensor) -> Tensor:
        return net.cls_head(net.backbone(clips.transpose(1, 2)))

    for depth in (18, 50, 101):
        args = {"backbone": f"resnet{depth}"}
        common = {"in_channels": 512 if depth < 50 else 2048, "consensus": {"type": "AvgConsensus", "dim": 1}}
        net = build({"type": "ResNet", "depth": depth, "pretrained": None}, {"type": "TSNHead", **common})
        yield f"tsn {depth}", net, "tsn", args, (3, 96), of_frames
        for frames in (8, 16):
            shifted = {"type": "ResNetTSM", "depth": depth, "pretrained": None, "num_segments": frames, "shift_div": 8}
            net = build(shifted, {"type": "TSMHead", "num_segments": frames, "is_shift": True, **common})
            every = {"shift_every": 2} if depth == 101 else {}
            yield (
                f"tsm {depth}, {frames} frames",
                net,
                "tsm",
                {**args, "num_segments": frames, **every},
                (frames, 96),
                of_frames,
            )
    for norm in (False, True):
        for alpha in (8, 4):
            for px in (64, 96):
                net = build(_mm_slowfast(alpha, norm=norm), {"type": "SlowFastHead", "in_channels": 2304})
                args = {"alpha": alpha, "lateral_norm": norm, "crop_px": 64}
                yield f"slowfast alpha {alpha}, lateral_norm {norm}, {px} px", net, "slowfast", args, (32, px), of_clips
    for attention in ("divided_space_time", "joint_space_time", "space_only"):
        size = {"embed_dims": 48, "num_heads": 4, "num_transformer_layers": 3, "img_size": 64, "patch_size": 16}
        backbone = {"type": "TimeSformer", "pretrained": None, "num_frames": 8, "attention_type": attention, **size}
        net = build(backbone, {"type": "TimeSformerHead", "in_channels": 48})
        ours = {"embed_dim": 48, "depth": 3, "num_heads": 4}
        args = {"num_frames": 8, "crop_px": 64, "attention": attention.partition("_")[0], "backbone_args": ours}
        yield f"timesformer {attention}", net, "timesformer", args, (8, 64), of_clips
    for px, frames in ((64, 8), (96, 16), (112, 16)):
        arch = {"embed_dims": 24, "depths": [2, 2, 2, 2], "num_heads": [1, 2, 4, 8]}
        backbone = {"type": "SwinTransformer3D", "arch": arch, "pretrained": None, "pretrained2d": False}
        backbone |= {"patch_size": (2, 4, 4), "window_size": (8, 7, 7), "patch_norm": True}
        net = build(backbone, {"type": "I3DHead", "in_channels": 192, "spatial_type": "avg"})
        args = {"width": 24, "depths": (2, 2, 2, 2), "num_heads": (1, 2, 4, 8), "crop_px": px, "num_frames": frames}
        yield f"videoswin {px} px", net, "videoswin", args, (frames, px), of_clips


def _mm_slowfast(alpha: int, *, norm: bool) -> dict[str, Any]:
    path = {"type": "resnet3d", "depth": 50, "pretrained": None, "conv1_stride_t": 1, "pool1_stride_t": 1}
    slow = {**path, "lateral": True, "conv1_kernel": (1, 7, 7), "dilations": (1, 1, 1, 1), "inflate": (0, 0, 1, 1)}
    return {
        "type": "ResNet3dSlowFast",
        "pretrained": None,
        "resample_rate": alpha,
        "speed_ratio": alpha,
        "channel_ratio": 8,
        "slow_pathway": {**slow, "lateral_norm": norm},
        "fast_pathway": {**path, "lateral": False, "base_channels": 8, "conv1_kernel": (5, 7, 7)},
    }


def pyslowfast() -> Iterator[Case]:
    """SlowFast, and C2D and I3D with and without pooling over time and non-local blocks; they answer by soft-max."""
    stand_in = types.ModuleType("detectron2.layers")
    stand_in.ROIAlign = object  # type: ignore[attr-defined]  # of detectors, which are not run here
    sys.modules |= {"detectron2": types.ModuleType("detectron2"), "detectron2.layers": stand_in}
    from slowfast.config.defaults import get_cfg
    from slowfast.models.video_model_builder import ResNetModel, SlowFastModel

    def build(cls: type[nn.Module], frames: int, *changes: Any) -> nn.Module:
        config = get_cfg()
        config.merge_from_list(["MODEL.NUM_CLASSES", NUM_CLASSES, "NUM_GPUS", 0, "DATA.CROP_SIZE", 64, *changes])
        config.merge_from_list(["DATA.NUM_FRAMES", frames])
        return cls(config)

    def two_paths(alpha: int) -> Callable[[nn.Module, Tensor], Tensor]:
        def scores(net: nn.Module, clips: Tensor) -> Tensor:
            fast = clips.transpose(1, 2)
            slow = torch.linspace(0, fast.shape[2] - 1, fast.shape[2] // alpha).long()
            return net([fast[:, :, slow], fast]).log()

        return scores

    def one_path(net: nn.Module, clips: Tensor) -> Tensor:
        return net([clips.transpose(1, 2)]).log()

    both = ["RESNET.SPATIAL_STRIDES", [[1, 1], [2, 2], [2, 2], [2, 2]], "RESNET.SPATIAL_DILATIONS", [[1, 1]] * 4]
    both += ["NONLOCAL.LOCATION", [[[], []]] * 4, "NONLOCAL.GROUP", [[1, 1]] * 4]
    both += ["NONLOCAL.POOL", [[[1, 2, 2], [1, 2, 2]]] * 4]
    for depth, alpha, kernel in ((50, 8, 5), (50, 4, 7), (101, 4, 5)):
        inflated = [[3, 3], [4, 4], [6 if depth == 50 else 23] * 2, [3, 3]]
        changes = [*both, "RESNET.DEPTH", depth, "RESNET.NUM_BLOCK_TEMP_KERNEL", inflated, "SLOWFAST.ALPHA", alpha]
        for px in (64, 96):
            net = build(SlowFastModel, 32, *changes, "SLOWFAST.FUSION_KERNEL_SZ", kernel)
            args = {"depth": depth, "alpha": alpha, "fusion_kernel": kernel, "crop_px": 64}
            yield f"slowfast {depth}, alpha {alpha}, {px} px", net, "slowfast", args, (32, px), two_paths(alpha)
    for arch in ("c2d", "i3d", "c2d_nopool", "i3d_nopool"):
        for attention in (False, True):
            for px in (64, 96):
                places = [[[]], [[1, 3]], [[1, 3, 5]], [[]]] if attention else [[[]]] * 4
                changes = ["MODEL.ARCH", arch, "DATA.INPUT_CHANNEL_NUM", [3], "NONLOCAL.INSTANTIATION", "softmax"]
                net = build(ResNetModel, 8, *changes, "NONLOCAL.LOCATION", places, "MODEL.SINGLE_PATHWAY_ARCH", [arch])
                args = {"arch": arch[:3], "attention": attention, "time_pool": "nopool" not in arch, "crop_px": 64}
                yield f"{arch}, attention {attention}, {px} px", net, "nonlocal", args, (8, px), one_path


SOURCES: dict[str, Callable[[], Iterator[Case]]] = {"mmaction2": mmaction2, "pyslowfast": pyslowfast}


@torch.no_grad()
def _randomise(net: nn.Module) -> None:
    random = torch.Generator().manual_seed(0)
    for name, value in net.state_dict().items():
        if not value.is_floating_point():
            continue
        if name.endswith("running_var") or (value.ndim == 1 and name.endswith("weight")):
            value.uniform_(0.5, 1.5, generator=random)
        elif value.ndim > 1 and not name.endswith(("embed", "token", "bias_table")):
            value.normal_(0, value[0].numel() ** -0.5, generator=random)
        else:
            value.normal_(0, 0.1, generator=random)


@torch.no_grad()
def main(packages: str) -> int:
    warnings.filterwarnings("ignore")
    sys.path.append(packages)
    failed = 0
    for source, cases in SOURCES.items():
        for label, theirs, name, args, (frames, px), scores in cases():
            _randomise(theirs)
            state = {key: value.numpy() for key, value in theirs.state_dict().items()}
            ours, added = fitting_model(name, {"num_classes": NUM_CLASSES, **args}, source=source)
            convert(ours, state, source=source)
            clips = torch.randn(2, frames, 3, px, px, generator=torch.Generator().manual_seed(1))
            expected, found = scores(theirs.eval(), clips), ours.eval()(clips)
            if source == "pyslowfast":
                found = found.log_softmax(-1)
            error = float((found - expected).abs().max() / expected.abs().max())
            failed += not error <= TOLERANCE
            line = {"name": f"{source}: {label}", "max_rel_err": error, "passed": error <= TOLERANCE, "added": added}
            print(json.dumps(line), flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
