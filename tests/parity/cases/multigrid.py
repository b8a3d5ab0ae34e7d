"""Multigrid schedule and split batch norm of PaddleVideo 2.x (SlowFast 8x8 on 32 frames of 224 px)."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from tests.parity.arrays import load_file
from tests.parity.rule import param2, rel_err
from videozoo.engine.duration import Duration, Horizon
from videozoo.engine.multigrid import Multigrid, clip_on, long_cycle, long_grids, plan_grids, short_grids
from videozoo.engine.schedule import multistep
from videozoo.layers.sub_batch_norm import aggregate, split_batch_norm
from videozoo.transforms.augment import Augment
from videozoo.transforms.input import ClipInput

# the recipe that the schedule was made from
STEPS, MAX_EPOCH, EPOCH_FACTOR, FRAMES, CROP_PX, BATCH, STRIDE = (0, 94, 154, 196), 239, 1.5, 32, 224, 8, 2
STATISTICS = ("_mean", "_variance")


def matches(folder: Path, manifest: Mapping[str, Any]) -> bool:
    return (folder / "multigrid.json").is_file()


def compare(folder: Path, manifest: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    stored = json.loads((folder / "multigrid.json").read_text(encoding="utf-8"))
    cycles = [short_grids(grid, CROP_PX) for grid in long_grids(FRAMES, CROP_PX)]
    phases = long_cycle(STEPS, MAX_EPOCH, cycles=cycles, epoch_factor=EPOCH_FACTOR)
    ends = [round(end) for end in itertools.accumulate(phase.amount for phase in phases)]
    shapes = [(p.grid.batch_factor, p.grid.num_frames, p.grid.crop_px) for p in phases]
    theirs = stored["schedule"]
    yield "schedule/stage", rel_err([p.stage for p in phases], [stage for stage, _, _ in theirs])
    yield "schedule/shape", rel_err(shapes, [shape for _, shape, _ in theirs])
    yield "schedule/end", rel_err(ends, [end for *_, end in theirs])
    yield "max_epoch", rel_err(ends[-1], stored["max_epoch"])

    spec = ClipInput(
        num_frames=FRAMES,
        sampling="dense",
        frame_stride=STRIDE,
        crop_px=CROP_PX,
        augment=Augment(short_side_range_px=(256, 320)),
    )
    for update in stored["long_cycle_updates"]:
        grid = phases[next(i for i, end in enumerate(ends) if update["epoch"] < end)].grid
        clip = clip_on(spec, grid)
        ours = (BATCH * grid.batch_factor, clip.num_frames, clip.crop_px, clip.frame_stride)
        keys = ("batch_size", "num_frames", "crop", "long_cycle_sampling_rate")
        yield f"update/{update['epoch']}", rel_err(ours, [update[key] for key in keys])

    # an epoch of a hundred steps; the last stage's rate is compared where it settles (theirs keeps the one before it
    # for the first half of that stage)
    horizon = Horizon(total_steps=MAX_EPOCH * 100, steps_per_epoch=100, batch_size=BATCH)
    rate = multistep(horizon, milestones=[Duration(s) for s in STEPS[1:]], gamma=0.1)
    milestones = [s * 100 for s in STEPS[1:]]
    plan = plan_grids(Multigrid(), horizon, milestones=milestones, num_frames=FRAMES, crop_px=CROP_PX)
    schedule = plan.schedule(rate, scale_lr=True)
    ours = [schedule(first) for first in plan.first_steps]
    lrs = stored["lr_lrs"]
    yield "lr_lrs", rel_err(ours, [*lrs[:-2], lrs[-1]])

    yield from _split_norm(folder)


def _split_norm(folder: Path) -> Iterator[tuple[str, float]]:
    shapes = json.loads((folder / "sub_bn.json").read_text(encoding="utf-8"))
    stored = load_file(folder / "sub_bn.npz")
    state = {name: torch.from_numpy(param2(f"subbn.{name}", shape)) for name, shape in shapes["state"]}
    x, (mean, var) = torch.from_numpy(stored["x"]), (state[f"split_bn.{name}"].view(-1, 3) for name in STATISTICS)
    before = var.clone()
    y = split_batch_norm(x, mean, var, weight=state["weight"], bias=state["bias"])
    yield "sub_bn/y_train", rel_err(y, stored["y_train"])
    # theirs keeps the plain variance, torch that of a sample
    count = x.numel() // x.shape[1] // shapes["num_splits"]
    var = 0.9 * before + (var - 0.9 * before) * (count - 1) / count
    yield "sub_bn/split_mean", rel_err(mean.view(-1), stored["split_mean"])
    yield "sub_bn/split_var", rel_err(var.view(-1), stored["split_var"])
    all_mean, all_var = aggregate(mean, var)
    yield "sub_bn/agg_mean", rel_err(all_mean, stored["agg_mean"])
    yield "sub_bn/agg_var", rel_err(all_var, stored["agg_var"])
    y = torch.nn.functional.batch_norm(x, all_mean, all_var, state["weight"], state["bias"])
    yield "sub_bn/y_eval", rel_err(y, stored["y_eval"])
