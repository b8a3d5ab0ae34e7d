"""From a run directory or a weight file to an evaluation with its report."""

from __future__ import annotations

import dataclasses
import logging
import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from videozoo.config.check import accepted, build
from videozoo.config.recipe import DATA, laid_over, plain
from videozoo.contracts.dataset import Dataset
from videozoo.contracts.input import Pipeline
from videozoo.contracts.record import ClipRecord, Record
from videozoo.data.clip_folder import subset_folders
from videozoo.engine.distributed import World, join_world
from videozoo.engine.evaluate import Evaluation, evaluate
from videozoo.engine.loader import EvalLoader
from videozoo.engine.resolve import check_features, check_width
from videozoo.errors import ConfigError, DataError
from videozoo.report.page import write_report
from videozoo.structured import shown
from videozoo.tasks.build import task_from_checkpoint
from videozoo.tasks.fitting import check_data
from videozoo.tasks.registry import tasks
from videozoo.transforms.input import Views, build_input
from videozoo.weights import checkpoint as weights
from videozoo.weights.checkpoint import Checkpoint

__all__ = ["evaluate_run", "recordings", "report_dir"]

MAX_NAME, MAX_CHANGE = 200, 60  # of a report's folder; of a change in it, whose end tells more than its beginning

log = logging.getLogger(__name__)

StrPath = str | os.PathLike[str]


def evaluate_run(
    run: StrPath,
    *,
    data: StrPath | None = None,
    split: str = "val",
    views: str | None = None,
    input_args: Mapping[str, Any] | None = None,
    task_args: Mapping[str, Any] | None = None,
    data_args: Mapping[str, Any] | None = None,
    batch_size: int | None = None,
    num_workers: int | None = None,
    device: str = "auto",
    group_by: str | None = None,
    precision: str = "fp32",
    out: StrPath | None = None,
    on_scores: Callable[[Evaluation], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """The scores of a run's best checkpoint (or of a weight file), with report.html and report.json in `out`.

    Under torchrun the processes share the samples; all return the same, the first one writes.

    Args:
        data: a folder with one folder a class, or a list file; None takes the data of the run's own recipe.
        split: which split of the recipe, or of the folder in `data`.
        views: "10x3" looks at 3 crops of 10 clips; None takes the input spec's own.
        input_args: fields of the input spec that differ from training, as papers test on more frames or larger crops.
        task_args: arguments of the task that differ from training, such as the width of a beam search.
        data_args: arguments of the data set that differ from what the recipe, or `data`, says; with a `name` they
            stand alone.
        batch_size: samples a batch; None fits as many views as the run's batches had clips.
        num_workers: processes that decode; None takes the run's.
        group_by: a column of the data or a regular expression; see `recordings`.
        out: None writes to `report_dir(...)`, a folder in eval/ beside the checkpoint.
        on_scores: called by the first process before the report is written, which a full disk may prevent.
        progress: called with (samples done, samples of this process) after each batch.

    Raises:
        WeightsError: no usable checkpoint.
        ConfigError: the recipe has no such split, or an option that does not fit the run: the classes and the shapes of
            the weights are as they were trained.
        DataError: the data cannot be read, or has no labels.
    """
    saved = weights.read(run)
    saved.check_code()
    checkpoint = _with_task_args(saved, task_args or {})
    task, input_spec = task_from_checkpoint(checkpoint)
    seen_input = {**checkpoint.section("input"), **(input_args or {})}
    if input_args:
        _check_sizes(checkpoint.section("input"), input_args)
        input_spec = build_input(seen_input)
    section = _data_section(checkpoint, data, split, data_args or {})
    records = _records(checkpoint, section, where=f"{checkpoint.path}: data.{split}")
    check_data(records, input_spec, where=f"{checkpoint.path}: data.{split}")
    check_features(checkpoint.record.get("features"), records, where=f"{checkpoint.path}: data.{split}")
    num_classes = len(checkpoint.class_names) if records.multi_label else None
    pipeline = input_spec.eval_pipeline(views, num_classes=num_classes)
    advice = "give features as the run was trained on"
    check_width(records, pipeline, where=f"{checkpoint.path}: data.{split}", advice=advice)
    notes = _notes_of(checkpoint, section, records, split)
    groups = None if group_by is None else recordings(records, group_by)
    seen_views = input_spec.views if views is None else views
    fit: Mapping[str, Any] = checkpoint.record.get("fit", {})
    with join_world(device) as world:
        batch_size = batch_size or Views.parse(seen_views).videos_per_batch(_clips_per_batch(fit))
        loader = _loader_of(records, pipeline, fit, world, batch_size=batch_size, num_workers=num_workers)
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
                "data notes": notes,
                "views (clips x crops)": seen_views,
                "input": seen_input,
                "task": checkpoint.record.get("task", {}),
                **({} if group_by is None else {"grouped by": group_by}),
            },
            groups=groups,
            progress=None if progress is None else lambda done: progress(done, share),
        )
        if world.is_first:
            if on_scores is not None:
                on_scores(found)
            own = report_dir(
                run,
                data=data,
                split=split,
                views=views,
                input_args=input_args,
                task_args=task_args,
                data_args=data_args,
            )
            folder = own if out is None else Path(out)
            write_report(found, folder, title=f"{checkpoint.path.parent.name}: {folder.name}")
    return found


