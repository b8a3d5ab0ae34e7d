"""Learning rates of PaddleVideo 2.x, step by step, from its own settings."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.parity.rule import rel_err
from videozoo.engine import schedule
from videozoo.engine.duration import Duration, Horizon
from videozoo.engine.schedule import Schedule

# These come to an epoch by adding 1 / num_iters to it again and again, which makes some boundaries one
# iteration late. Ours are asked at the same places: what is compared is the curve.
BY_SUM = ("CustomWarmupPiecewiseDecay", "CustomWarmupAdjustDecay")


def matches(folder: Path, manifest: Mapping[str, Any]) -> bool:
    return (folder / "lr.json").is_file()


def compare(folder: Path, manifest: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for name, case in json.loads((folder / "lr.json").read_text(encoding="utf-8")).items():
        config = dict(case.get("lr_cfg") or _of_title(name))
        by_iteration = case.get("stepped", "per iteration") == "per iteration"
        num_iters = int(config.get("num_iters") or case["num_iters_per_epoch"]) if by_iteration else 1
        num_steps = case["index"][-1] + 1
        total = round(config["max_epoch"] * num_iters) if "max_epoch" in config else num_steps
        # a step of ours is what theirs is stepped by, an iteration or an epoch
        base, factor = build(config, Horizon(total_steps=total, steps_per_epoch=num_iters, batch_size=1))
        places = _places(num_steps, num_iters) if config["name"] in BY_SUM else range(num_steps)
        yield name, rel_err([base * factor(places[step]) for step in case["index"]], case["lr"])


def build(config: Mapping[str, Any], horizon: Horizon) -> tuple[float, Schedule]:
    """(base rate, our schedule) for settings of theirs."""
    kind = config["name"]
    if kind in ("PiecewiseDecay", "CustomPiecewiseDecay"):
        base = config["values"][0]
        return base, schedule.multistep(
            horizon,
            milestones=[Duration(b, "st") for b in config["boundaries"]],
            factors=[value / base for value in config["values"]],
        )
    if kind == "MultiStepDecay":
        return config["learning_rate"], schedule.multistep(
            horizon, milestones=[Duration(m, "st") for m in config["milestones"]], gamma=config["gamma"]
        )
    if kind == "CustomWarmupCosineDecay":
        base = config["cosine_base_lr"]
        return base, schedule.cosine(
            horizon,
            after_warmup=False,
            warmup=Duration(config["warmup_epochs"]),
            warmup_start=config["warmup_start_lr"] / base,
        )
    if kind == "CustomWarmupPiecewiseDecay":
        base, steps = config["step_base_lr"], config["steps"]
        return base, schedule.multistep(
            horizon,
            milestones=[Duration(s) for s in steps[1:]],
            factors=config["lrs"][: len(steps)],
            warmup=Duration(config["warmup_epochs"]),
            warmup_start=config["warmup_start_lr"] / base,
        )
    if kind == "CustomWarmupCosineStepDecay":
        base = config["base_lr"]
        return base, schedule.cosine(
            horizon,
            end=config["min_lr"] / base,
            staircase=True,
            after_warmup=False,
            warmup=Duration(config["warmup_iters"]),
            warmup_start=config["warmup_ratio"],
            warmup_scales=True,
        )
    if kind == "CustomWarmupAdjustDecay":  # its line is (epoch + 1) / warm-up, which leads past the base rate
        return config["base"], schedule.multistep(
            horizon,
            milestones=[Duration(b) for b in config["boundaries"]],
            gamma=config["gamma"],
            warmup=Duration(config["warmup"]),
            warmup_start=1 / config["warmup"],
            warmup_end=1 + 1 / config["warmup"],
        )
    raise ValueError(f"lr: no schedule of ours stands for {kind}")


def _places(num_steps: int, num_iters: int) -> list[float]:
    return [epoch * num_iters for epoch in itertools.accumulate([1 / num_iters] * (num_steps - 1), initial=0.0)]


def _of_title(title: str) -> dict[str, Any]:
    """The settings of the case whose title has them: `Name(base,warmup,gamma,[boundaries],itersN)`."""
    found = re.fullmatch(r"(\w+)\(([^,]+),([^,]+),([^,]+),(\[[^]]*\]),iters(\d+)\)", title)
    if found is None:
        raise ValueError(f"lr: {title}: has no settings")
    name, base, warmup, gamma, boundaries, num_iters = found.groups()
    return {
        "name": name,
        "base": float(base),
        "warmup": float(warmup),
        "gamma": float(gamma),
        "boundaries": json.loads(boundaries),
        "num_iters": int(num_iters),
    }
