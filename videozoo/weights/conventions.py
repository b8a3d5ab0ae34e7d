"""What other projects' networks compute: arguments of ours that their weights need, told by no tensor or by names."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from timm.models.resnet import BasicBlock
from torch import nn

from videozoo.models.model import VideoModel
from videozoo.models.registry import create_model

__all__ = ["fitting_model", "needed_args", "told_args"]

Convention = Callable[[Any], Mapping[str, Any]]


def needed_args(model: VideoModel, *, source: str) -> dict[str, Any]:
    """Arguments of `model` that would have to be others for it to compute what `source`'s network does; mostly none."""
    return {key: value for needs in CONVENTIONS.get((source, model.name), ()) for key, value in needs(model).items()}


def fitting_model(name: str, args: Mapping[str, Any], *, source: str) -> tuple[VideoModel, dict[str, Any]]:
    """The model `name` as `source` computes it, and the arguments that were added to `args` for that."""
    model = create_model(name, **args)
    added = {key: value for key, value in needed_args(model, source=source).items() if key not in args}
    return (create_model(name, **{**args, **added}) if added else model), added


def told_args(names: Iterable[str], *, source: str, model: str) -> dict[str, Any]:
    """Arguments of `model` that the names of `source`'s tensors tell; mostly none."""
    read = NAMES_TELL.get((source, model))
    return dict(read(list(names))) if read is not None else {}


def _bare_laterals(names: Sequence[str]) -> Mapping[str, Any]:
    has_laterals = any("_lateral.conv." in name for name in names)
    return {"lateral_norm": False} if has_laterals and not any("_lateral.bn." in name for name in names) else {}


NAMES_TELL: Mapping[tuple[str, str], Callable[[Sequence[str]], Mapping[str, Any]]] = {
    ("mmaction2", "slowfast"): _bare_laterals
}


def _shift_by_frames(model: Any) -> Mapping[str, Any]:
    """PaddleVideo 2.x shifts fewer channels in longer clips."""
    fraction = 1 / model.num_segments
    return {} if math.isclose(model.shift_fraction, fraction) else {"shift_fraction": fraction}


def _shift_an_eighth(model: Any) -> Mapping[str, Any]:
    return {} if math.isclose(model.shift_fraction, 1 / 8) else {"shift_fraction": 1 / 8}


def _projected_first(model: Any) -> Mapping[str, Any]:
    """Of PaddleVideo's ResNet-D 18 and 34; in deeper ones that block widens, and so has a projection anyway."""
    stage = getattr(model.backbone, "layer1", None)
    return {"first_projection": True} if stage is not None and stage[0].downsample is None else {}


def _strided_shortcuts(model: Any) -> Mapping[str, Any]:
    """Of PaddleVideo's PP-TSM 18 and 34."""
    is_shallow = isinstance(next(iter(getattr(model.backbone, "layer1", ())), None), BasicBlock)
    return {"shortcuts": "strided"} if is_shallow and model.shortcuts != "strided" else {}


def _dropout_at_inference(model: Any) -> Mapping[str, Any]:
    is_other = any(isinstance(module, nn.Dropout) and module.p > 0 for module in model.modules())
    return {"dropout_scaling": "inference"} if is_other else {}


def _bias_prefix(model: Any) -> Mapping[str, Any]:
    """It matters where a map is smaller than a window in space; clips larger than `crop_px` only have larger ones."""
    attention = model.layers[0].blocks[0].attn
    smallest_px = model.input_shape[-1] // (model.patch_embed.patch[-1] * 2 ** (len(model.layers) - 1))
    fits = smallest_px >= max(attention.window[1:])
    return {} if fits or attention.small_maps == "prefix" else {"small_maps": "prefix"}


def _strided_frames(model: Any) -> Mapping[str, Any]:
    return {} if model.slow_frames == "strided" else {"slow_frames": "strided"}


def _whole_frame(model: Any) -> Mapping[str, Any]:
    """It matters to frames larger than the crop alone, as in the published test."""
    return {} if model.window is None else {"pooling": "frame"}


def _padded_stem(model: Any) -> Mapping[str, Any]:
    return {} if model.stem_padding == 1 else {"stem_padding": 1}


CONVENTIONS: Mapping[tuple[str, str], tuple[Convention, ...]] = {
    ("mmaction2", "slowfast"): (_strided_frames, _whole_frame),
    ("mmaction2", "videoswin"): (_bias_prefix,),
    ("paddlevideo", "pptsm"): (_shift_by_frames, _strided_shortcuts),
    ("paddlevideo", "pptsm_mobile"): (_shift_by_frames, _dropout_at_inference),
    ("paddlevideo", "pptsm_v2"): (_shift_by_frames, _dropout_at_inference),
    ("paddlevideo", "pptsn"): (_projected_first,),
    ("paddlevideo", "tsm"): (_shift_by_frames,),
    ("paddlevideo", "videoswin"): (_bias_prefix,),
    ("paddlevideo1", "attention_cluster"): (_dropout_at_inference,),
    ("paddlevideo1", "attention_lstm"): (_dropout_at_inference,),
    ("paddlevideo1", "nextvlad"): (_dropout_at_inference,),
    ("paddlevideo1", "nonlocal"): (_dropout_at_inference,),
    ("paddlevideo1", "tsm"): (_shift_an_eighth, _dropout_at_inference),
    ("pyslowfast", "nonlocal"): (_padded_stem,),
}
