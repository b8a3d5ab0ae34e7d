"""Both networks of BSN, 2019, in float64, with their losses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tests.parity.arrays import load
from tests.parity.rule import inputs1, own_err, params1, rel_err
from videozoo.layers.proposal_loss import bsn_proposal_loss, bsn_temporal_losses
from videozoo.models import create_model
from videozoo.models.model import VideoModel
from videozoo.weights import convert
from videozoo.weights.importer import key_map

Cfg = Mapping[str, Any]


def _name(manifest: Cfg) -> str:
    return manifest["model"] if "kinds" in manifest and isinstance(manifest.get("model"), str) else ""


def matches(folder: Path, manifest: Cfg) -> bool:
    return _name(manifest).lower() in ("bsntem", "bsnpem") and (folder / "expected.npz").is_file()


def build(manifest: Cfg) -> VideoModel:
    size = manifest["config"]["MODEL"]
    args = {"feature_dim": size["feat_dim"], "hidden_dim": size["hidden_dim"]}
    if _name(manifest).lower() == "bsntem":
        model = create_model("bsn_tem", num_snippets=size["tscale"], **args)
    else:
        model = create_model("bsn_pem", num_proposals=size["top_K"], hidden_layer=False, **args)
    return convert(model, params1(manifest), source="paddlevideo1").double()


def compare(folder: Path, manifest: Cfg) -> Iterator[tuple[str, float]]:
    expected = load(folder)
    inputs = {name: torch.from_numpy(x).double() for name, x in inputs1(manifest["inputs"], expected).items()}
    model = build(manifest)
    for mode in ("eval", "train"):
        output, losses = _temporal(model, inputs) if "gt_start" in inputs else _proposal(model, inputs, manifest, mode)
        want = expected[f"{mode}_output_0"]
        yield f"{mode}_output_0", rel_err(output.reshape(want.shape), want)
        for i, loss in enumerate(losses):
            yield f"{mode}_loss_{i}", rel_err(loss.reshape(1), expected[f"{mode}_loss_{i}"])
    losses[0].backward()
    names = key_map(model, source="paddlevideo1")
    ours = {names.theirs(name): p.grad.norm().item() for name, p in model.named_parameters()}
    learned = {name: norm for name, norm in manifest["train_grad_norms"].items() if norm is not None}
    yield "train_grad_norms", own_err([ours[name] for name in learned], list(learned.values()))


def _temporal(model: VideoModel, inputs: Mapping[str, Tensor]) -> tuple[Tensor, list[Tensor]]:
    output = model(inputs["feat"].transpose(1, 2))
    targets = torch.stack([inputs["gt_start"], inputs["gt_end"], inputs["gt_action"]], 1)
    return output, list(bsn_temporal_losses(output, targets).values())


def _proposal(model: VideoModel, inputs: Mapping[str, Tensor], manifest: Cfg, mode: str) -> tuple[Tensor, list[Tensor]]:
    output, overlap = model(inputs["feat"]), inputs["gt_iou"].squeeze(-1)
    draws = [
        torch.from_numpy(np.random.Generator(np.random.PCG64(seed)).random(shape).astype(np.float32))
        for seed, shape in manifest[f"uniform_random_calls_{mode}"]
    ]
    draws = [draw.reshape(overlap.shape) for draw in draws]
    return output, [bsn_proposal_loss(output, overlap, draws=draws, full_bands_take_all=True)]