def recordings(records: Iterable[Record], group_by: str) -> dict[str, str]:
    """Returns the recording of each record, by id.

    Args:
        group_by: a column of the data (of the records' `columns`), or a regular
            expression that is searched in the id, then in the file's name; the recording is its first group, or all
            that it matches.

    Raises:
        ConfigError: neither a column nor a regular expression.
        DataError: a record without that column, or whose id and file name do not match.
    """
    rows = list(records)
    columns = dict.fromkeys(name for row in rows for name in row.columns)
    if group_by in columns:
        found = {row.id: _column(row, group_by) for row in rows}
        lost = "has no"
    else:
        try:
            pattern = re.compile(group_by)
        except re.error as error:
            named = f"; the data has the columns {', '.join(columns)}" if columns else ""
            raise ConfigError(
                f"group_by: '{group_by}' is neither a column of the data nor a regular expression ({error}){named}"
            ) from error
        found = {row.id: _matched(row, pattern) for row in rows}
        lost = "does not match"
    for id_, group in found.items():
        if group is None:
            raise DataError(f"{id_}: {lost} '{group_by}', the recording it is grouped by; correct --group-by")
    return {id_: group for id_, group in found.items() if group is not None}


def _column(record: Record, name: str) -> str | None:
    value = record.columns.get(name)
    return None if value is None else str(value)


def _matched(record: Record, pattern: re.Pattern[str]) -> str | None:
    names = (record.id, record.path.name if isinstance(record, ClipRecord) else "")
    match = next(filter(None, map(pattern.search, names)), None)
    if match is None:
        return None
    return next((group for group in match.groups() if group is not None), match[0])


def report_dir(
    run: StrPath,
    *,
    data: StrPath | None = None,
    split: str = "val",
    views: str | None = None,
    input_args: Mapping[str, Any] | None = None,
    task_args: Mapping[str, Any] | None = None,
    data_args: Mapping[str, Any] | None = None,
) -> Path:
    """Where the report of an evaluation goes unless it is told otherwise."""
    parts = [split]
    if data is not None:
        path = Path(data).resolve()
        is_split = path.stem in ("train", "val", "test")  # the name of a report of the run's own data
        name = f"{path.parent.name}-{path.stem}" if is_split else path.stem
        parts = [name, *([split] if split != "val" else [])]
    changes = [change for args in (input_args, task_args, data_args) for change in (args or {}).items()]
    changed = [f"{name}={str(value)[-MAX_CHANGE:]}".replace(os.sep, "_") for name, value in changes]
    name = "-".join([*parts, *([views] if views else []), *changed])
    return weights.find(run).parent / "eval" / name[:MAX_NAME]


