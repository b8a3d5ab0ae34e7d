"""Single layers of PaddleVideo 2.x on tiny inputs, under paddlepaddle 3.3.1, beside the layers that our models use."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import roi_align

from tests.parity.arrays import Arrays, load_file
from tests.parity.rule import param2, rel_err, slice_of
from videozoo.layers.inflate import inflate
from videozoo.layers.temporal_shift import temporal_shift

Errors = Iterator[tuple[str, float]]


def matches(folder: Path, manifest: Mapping[str, Any]) -> bool:
    return (folder / "ops.npz").is_file()


def compare(folder: Path, manifest: Mapping[str, Any]) -> Errors:
    stored = load_file(folder / "ops.npz").map(torch.from_numpy)
    yield from _shifts(stored)
    yield from _norms(stored)
    yield from _activations(stored)
    yield from _sizes(stored)
    yield from _regions(stored)
    yield from _lstm(manifest, stored)
    yield from _inflated(load_file(folder / "pretrain_trans.npz").map(torch.from_numpy))


def _shifts(stored: Arrays[Tensor]) -> Errors:
    for name in stored:
        if found := re.fullmatch(r"(tshift/C\d+_seg(\d+)_n\d+_ratio([\d.]+))/x", name):
            case, num_frames, fraction = found[1], int(found[2]), float(found[3])
            yield case, rel_err(temporal_shift(stored[name], num_frames, fraction), stored[f"{case}/y"])


def _norms(stored: Arrays[Tensor]) -> Errors:
    """Running values: theirs keep `momentum` of themselves, and the variance of the batch, not of the population."""
    x, (eps, momentum) = stored["bn/x"], stored["bn/epsilon_momentum"].tolist()
    yield "bn/biased_var", rel_err(x.var((0, 2, 3), correction=0), stored["bn/biased_var"])
    yield "bn/unbiased_var", rel_err(x.var((0, 2, 3)), stored["bn/unbiased_var"])
    count = x[:, 0].numel()
    for case, kept in (("bn", momentum), ("bn3_momentum0.1", 0.1)):
        norm = nn.BatchNorm2d(x.shape[1], eps=eps, momentum=1 - kept)
        y = norm(x)
        if case == "bn":
            yield "bn/y_train", rel_err(y, stored["bn/y_train"])
        biased = kept + (norm.running_var - kept) * (count - 1) / count
        yield f"{case}/running_mean", rel_err(norm.running_mean, stored[f"{case}/running_mean_after1"])
        yield f"{case}/running_var", rel_err(biased, stored[f"{case}/running_var_after1"])


def _activations(stored: Arrays[Tensor]) -> Errors:
    x = stored["act/x"]
    ours = {
        "leaky_relu": F.leaky_relu(x),
        "gelu": F.gelu(x),
        "hardswish": F.hardswish(3 * x),  # the reference widened the input, to reach both ends
        "hardsigmoid": F.hardsigmoid(5 * x),
        "swish": F.silu(x),
    }
    for name, value in ours.items():
        yield f"act/{name}", rel_err(value, stored[f"act/{name}"])


def _sizes(stored: Arrays[Tensor]) -> Errors:
    pooled = F.avg_pool2d(stored["avgpool_ceil/x"], 2, 2, ceil_mode=True, count_include_pad=False)
    yield "avgpool_ceil", rel_err(pooled, stored["avgpool_ceil/y"])
    pooled = F.avg_pool3d(stored["avgpool3d_pad011/x"], (1, 3, 3), (1, 2, 2), (0, 1, 1), count_include_pad=False)
    yield "avgpool3d", rel_err(pooled, stored["avgpool3d_pad011/y"])
    for size in ((9, 11), (3, 4)):
        name = f"interp/bilinear_{size[0]}x{size[1]}"
        yield name, rel_err(F.interpolate(stored["interp/x"], size=size, mode="bilinear"), stored[name])
    yield "interp/nearest", rel_err(F.interpolate(stored["interp/x"], size=(9, 11)), stored["interp/nearest_9x11"])


def _regions(stored: Arrays[Tensor]) -> Errors:
    boxes = list(stored["roi/rois"].split(stored["roi/rois_num"].tolist()))
    for aligned in (True, False):
        name = f"roi/out8_scale1_16_ratio0_aligned{aligned}"
        ours = roi_align(stored["roi/x"], boxes, 8, spatial_scale=1 / 16, sampling_ratio=0, aligned=aligned)
        known = ~stored[name].isnan()  # of a box without area, which the original divides by
        yield name, rel_err(ours[known], stored[name][known])


def _lstm(manifest: Mapping[str, Any], stored: Arrays[Tensor]) -> Errors:
    x, lengths = stored["lstm/x"], stored["lstm/len"]
    lstm = nn.LSTM(x.shape[-1], stored["lstm/h"].shape[-1], batch_first=True, bidirectional=True)
    drawn = {name: torch.from_numpy(param2(f"ops_lstm.{name}", shape)) for name, shape in manifest["lstm_state"]}
    lstm.load_state_dict(drawn)
    packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True)
    with torch.no_grad():
        out, (h, c) = lstm(packed)
    padded, _ = nn.utils.rnn.pad_packed_sequence(out, batch_first=True)
    for name, value in {"out": padded, "h": h, "c": c}.items():
        yield f"lstm/{name}", rel_err(value, stored[f"lstm/{name}"])


def _inflated(stored: Arrays[Tensor]) -> Errors:
    """ImageNet weights of a 2-D Swin: patches and tables of position biases."""
    weight, biases = stored["swin/proj_in"], stored["swin/rpb_in"]
    yield "swin/proj", rel_err(inflate(weight, stored["swin/proj_out"].shape[2]), stored["swin/proj_out"])
    shape = stored["swin/rpb_out_shape"].tolist()
    tiled = biases.repeat(shape[0] // len(biases), 1)
    yield "swin/rpb_shape", float(list(tiled.shape) != shape)
    yield "swin/rpb", rel_err(slice_of(tiled, 64), np.asarray(stored["swin/rpb_out_checks"]))
