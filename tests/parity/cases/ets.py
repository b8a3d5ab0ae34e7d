"""ETS, 2019, in float64: word probabilities, loss, gradients, and beam search step by step."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tests.parity.arrays import load
from tests.parity.rule import inputs1, own_err, params1, rel_err
from videozoo.decoding.beam_search import Found, beam_search
from videozoo.models import create_model
from videozoo.models.ets import ETS
from videozoo.tasks.caption import word_loss
from videozoo.weights import convert
from videozoo.weights.importer import key_map

Cfg = Mapping[str, Any]
ROWS = (6, 4)  # of the packed features, by the manifest's notes; so are the lengths of the sentences
LENGTHS = (5, 3)
START, END = 0, 1


def matches(folder: Path, manifest: Cfg) -> bool:
    return manifest.get("model") == "ETS" and "kinds" in manifest and (folder / "expected.npz").is_file()


def build(manifest: Cfg) -> ETS:
    size, shapes = manifest["config"]["MODEL"], dict(manifest["parameters"])
    model = create_model(
        "ets",
        num_classes=shapes["embedding_0.w_0"][0],
        feature_dim=size["feat_size"],
        embed_dim=size["fc_dim"],
        encoder_dim=size["gru_hidden_dim"],
        decoder_dim=size["decoder_size"],
        word_dim=size["word_emb_dim"],
        attention_tanh=False,
    )
    return convert(model, params1(manifest), source="paddlevideo1").double()


def compare(folder: Path, manifest: Cfg) -> Iterator[tuple[str, float]]:
    expected = load(folder)
    inputs = {name: torch.from_numpy(x) for name, x in inputs1(manifest["inputs"], expected).items()}
    model = build(manifest)
    features, mask = _padded(inputs["feat"].double(), ROWS, 0)
    before, real = _padded(inputs["word"][:, 0], LENGTHS, -1)
    after, _ = _padded(inputs["word_next"][:, 0], LENGTHS, -1)

    scores = model(features, mask, before)
    if "eval_output_0" in expected:
        yield "eval_output_0", rel_err(scores.softmax(-1)[real], expected["eval_output_0"])
        loss = word_loss(scores, after)
        yield "eval_loss_0", rel_err(loss.reshape(1), expected["eval_loss_0"])
        yield "train_loss_0", rel_err(loss.reshape(1), expected["train_loss_0"])
        if norms := manifest.get("train_grad_norms"):
            loss.backward()
            yield "train_grad_norms", _gradients(model, norms)

    for which, rows in (("clip0", slice(0, 1)), ("clip1", slice(1, 2)), ("both", slice(0, 2))):
        for kind, bias in (("beam", 0.0), ("beam_end", manifest.get("end_bias", 0.5))):
            name = f"{kind}_{which}"
            if f"{name}_ids" in expected:
                longest = manifest["config"]["MODEL"]["max_length"]
                found = _search(model, features[rows], mask[rows], manifest, end_bias=bias, max_length=longest)
                yield from _hypotheses(name, found, expected)


@torch.no_grad()
def _search(model: ETS, features: Tensor, mask: Tensor, manifest: Cfg, *, end_bias: float, max_length: int) -> Found:
    size = manifest["config"]["MODEL"]["beam_size"]
    seen = model.encode(features, mask)
    seen = type(seen)(*(x.repeat_interleave(size, dim=0) for x in seen))
    bias = torch.zeros(model.num_classes, dtype=torch.float64)
    bias[END] = end_bias

    def step(word: np.ndarray, state: Tensor) -> tuple[np.ndarray, Tensor]:
        scores, state, _ = model.step(torch.from_numpy(word), state, seen)
        return (scores + bias).log_softmax(-1).numpy(), state

    first = seen.first[::size]
    return beam_search(step, first, batch_size=len(first), start=START, end=END, beam_size=size, max_length=max_length)


def _hypotheses(name: str, found: Found, expected: Mapping[str, np.ndarray]) -> Iterator[tuple[str, float]]:
    """All that ended up in the beams, best first, as words with the start (and end) mark, and their scores."""
    ids, scores, offsets = (expected[f"{name}_{part}"] for part in ("ids", "scores", "lod1"))
    ours, theirs, wrong = [], [], 0
    symbols = found.symbols.reshape(-1, found.symbols.shape[2])
    hypotheses = zip(symbols, found.lengths.ravel(), found.is_finished.ravel(), strict=True)
    for i, (said_symbols, length, finished) in enumerate(hypotheses):
        start, stop = offsets[i], offsets[i + 1]
        said = [START, *said_symbols[: int(length)].tolist(), *([END] if finished else [])]
        wrong += said != ids[start:stop].tolist()
        ours.append(float(found.log_probs.ravel()[i]))
        theirs.append(float(scores[stop - 1]))
    yield f"{name}_ids", float(wrong)
    yield f"{name}_scores", rel_err(ours, theirs)


def _gradients(model: ETS, norms: Mapping[str, float]) -> float:
    """A GRU's weights are one table there and two here."""
    names, ours = key_map(model, source="paddlevideo1"), dict.fromkeys(norms, 0.0)
    for name, parameter in model.named_parameters():
        grad = parameter.grad
        ours[names.theirs(name)] += 0.0 if grad is None else grad.double().square().sum().item()
    return own_err([math.sqrt(ours[name]) for name in norms], list(norms.values()))


def _padded(packed: Tensor, lengths: tuple[int, ...], value: float) -> tuple[Tensor, Tensor]:
    parts = packed.split(list(lengths))
    padded = torch.nn.utils.rnn.pad_sequence(list(parts), batch_first=True, padding_value=value)
    return padded, torch.arange(max(lengths)) < torch.tensor(lengths).unsqueeze(1)
