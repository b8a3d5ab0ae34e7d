"""Labels, proposals, suppression and scores of temporal localization, of both projects."""

from __future__ import annotations

import json
from collections import ChainMap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.parity.arrays import load_file
from tests.parity.cases.bmn import reference_losses
from tests.parity.rule import rel_err
from videozoo.contracts.intervals import interval_iou
from videozoo.decoding.proposals import (
    action_target,
    boundary_targets,
    is_boundary,
    map_segments,
    overlap_target,
    pair_boundaries,
    proposal_features,
    soft_nms,
)
from videozoo.models.bmn import BMNOutput

Cfg = Mapping[str, Any]
Arrays = Mapping[str, np.ndarray]
FILES = ("expected.npz", "bmn_labels_and_loss.npz", "bmn_post.npz")


def matches(folder: Path, manifest: Cfg) -> bool:
    return "pgm_config" in manifest or any((folder / name).is_file() for name in FILES[1:])


def compare(folder: Path, manifest: Cfg) -> Iterator[tuple[str, float]]:
    stored = ChainMap(*(load_file(folder / name) for name in FILES if (folder / name).is_file()))
    if "pgm_config" in manifest:
        yield from _labels1(manifest, stored)
        yield from _proposals1(manifest, stored)
        yield from _results1(folder, manifest, stored)
    elif "loss/tem" in stored:
        yield from _labels2(manifest, stored)
        yield from _losses2(stored)
    else:
        yield from _post2(manifest, stored)


def _segments(video: Cfg) -> np.ndarray:
    return np.array([a["segment"] for a in video["annotations"]], np.float64) / video["duration_second"]


# --- 2019 ---------------------------------------------------------------------------------------------------


def _labels1(manifest: Cfg, stored: Arrays) -> Iterator[tuple[str, float]]:
    t = manifest["pgm_config"]["tscale"]
    for name, video in manifest["annotations"].items():
        segments = _segments(video)
        ours = {"bmn_{}_iou_map": overlap_target(segments, num_snippets=t, max_duration=t)}
        ours["bmn_{}_start"], ours["bmn_{}_end"] = boundary_targets(segments, num_snippets=t, width=3 / t)
        ours["bsn_{}_start"], ours["bsn_{}_end"] = boundary_targets(segments, num_snippets=t)
        ours["bsn_{}_action"] = action_target(segments, num_snippets=t)
        for key, value in ours.items():
            yield key.format(name), rel_err(value, stored[key.format(name)])
    rows = map_segments(t, t).reshape(-1, 2)[[0, 1, 101, 5050, 9999]]
    yield "match_map", rel_err(rows, stored["bmn_match_map_rows_0_1_101_5050_9999"])


def _proposals1(manifest: Cfg, stored: Arrays) -> Iterator[tuple[str, float]]:
    scores = stored["bc_scores"]
    yield "bc_bsn_0.5", rel_err(is_boundary(scores), stored["bc_bsn_0.5"])
    yield "bc_bsn_0.9", rel_err(is_boundary(scores, threshold=0.9), stored["bc_bsn_0.9"])
    yield "bc_bmn", rel_err(is_boundary(scores), stored["bc_bmn"])
    candidates = stored["snms_in"]
    for name, setting in {"snms_bmn": (0.4, 0.55, 0.9), "snms_bsn": (0.75, 0.65, 0.9)}.items():
        yield name, rel_err(_suppressed(candidates, *setting)[:, [2, 0, 1]], stored[name])
    found = pair_boundaries(stored["bmn_pred_start"], stored["bmn_pred_end"])
    iou, match = stored["bmn_pred_bm"][0].astype(np.float64)
    cells = found.end - found.start, found.start
    ours = np.column_stack([found.segments, found.scores * iou[cells] * match[cells]])
    yield "bmn_props", rel_err(ours, stored["bmn_props"])

    config = manifest["pgm_config"]
    for name, video in manifest["annotations"].items():
        start, end, action = stored[f"pgm_{name}_tem"].T
        top_k = config["pgm_top_K_train" if video["subset"] == "training" else "pgm_top_K"]
        found = pair_boundaries(start, end, threshold=config["pgm_threshold"]).best(top_k)
        overlap = interval_iou(found.segments[:, None], _segments(video)).max(1)
        ours = np.column_stack([found.segments, start[found.start], end[found.end], found.scores, overlap])
        key = next(key for key in stored if key.startswith(f"pgm_{name}_props"))
        want = stored[key]  # filled up with pairs drawn at random where fewer were found
        rows = {tuple(row[:2].round(6)): row[:6] for row in want}
        missing = [row for row in ours[:, :2].round(6) if tuple(row) not in rows]
        yield f"{key} missing", float(len(missing))
        if not missing:
            yield key, rel_err(ours, np.stack([rows[tuple(row)] for row in ours[:, :2].round(6)]))
        features = proposal_features(action, want[:, :2], num_subsamples=config["num_sample_perbin"])
        if f"pgm_{name}_feat" in stored:
            yield f"pgm_{name}_feat", rel_err(features[::7], stored[f"pgm_{name}_feat"])


def _suppressed(rows: np.ndarray, alpha: float, low: float, high: float, max_kept: int = 101) -> np.ndarray:
    """Soft-NMS of (start, end, score) rows, as the originals run it."""
    picks, scores = soft_nms(
        rows[:, :2], rows[:, 2], alpha=alpha, low=low, high=high, max_kept=max_kept, drop_last=True
    )
    return np.column_stack([rows[picks, :2], scores])


