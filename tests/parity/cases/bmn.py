"""BMN of 2019 (float64, damped by nothing) and of PaddleVideo 2.x, with their losses and training steps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tests.parity.arrays import load, load_file
from tests.parity.rule import inputs1, inputs2, own_err, params1, params2, rel_err
from tests.parity.train_step import compare_train_step
from videozoo.layers.boundary_matching import matching_weights
from videozoo.layers.proposal_loss import bmn_losses
from videozoo.models import create_model
from videozoo.models.bmn import BMN, BMNOutput
from videozoo.weights import convert
from videozoo.weights.importer import key_map

Cfg = Mapping[str, Any]


def _size(manifest: Cfg) -> Cfg | None:
    """The section that states the network's size, of either project."""
    section = manifest.get("model_cfg", {}).get("backbone", {}) or manifest.get("config", {})
    section = section.get("MODEL", section) if isinstance(section, Mapping) else {}
    return section if section.get("name") == "BMN" else None


def matches(folder: Path, manifest: Cfg) -> bool:
    return _size(manifest) is not None and (folder / "expected.npz").is_file()


def build(manifest: Cfg) -> BMN:
    size = _size(manifest)
    model = create_model(
        "bmn",
        feature_dim=size.get("feat_dim", 400),
        num_snippets=size["tscale"],
        max_duration=size["dscale"],
        num_samples=size["num_sample"],
        boundary_ratio=size["prop_boundary_ratio"],
        clamp_before_start=True,
    )
    if "model_cfg" in manifest:
        return convert(model, params2(manifest), source="paddlevideo")
    return convert(model, params1(manifest), source="paddlevideo1").double()


def compare(folder: Path, manifest: Cfg) -> Iterator[tuple[str, float]]:
    expected = load(folder)
    yield from _compare_mask(_size(manifest), expected)
    yield from (_compare2 if "model_cfg" in manifest else _compare1)(folder, manifest, expected)


def _compare1(folder: Path, manifest: Cfg, expected: Mapping[str, np.ndarray]) -> Iterator[tuple[str, float]]:
    inputs = {name: torch.from_numpy(x).double() for name, x in inputs1(manifest["inputs"], expected).items()}
    model = build(manifest)
    for mode in ("eval", "train"):
        if f"{mode}_output_0" not in expected:
            continue
        answer = model.train(mode == "train")(inputs["feat"].transpose(1, 2))
        for i, output in enumerate((torch.stack(answer[:2], 1), answer.start, answer.end)):
            want = expected[f"{mode}_output_{i}"]
            yield f"{mode}_output_{i}", rel_err(output.reshape(want.shape), want)
        draws = [torch.from_numpy(_draw1(*call)) for call in manifest[f"uniform_random_calls_{mode}"]]
        losses = reference_losses(answer, inputs, draws)
        for i, part in enumerate(("loss", "boundary", "regression", "match")):
            yield f"{mode}_loss_{i}", rel_err(losses[part].reshape(1), expected[f"{mode}_loss_{i}"])
    if norms := manifest.get("train_grad_norms"):
        losses["loss"].backward()
        names = key_map(model, source="paddlevideo1")
        ours = {names.theirs(name): p.grad.norm().item() for name, p in model.named_parameters()}
        yield "train_grad_norms", own_err([ours[name] for name in norms], list(norms.values()))


def _draw1(seed: int, shape: list[int]) -> np.ndarray:
    return np.random.Generator(np.random.PCG64(seed)).random(shape).astype(np.float32)


def _compare2(folder: Path, manifest: Cfg, expected: Mapping[str, np.ndarray]) -> Iterator[tuple[str, float]]:
    model = build(manifest).eval()
    with torch.no_grad():
        answer = model(inputs2(manifest["inputs"])["feat"].transpose(1, 2))
    yield "out/pred_bm", rel_err(torch.stack(answer[:2], 1), expected["out/pred_bm"])
    yield "out/pred_start", rel_err(answer.start, expected["out/pred_start"])
    yield "out/pred_end", rel_err(answer.end, expected["out/pred_end"])
    stored = folder.resolve().parent / "bmn_loss_inputs.npz"
    if "train_step" in manifest and stored.is_file():
        targets = {name: torch.from_numpy(array) for name, array in load_file(stored).items()}
        features = inputs2(manifest["train_step"]["inputs"])["feat"].transpose(1, 2)
        rng = np.random.Generator(np.random.PCG64(1139))
        shape = targets["gt_iou_map"].shape[1:]
        draws = [torch.from_numpy(rng.uniform(0, 1, shape).astype(np.float32)) for _ in range(2)]
        yield from compare_train_step(
            model, manifest, expected, lambda: reference_losses(model(features), targets, draws)["loss"]
        )


def reference_losses(answer: BMNOutput, targets: Mapping[str, Tensor], draws: list[Tensor]) -> dict[str, Tensor]:
    """Our losses on the targets and the draws of either project."""
    return bmn_losses(
        *answer,
        overlap=targets["gt_iou_map"],
        start_target=targets["gt_start"],
        end_target=targets["gt_end"],
        draws=draws,
        full_bands_take_all=True,
    )


def _compare_mask(size: Cfg, expected: Mapping[str, np.ndarray]) -> Iterator[tuple[str, float]]:
    t, d, n = size["tscale"], size["dscale"], size["num_sample"]
    rows, columns, values = matching_weights(
        t, d, num_samples=n, boundary_ratio=size["prop_boundary_ratio"], clamp_before_start=True
    )

    def column(duration: int, start: int) -> np.ndarray:
        """What the cell reads, `[t n]`."""
        dense = np.zeros((n, t))
        of_cell = rows == duration * t + start
        dense.reshape(-1)[columns[of_cell]] = values[of_cell]
        return dense.T

    cells = {"sample_mask_slice": (3, 5), "sample_mask_slice_d7_s0": (7, 0), "sample_mask_slice_dlast_s0": (d - 1, 0)}
    cells |= {"out/sample_mask_col_d9_s40_t100xN32": (9, 40), "out/sample_mask_col_d0_s0": (0, 0)}
    cells |= {"out/sample_mask_col_d99_s0": (99, 0), "out/sample_mask_col_d50_s49": (50, 49)}
    for name, cell in cells.items():
        if name in expected:
            yield name, rel_err(column(*cell), expected[name])
    if "sample_mask_sum_over_time" in expected:  # of every fifth duration and start
        sums = np.zeros((d * t, n))
        np.add.at(sums, (rows, columns // t), values)
        ours = sums.reshape(d, t, n).transpose(2, 0, 1)[:, ::5, ::5]
        yield "sample_mask_sum_over_time", rel_err(ours, expected["sample_mask_sum_over_time"])
    if "out/sample_mask_slice" in expected:  # of [time, sample, duration, start], all of it
        sums = np.bincount(columns // t, weights=values, minlength=n)
        yield "out/sample_mask", rel_err(sums, expected["out/sample_mask_checks_sum_axis0"])
        stored = ((columns % t) * n + columns // t) * d * t + rows
        picked = [values[stored == at].sum() for at in np.linspace(0, t * n * d * t - 1, 64).astype(np.int64)]
        yield "out/sample_mask_slice", rel_err(picked, expected["out/sample_mask_slice"])
    if "out/sample_mask_nonzero" in expected:
        yield "out/sample_mask_nonzero", rel_err([len(values)], expected["out/sample_mask_nonzero"])
