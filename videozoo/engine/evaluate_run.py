"""Evaluates a run directory or a weight file and writes the report."""

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
from videozoo.contracts.input import InputSpec, Pipeline
from videozoo.contracts.record import ClipRecord, Record
from videozoo.data.clip_folder import subset_folders
from videozoo.engine.distributed import World, join_world
from videozoo.engine.evaluate import Evaluation, evaluate
from videozoo.engine.loader import EvalLoader, Workers
from videozoo.engine.resolve import check_features, check_width
from videozoo.errors import ConfigError, DataError
from videozoo.report.page import write_report
from videozoo.structured import shown
from videozoo.tasks.backend import for_inference
from videozoo.tasks.build import task_from_checkpoint
from videozoo.tasks.fitting import check_data
from videozoo.tasks.registry import tasks
from videozoo.transforms.input import Views, build_input
from videozoo.weights import checkpoint as weights
from videozoo.weights.checkpoint import Checkpoint

__all__ = ["EvalOptions", "evaluate_run", "recordings", "report_dir"]

# characters of a report folder's name, and of a changed value in it (its end, e.g. of a path)
MAX_NAME, MAX_CHANGE = 200, 60

log = logging.getLogger(__name__)

StrPath = str | os.PathLike[str]


@dataclasses.dataclass(frozen=True)
class EvalOptions:
    """The data and the settings of an evaluation, as far as they differ from the run's own.

    Args:
        data: a folder with one folder a class, or a list file; None uses the data of the run's recipe.
        split: the split of the recipe, or of the folder in `data`.
        views: clips x crops, e.g. "10x3"; None uses the views of the input spec.
        input_args: fields of the input spec that differ from training, e.g. more frames or a larger crop.
        task_args: arguments of the task that differ from training, e.g. the width of a beam search.
        data_args: arguments of the data set that differ from the recipe, or from `data`; with a `name` they replace
            the whole section.
        batch_size: samples a batch; None fits as many views as the run's batches had clips.
        num_workers: decoding processes; None uses the run's number.
        device: "auto" uses an accelerator if one is available.
        group_by: a column of the data or a regular expression; see `recordings`.
        precision: number format of the forward pass.
    """

    data: StrPath | None = None
    split: str = "val"
    views: str | None = None
    input_args: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    task_args: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    data_args: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    batch_size: int | None = None
    num_workers: int | None = None
    device: str = "auto"
    group_by: str | None = None
    precision: str = "fp32"