def _results1(folder: Path, manifest: Cfg, stored: Arrays) -> Iterator[tuple[str, float]]:
    pem = stored["pem_in"]
    candidates = {
        "bmn_results": (stored["bmn_props"], (0.4, 0.55, 0.9)),
        "bsn_results": (np.column_stack([pem[:, :2], pem[:, 2:].prod(1)]), (0.75, 0.65, 0.9)),
    }
    durations = {name.removeprefix("v_"): v["duration_second"] for name, v in manifest["annotations"].items()}
    for name, (rows, setting) in candidates.items():
        stated = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        for video, results in stated.get("results", stated).items():
            ours = _suppressed(rows, *setting)[: len(results)]
            segments = ours[:, :2].clip(0, 1) * durations[video]
            want = np.array([[*r["segment"], r["score"]] for r in results])
            yield f"{name} {video}", rel_err(np.column_stack([segments, ours[:, 2]]), want)


# --- 2.x ----------------------------------------------------------------------------------------------------


def _labels2(manifest: Cfg, stored: Arrays) -> Iterator[tuple[str, float]]:
    t, d = manifest["tscale"], manifest["dscale"]
    videos = [_segments(video) for video in manifest["videos"]]
    cells = map_segments(t, d).reshape(-1, 2)
    yield "match_map_first300", rel_err(cells[:300], stored["match_map_first300"])
    yield "match_map", rel_err([cells.sum(), cells.std()], stored["match_map_checks"])
    inside = np.arange(d)[:, None] + np.arange(t) < t  # the cells of segments that end within the video
    yield "bm_mask_rowsum", rel_err(inside.sum(1), stored["bm_mask_rowsum"])
    yield "bm_mask_colsum", rel_err(inside.sum(0), stored["bm_mask_colsum"])
    overlaps = [overlap_target(segments, num_snippets=t, max_duration=d) for segments in videos]
    yield "gt_iou_map", rel_err(np.stack(overlaps), stored["gt_iou_map"])
    boundaries = [boundary_targets(segments, num_snippets=t, width=3 / t) for segments in videos]
    for i, name in enumerate(("gt_start", "gt_end")):
        yield name, rel_err(np.stack([pair[i] for pair in boundaries]), stored[name])


def _losses2(stored: Arrays) -> Iterator[tuple[str, float]]:
    """On answers and draws that the folder's note says how to draw."""
    rng = np.random.Generator(np.random.PCG64(41))
    b, d, t = stored["gt_iou_map"].shape
    shapes = [(0.01, 0.99, (b, 2, d, t)), (0.01, 0.99, (b, t)), (0.01, 0.99, (b, t)), (0, 1, (d, t)), (0, 1, (d, t))]
    maps, start, end, *draws = (torch.from_numpy(rng.uniform(*shape).astype(np.float32)) for shape in shapes)
    for answer in (maps, start, end):
        answer.requires_grad_()
    targets = {name: torch.from_numpy(stored[name]) for name in ("gt_iou_map", "gt_start", "gt_end")}
    losses = reference_losses(BMNOutput(*maps.unbind(1), start, end), targets, draws)
    losses["loss"].backward()
    names = {"loss": "total_with_u", "boundary": "tem", "regression": "pem_reg_with_u", "match": "pem_cls"}
    for ours, theirs in names.items():
        yield f"loss/{theirs}", rel_err(losses[ours].reshape(1), stored[f"loss/{theirs}"])
    yield "grad/start", rel_err(start.grad, stored["grad/start"])
    yield "grad/end", rel_err(end.grad, stored["grad/end"])
    at = np.linspace(0, maps.numel() - 1, 64).astype(np.int64)
    yield "grad/pred_slice64", rel_err(maps.grad.flatten()[at], stored["grad/pred_slice64"])
    exact = maps.grad.double()
    yield "grad/pred", rel_err([exact.sum(), exact.abs().sum()], stored["grad/pred_checks"])


def _post2(manifest: Cfg, stored: Arrays) -> Iterator[tuple[str, float]]:
    setting = manifest["soft_nms"]["alpha"], manifest["soft_nms"]["t1"], manifest["soft_nms"]["t2"]
    for i, (video, annotation) in enumerate(manifest["annos"].items()):
        name = video.removeprefix("v_")
        start, end = stored[f"{name}/pred_start"][0], stored[f"{name}/pred_end"][0]
        masks = is_boundary(start), is_boundary(end)
        for kind, mask in zip(("start", "end"), masks, strict=True):
            yield f"{name}/{kind}_mask", rel_err(mask, np.array(manifest["exp"][f"{kind}_mask"][i]))
        found = pair_boundaries(start, end)
        iou, match = stored[f"{name}/pred_bm"][0].astype(np.float64)
        cells = found.end - found.start, found.start
        rows = np.column_stack([found.segments, found.scores * iou[cells] * match[cells]])
        yield f"{name}/n_candidates", rel_err(len(rows), manifest["exp"]["n_candidates"][i])
        yield f"{name}/candidates_first200", rel_err(rows[:200], stored[f"{name}/candidates_first200"])
        yield f"{name}/candidates", rel_err(rows.sum(0), stored[f"{name}/candidates_checks"])
        kept = _suppressed(rows, *setting)[:100]
        segments = kept[:, :2].clip(0, 1) * annotation["duration_second"]
        yield f"{name}/nms_score", rel_err(kept[:, 2], stored[f"{name}/nms_score"])
        yield f"{name}/nms_segment", rel_err(segments, stored[f"{name}/nms_segment"])
    small = stored["small/in"]
    yield "small/out", rel_err(_suppressed(small, *setting), stored["small/out"])
    yield "small1/out", rel_err(_suppressed(small[:1], *setting), stored["small1/out"])
