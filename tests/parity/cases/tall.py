"""TALL, 2019, in float64: the table of all pairs, its loss, its gradients."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from tests.parity.arrays import load
from tests.parity.rule import inputs1, own_err, params1, rel_err
from videozoo.layers.grounding_loss import alignment_loss, offset_loss
from videozoo.models import create_model
from videozoo.models.model import VideoModel
from videozoo.weights import convert
from videozoo.weights.importer import key_map

Cfg = Mapping[str, Any]
OFFSET_WEIGHT = 0.01


def matches(folder: Path, manifest: Cfg) -> bool:
    return manifest.get("model") == "TALL" and (folder / "expected.npz").is_file()


def build(manifest: Cfg) -> VideoModel:
    size = manifest["config"]["MODEL"]
    model = create_model(
        "tall",
        feature_dim=size["visual_feature_dim"] // 3,
        sentence_dim=size["sentence_embedding_size"],
        embed_dim=size["semantic_size"],
        hidden_dim=size["hidden_size"],
    )
    return convert(model, params1(manifest), source="paddlevideo1").double()


def compare(folder: Path, manifest: Cfg) -> Iterator[tuple[str, float]]:
    expected = load(folder)
    inputs = {name: torch.from_numpy(x).double() for name, x in inputs1(manifest["inputs"], expected).items()}
    windows, sentences = inputs["train_visual"], inputs["train_sentences"]
    model = build(manifest)
    output = model.pairs(windows, sentences)
    offsets = output[1:].diagonal(dim1=1, dim2=2).T
    loss = alignment_loss(output[0]) + OFFSET_WEIGHT * offset_loss(offsets, inputs["train_offsets"])
    for mode in ("eval", "train"):  # one network: it has neither dropout nor batch norm
        yield f"{mode}_output_0", rel_err(output, expected[f"{mode}_output_0"])
        yield f"{mode}_loss_0", rel_err(loss.reshape(1), expected[f"{mode}_loss_0"])
    with torch.no_grad():
        yield (
            "one pair at a time",
            rel_err(model(torch.cat([windows, sentences], 1)).T, output.diagonal(dim1=1, dim2=2)),
        )
        alone = [model.answer(model.embed_windows(windows), sentence).T for sentence in sentences]
        yield "one sentence at a time", rel_err(torch.stack(alone, 1), output)
    if "train_grad_norms" in manifest:
        loss.backward()
        names = key_map(model, source="paddlevideo1")
        ours = {names.theirs(name): p.grad.norm().item() for name, p in model.named_parameters()}
        norms = manifest["train_grad_norms"]
        yield "train_grad_norms", own_err([ours[name] for name in norms], list(norms.values()))
