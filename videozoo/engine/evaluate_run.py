"""From a run directory or a weight file to an evaluation with its report."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from videozoo.config.check import accepted, build
from videozoo.data.clip_folder import subset_folders
from videozoo.data.registry import datasets
from videozoo.engine.distributed import join_world
from videozoo.engine.evaluate import Evaluation, evaluate
from videozoo.engine.loader import EvalLoader
from videozoo.engine.report import write_report
from videozoo.engine.run import check_features
from videozoo.errors import ConfigError, DataError
from videozoo.tasks.build import task_from_checkpoint
from videozoo.transforms.input import Views, build_input
from videozoo.weights import checkpoint as weights
from videozoo.weights.checkpoint import Checkpoint

__all__ = ["evaluate_run", "report_dir"]

StrPath = str | os.PathLike[str]


def evaluate_run(
    run: StrPath,
    *,
    data: StrPath | None = None,
    split: str = "val",
    views: str | None = None,
    input_args: Mapping[str, Any] | None = None,
    batch_size: int | None = None,
    num_workers: int | None = None,
    device: str = "auto",
    precision: str = "fp32",
    out: StrPath | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """The scores of a run's best checkpoint (or of a weight file), with report.html and report.json in `out`.

    Under torchrun the processes share the samples; all return the same, the first one writes.

    Args:
        data: a folder with one folder a class, or a list file; None takes the data of the run's own recipe.
        split: which split of the recipe, or of the folder in `data`.
        views: "10x3" looks at 3 crops of 10 clips; None takes the input spec's own.
        input_args: fields of the input spec that differ from training, as papers test on more frames or larger crops.
        batch_size: samples a batch; None fits as many views as the run's batches had clips.
        num_workers: processes that decode; None takes the run's.
        out: None writes to `report_dir(...)`, a folder in eval/ beside the checkpoint.
        progress: called with (samples done, samples of this process) after each batch.

    Raises:
        WeightsError: no usable checkpoint.
        ConfigError: the recipe has no such split, or an option that does not fit the run.
        DataError: the data cannot be read, or has no labels.
    """
    checkpoint = weights.read(run)
    task, input_spec = task_from_checkpoint(checkpoint)
    seen_input = {**checkpoint.record["input"], **(input_args or {})}
    if input_args:
        input_spec = build_input(seen_input)
    section = _data_section(checkpoint, data, split)
    records = _records(checkpoint, section, where=f"{checkpoint.path}: data.{split}")
    check_features(checkpoint.record.get("features"), records, where=f"{checkpoint.path}: data.{split}")
    num_classes = len(checkpoint.class_names) if getattr(records, "multi_label", False) else None
    pipeline = input_spec.eval_pipeline(views, num_classes=num_classes)
    seen_views = str(getattr(input_spec, "views", "1x1")) if views is None else views
    fit: Mapping[str, Any] = checkpoint.record.get("fit", {})
    with join_world(device) as world:
        loader = EvalLoader(
            records,
            pipeline,
            batch_size=batch_size or _batch_size(fit, seen_views),
            num_workers=int(fit.get("num_workers", 0)) if num_workers is None else num_workers,
            rank=world.rank,
            world_size=world.size,
            timeout_s=float(fit.get("decode_timeout_s", 0.0)),
            pin_memory=world.device.type == "cuda",
        )
        share = len(range(world.rank, len(records), world.size))
        found = evaluate(
            task.to(world.device),
            loader,
            input_spec,
            device=world.device,
            precision=precision,
            num_total=len(records),
            protocol={
                "checkpoint": str(checkpoint.path),
                "step": checkpoint.step,
                "model": checkpoint.record["model"],
                "split": split,
                "data": section,
                "data notes": list(getattr(records, "notes", ())),
                "views (clips x crops)": seen_views,
                "input": seen_input,
            },
            progress=None if progress is None else lambda done: progress(done, share),
        )
        if world.is_first:
            own = report_dir(run, data=data, split=split, views=views, input_args=input_args)
            folder = own if out is None else Path(out)
            write_report(found, folder, title=f"{checkpoint.path.parent.name}: {folder.name}")
    return found


def report_dir(
    run: StrPath,
    *,
    data: StrPath | None = None,
    split: str = "val",
    views: str | None = None,
    input_args: Mapping[str, Any] | None = None,
) -> Path:
    """Where the report of an evaluation goes unless it is told otherwise."""
    parts = [split]
    if data is not None:
        path = Path(data).resolve()
        is_split = path.stem in ("train", "val", "test")  # the name of a report of the run's own data
        name = f"{path.parent.name}-{path.stem}" if is_split else path.stem
        parts = [name, *([split] if split != "val" else [])]
    changed = [f"{name}={value}".replace(os.sep, "_") for name, value in (input_args or {}).items()]
    return weights.find(run).parent / "eval" / "-".join([*parts, *([views] if views else []), *changed])


def _data_section(checkpoint: Checkpoint, data: StrPath | None, split: str) -> dict[str, Any]:
    """The `data` section to evaluate on: a name of a format and its arguments."""
    if data is not None:
        path = Path(data)
        if not path.exists():
            raise DataError(f"{path}: there is no such folder or list file; correct --data")
        if path.is_file():
            return {"name": "clip_list", "path": str(path)}
        inside = path / split
        if not inside.is_dir():
            inside = (subset_folders(path) or {}).get(split, path)  # type: ignore[call-overload]
        return {"name": "clip_folder", "path": str(inside)}
    splits: Mapping[str, Any] = checkpoint.record.get("data", {})
    if split not in splits:
        raise ConfigError(
            f"{checkpoint.path}: its recipe has no data.{split}, only {', '.join(splits) or 'none at all'}; "
            "choose another --split, or give the data with --data PATH"
        )
    return dict(splits[split])


def _records(checkpoint: Checkpoint, section: Mapping[str, Any], *, where: str) -> Any:
    """The data set, its labels numbered as the checkpoint's classes are."""
    args = {key: value for key, value in section.items() if key not in ("name", "class_names")}
    part = datasets.get(section["name"])
    given = {"class_names": checkpoint.class_names} if "class_names" in accepted(part) else {}
    return build(part, args, where=where, **given)


def _batch_size(fit: Mapping[str, Any], views: str) -> int:
    seen = Views.parse(views)
    clips = int(fit.get("eval_batch_size") or fit.get("batch_size") or 16)
    return max(1, clips // (seen.clips * seen.crops))