def evaluate_run(
    run: StrPath,
    options: EvalOptions = EvalOptions(),
    *,
    out: StrPath | None = None,
    on_scores: Callable[[Evaluation], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Evaluates a run's best checkpoint, or a weight file; writes report.html and report.json to `out`.

    Under torchrun the processes share the samples; all return the same scores, and the first one writes the report.

    Args:
        out: folder of the report; None uses `report_dir(run, options)`, in eval/ next to the checkpoint.
        on_scores: called by the first process before the report is written, which fails on a full disk.
        progress: called with (samples done, samples of this process) after each batch.

    Raises:
        WeightsError, DataError: the checkpoint or the data cannot be used.
        ConfigError: the recipe has no such split, or an option does not fit the trained weights.
    """
    checkpoint = _checkpoint(run, options.task_args)
    task, trained_input = task_from_checkpoint(checkpoint)
    input_section = _input_section(checkpoint, options.input_args)
    input_spec = build_input(input_section) if options.input_args else trained_input
    section = _data_section(checkpoint, options)
    records, pipeline = _samples(checkpoint, section, input_spec, options)
    views = input_spec.views if options.views is None else options.views
    protocol = {
        "checkpoint": str(checkpoint.path),
        "step": checkpoint.step,
        "model": checkpoint.record["model"],
        "split": options.split,
        "data": section,
        "data notes": _notes_of(checkpoint, section, records, options.split),
        "views (clips x crops)": views,
        "input": input_section,
        "task": checkpoint.record.get("task", {}),
        **({} if options.group_by is None else {"grouped by": options.group_by}),
    }
    groups = None if options.group_by is None else recordings(records, options.group_by)
    with join_world(options.device) as world:
        share = len(range(world.rank, len(records), world.size))
        found = evaluate(
            for_inference(task.to(world.device)),
            _loader_of(records, pipeline, checkpoint.record.get("fit", {}), world, views=views, options=options),
            input_spec,
            device=world.device,
            precision=options.precision,
            num_total=len(records),
            protocol=protocol,
            groups=groups,
            progress=None if progress is None else lambda done: progress(done, share),
        )
        if world.is_first:
            if on_scores is not None:
                on_scores(found)
            folder = report_dir(run, options) if out is None else Path(out)
            write_report(found, folder, title=f"{checkpoint.path.parent.name}: {folder.name}")
    return found


def recordings(records: Iterable[Record], group_by: str) -> dict[str, str]:
    """Returns the recording of each record, by id.

    Args:
        group_by: a column of the data (of the records' `columns`), or a regular expression that is searched in the id,
            then in the file's name; the recording is its first group, or the whole match.

    Raises:
        ConfigError: `group_by` is neither a column nor a valid regular expression.
        DataError: a record does not have the column, or does not match the expression.
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
            raise DataError(f"{id_}: {lost} '{group_by}', so its recording is unknown; correct --group-by")
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


def report_dir(run: StrPath, options: EvalOptions = EvalOptions()) -> Path:
    """Returns the default folder of the report of an evaluation."""
    parts = [options.split]
    if options.data is not None:
        path = Path(options.data).resolve()
        is_split = path.stem in ("train", "val", "test")  # the name of a report on the run's own data
        name = f"{path.parent.name}-{path.stem}" if is_split else path.stem
        parts = [name, *([options.split] if options.split != "val" else [])]
    changes = [*options.input_args.items(), *options.task_args.items(), *options.data_args.items()]
    changed = [f"{name}={str(value)[-MAX_CHANGE:]}".replace(os.sep, "_") for name, value in changes]
    name = "-".join([*parts, *([options.views] if options.views else []), *changed])
    return weights.find(run).parent / "eval" / name[:MAX_NAME]


def _checkpoint(run: StrPath, task_args: Mapping[str, Any]) -> Checkpoint:
    """Reads the checkpoint of a run, with other task arguments."""
    saved = weights.read(run)
    saved.check_code()
    return _with_task_args(saved, task_args)


def _with_task_args(checkpoint: Checkpoint, args: Mapping[str, Any]) -> Checkpoint:
    """Returns the checkpoint with other task arguments; those that the weights depend on cannot change."""
    if not args:
        return checkpoint
    trained = checkpoint.section("task")
    part: Any = tasks.get(trained["name"])
    for key, value in args.items():
        if key in ("name", *part.learned_args) and value != trained.get(key):
            raise ConfigError(
                f"task.{key}: is {shown(value)} but the weights were trained with {shown(trained.get(key))}; train "
                "again to change it"
            )
        if key in part.training_args:
            raise ConfigError(f"task.{key}: affects training only; leave it out")
    return dataclasses.replace(checkpoint, record={**checkpoint.record, "task": laid_over(trained, args)})


def _input_section(checkpoint: Checkpoint, args: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the `input` section to evaluate on; refuses arguments that do not fit the shapes of the weights."""
    trained = checkpoint.section("input")
    for key in ("name", "feature_dim", "feature_dims"):
        if key in args and plain(args[key]) != plain(trained.get(key)):
            raise ConfigError(
                f"input.{key}: is {shown(args[key])} but the weights have the shape for {shown(trained.get(key))}; "
                "train again to change it"
            )
    return {**trained, **args}


def _data_section(checkpoint: Checkpoint, options: EvalOptions) -> dict[str, Any]:
    """Returns the `data` section to evaluate on: the data set's name and its arguments."""
    args, split = options.data_args, options.split
    if "class_names" in args or args.get("num_classes", len(checkpoint.class_names)) != len(checkpoint.class_names):
        key = "class_names" if "class_names" in args else "num_classes"
        raise ConfigError(
            f"data.{split}.{key}: cannot change after training; the weights have {len(checkpoint.class_names)} "
            "classes; leave it out"
        )
    if options.data is not None and "name" in args:
        raise ConfigError(f"data.{split}.name: --data also sets the format; give data.{split}.path=... instead of it")
    replaced = options.data is None and "name" in args and split not in checkpoint.record.get("data", {})
    given = {} if replaced else _given_section(checkpoint, options.data, split)
    return dict(laid_over({split: given}, {split: args})[split])


def _given_section(checkpoint: Checkpoint, data: StrPath | None, split: str) -> dict[str, Any]:
    """Returns the `data` section of a path, or of the checkpoint's recipe."""
    if data is not None:
        path = Path(data)
        if not path.exists():
            raise DataError(f"{path}: there is no such folder or list file; correct --data")
        labeled_features = checkpoint.record.get("data", {}).get(split, {}).get("name") == "features"
        if path.is_file():
            return {"name": "features" if labeled_features else "clip_list", "path": str(path)}
        inside = path / split
        if labeled_features:
            return {"name": "features", "path": str(inside if inside.is_dir() else path)}
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


def _samples(
    checkpoint: Checkpoint, section: Mapping[str, Any], input_spec: InputSpec, options: EvalOptions
) -> tuple[Dataset[Record], Pipeline]:
    """Returns the records and their pipeline, after a check that they fit the input and the weights."""
    where = f"{checkpoint.path}: data.{options.split}"
    records = _records(checkpoint, section, where=where)
    check_data(records, input_spec, where=where)
    check_features(checkpoint.record.get("features"), records, where=where)
    num_classes = len(checkpoint.class_names) if records.multi_label else None
    pipeline = input_spec.eval_pipeline(options.views, num_classes=num_classes)
    check_width(records, pipeline, where=where, advice="give features like those of the training data")
    return records, pipeline


def _records(checkpoint: Checkpoint, section: Mapping[str, Any], *, where: str) -> Dataset[Record]:
    """Returns the data set with its labels numbered like the checkpoint's classes."""
    part, args = DATA.part(section, where=where)
    args.pop("class_names", None)
    given = {"class_names": checkpoint.class_names} if "class_names" in accepted(part) else {}
    records: Dataset[Record] = build(part, args, where=where, **given)
    return records


def _notes_of(checkpoint: Checkpoint, section: Mapping[str, Any], records: Dataset[Record], split: str) -> list[str]:
    """Returns the notes about the data, including those stored by training on the same data."""
    notes = list(records.notes)
    if section == checkpoint.record.get("data", {}).get(split):
        kept = [note for note in checkpoint.record.get("notes", {}).get(split, ()) if note not in notes]
        for note in kept:  # notes that compare with the training data, which is not read here
            log.warning("data.%s: %s", split, note)
        notes += kept
    return notes


def _loader_of(
    records: Dataset[Record],
    pipeline: Pipeline,
    fit: Mapping[str, Any],
    world: World,
    *,
    views: str,
    options: EvalOptions,
) -> EvalLoader:
    """Returns this process's share of the samples; options without a value are those of training."""
    workers = Workers(
        int(fit.get("num_workers", 0)) if options.num_workers is None else options.num_workers,
        timeout_s=float(fit.get("decode_timeout_s", 0.0)),
        pin_memory=world.device.type == "cuda",
    )
    batch_size = options.batch_size or Views.parse(views).videos_per_batch(_clips_per_batch(fit))
    return EvalLoader(records, pipeline, batch_size=batch_size, workers=workers, world=world)


def _clips_per_batch(fit: Mapping[str, Any]) -> int:
    return int(fit.get("eval_batch_size") or fit.get("batch_size") or 16)