def _with_task_args(checkpoint: Checkpoint, args: Mapping[str, Any]) -> Checkpoint:
    """The checkpoint with other arguments of its task, where its weights leave them free."""
    if not args:
        return checkpoint
    trained = checkpoint.section("task")
    part: Any = tasks.get(trained["name"])
    for key, value in args.items():
        if key in ("name", *part.learned_args) and value != trained.get(key):
            raise ConfigError(
                f"task.{key}: is {shown(value)}; the weights have learned with {shown(trained.get(key))}, train anew "
                "to change it"
            )
        if key in part.training_args:
            raise ConfigError(f"task.{key}: matters in training only; leave it out")
    return dataclasses.replace(checkpoint, record={**checkpoint.record, "task": laid_over(trained, args)})


def _check_sizes(trained: Mapping[str, Any], args: Mapping[str, Any]) -> None:
    """Refuses what makes the input another one than the weights have the shape for."""
    for key in ("name", "feature_dim", "feature_dims"):
        if key in args and plain(args[key]) != plain(trained.get(key)):
            raise ConfigError(
                f"input.{key}: is {shown(args[key])}; the shape of the weights is that of {shown(trained.get(key))}, "
                "train anew to change it"
            )


def _data_section(checkpoint: Checkpoint, data: StrPath | None, split: str, args: Mapping[str, Any]) -> dict[str, Any]:
    """The `data` section to evaluate on: a name of a format and its arguments, those of `args` in their places."""
    if "class_names" in args or args.get("num_classes", len(checkpoint.class_names)) != len(checkpoint.class_names):
        key = "class_names" if "class_names" in args else "num_classes"
        raise ConfigError(
            f"data.{split}.{key}: the classes are the {len(checkpoint.class_names)} that the weights have learned; "
            "leave it out"
        )
    if data is not None and "name" in args:
        raise ConfigError(f"data.{split}.name: --data says the format, too; give data.{split}.path=... instead of it")
    unknown = data is None and "name" in args and split not in checkpoint.record.get("data", {})
    given = {} if unknown else _told_section(checkpoint, data, split)
    return dict(laid_over({split: given}, {split: args})[split])


def _told_section(checkpoint: Checkpoint, data: StrPath | None, split: str) -> dict[str, Any]:
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


def _records(checkpoint: Checkpoint, section: Mapping[str, Any], *, where: str) -> Dataset[Record]:
    """The data set, its labels numbered as the checkpoint's classes are."""
    part, args = DATA.part(section, where=where)
    args.pop("class_names", None)
    given = {"class_names": checkpoint.class_names} if "class_names" in accepted(part) else {}
    records: Dataset[Record] = build(part, args, where=where, **given)
    return records


def _notes_of(checkpoint: Checkpoint, section: Mapping[str, Any], records: Dataset[Record], split: str) -> list[str]:
    """Returns the notes of the data, with those that training kept about the same data."""
    notes = list(records.notes)
    if section == checkpoint.record.get("data", {}).get(split):
        kept = [note for note in checkpoint.record.get("notes", {}).get(split, ()) if note not in notes]
        for note in kept:  # about the training data, too, which is not read here
            log.warning("data.%s: %s", split, note)
        notes += kept
    return notes


def _loader_of(
    records: Dataset[Record],
    pipeline: Pipeline,
    fit: Mapping[str, Any],
    world: World,
    *,
    batch_size: int,
    num_workers: int | None,
) -> EvalLoader:
    """Returns this process's share of the samples, decoded as in training where nothing else is said."""
    return EvalLoader(
        records,
        pipeline,
        batch_size=batch_size,
        num_workers=int(fit.get("num_workers", 0)) if num_workers is None else num_workers,
        rank=world.rank,
        world_size=world.size,
        timeout_s=float(fit.get("decode_timeout_s", 0.0)),
        pin_memory=world.device.type == "cuda",
    )


def _clips_per_batch(fit: Mapping[str, Any]) -> int:
    return int(fit.get("eval_batch_size") or fit.get("batch_size") or 16)
