"""A run from its recipe: data, model, optimizer and loop put together in a run directory."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image
from torch import nn

from videozoo.config.check import accepted, build
from videozoo.config.recipe import Recipe, recipe_of
from videozoo.contracts.features import FeatureRecipe
from videozoo.data.check import notes_of
from videozoo.data.files import some_of
from videozoo.data.registry import datasets
from videozoo.engine.distributed import World, join_world
from videozoo.engine.duration import Duration, Horizon
from videozoo.engine.evaluate import Evaluation, evaluate
from videozoo.engine.grid_loader import GridLoader
from videozoo.engine.loader import EvalLoader, TrainLoader
from videozoo.engine.multigrid import GridPlan, Multigrid, clip_on, plan_grids
from videozoo.engine.options import Fit
from videozoo.engine.registry import optimizers, schedules
from videozoo.engine.report import draw_matrix
from videozoo.engine.sizes import model_sizes
from videozoo.engine.stopwatch import Stopwatch
from videozoo.engine.trainer import RunResult, Trainer
from videozoo.errors import ConfigError, DataError, WeightsError, WidthError, require
from videozoo.metrics.parts import Matrix
from videozoo.models.memory_format import channels_last
from videozoo.structured import shown
from videozoo.tasks.build import build_task
from videozoo.tasks.registry import tasks
from videozoo.tasks.task import Task
from videozoo.transforms.input import ClipInput, Views, build_input
from videozoo.weights import checkpoint
from videozoo.weights.checkpoint import Checkpoint

__all__ = ["check_features", "check_width", "differences", "in_use", "load_weights", "prepare_run", "train"]

# what may change between a run and its resumption: nothing that it computes depends on these
FREE = {
    "fit.decode_timeout_s",
    "fit.device",
    "fit.eval_batch_size",
    "fit.keep",
    "fit.loggers",
    "fit.max_bad_share",
    "fit.num_workers",
    "fit.parallel",
    "fit.save_every",
    "fit.tensorboard",
    "notes",
}
MOST_OPENED = 100  # samples that are tried for the width of their features
BEFORE_THE_FIRST_STEP = ("recipe.yaml", "log.jsonl", "bad_files.txt", "tb", "wandb", "mlflow_run_id")


def train(
    recipe: Recipe,
    out_dir: str | os.PathLike[str],
    *,
    resume: bool = False,
    init: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> RunResult:
    """Trains what a recipe describes; `out_dir` then holds recipe.yaml, log.jsonl, tb/, last.pt and best.pt.

    Under torchrun every process calls this. A new run that fails before its first step is done leaves nothing.

    Args:
        resume: goes on from `last.pt` of `out_dir`; starts from the beginning where there is none yet.
        init: a checkpoint whose weights the model starts with; its classifier is left out where the number of
            classes is another.

    Raises:
        ConfigError: the recipe is wrong, or `out_dir` is in use and it is not to be resumed.
        DataError, WeightsError: a data set or a checkpoint cannot be used.
        TrainingError: the run had to stop.
    """
    out_dir = Path(out_dir)
    fit: Fit = build(Fit, recipe.section("fit"), where=f"{recipe.source}: fit")
    with join_world(fit.device, where="fit.device") as world:
        restarted = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0
        resume = resume or restarted
        is_new = in_use(out_dir) is None
        trainer = prepare_run(recipe, fit, out_dir, world=world, resume=resume, init=init, progress=progress)
        try:
            return trainer.run()
        except BaseException:
            if world.is_first and is_new and trainer.step == 0:
                _clear(out_dir)
            raise


def prepare_run(
    recipe: Recipe,
    fit: Fit,
    out_dir: Path,
    *,
    world: World,
    resume: bool,
    init: str | os.PathLike[str] | None,
    progress: bool,
    stopwatch: Stopwatch | None = None,
) -> Trainer:
    """The trainer of a recipe's run, ready to `run()`; arguments and errors as for `train`."""
    record = recipe.resolved()
    records = _build_records(recipe, "train")
    class_names = tuple(records.class_names)
    input_spec = build_input(record["input"])
    record["model"] |= model_sizes(recipe, input_spec)
    multi_label = bool(getattr(records, "multi_label", False))
    if multi_label and "multi_label" in accepted(tasks.get(recipe.name_of("task"))):
        record["task"]["multi_label"] = True
    record["task"] = tasks.get(recipe.name_of("task")).fill_in(record["task"], records)  # type: ignore[attr-defined]
    if (made_by := getattr(records, "feature_recipe", None)) is not None:
        record["features"] = dict(made_by)

    pipeline_args = {"num_classes": len(class_names)} if multi_label else {}
    train_pipeline = input_spec.train_pipeline(**pipeline_args)
    advice = "give features of that width, or say theirs in the recipe's input"
    check_width(records, train_pipeline, where=f"{recipe.source}: data.train", advice=advice)

    problem = None if resume else in_use(out_dir)
    if problem := world.from_first(problem):
        raise ConfigError(problem)
    saved = checkpoint.read(out_dir / "last.pt") if resume and (out_dir / "last.pt").is_file() else None
    if saved is not None:
        _check_same_run(saved, record, class_names)

    torch.manual_seed(recipe.seed)
    is_filled = saved is not None or init is not None
    task = build_task(_without_pretrained(record) if is_filled else record, class_names)
    if init is not None and saved is None:
        told = load_weights(task, checkpoint.read(init))
        if progress and world.is_first:
            print("\n".join(told), file=sys.stderr)  # noqa: T201
    task = _place(task.to(world.device), fit, world)

    on_device = _decoding(fit, input_spec, world)
    pin_memory = world.device.type == "cuda" and fit.decode_device == "cpu"
    sharing: dict[str, Any] = {
        "seed": recipe.seed,
        "num_workers": fit.num_workers,
        "timeout_s": fit.decode_timeout_s,
        "rank": world.rank,
        "world_size": world.size,
        "pin_memory": pin_memory,
    }
    batching = {"batch_size": fit.batch_size, "sampler": fit.sampler, "accumulate": fit.accumulate, **sharing}
    loader = TrainLoader(records, on_device(train_pipeline), **batching)
    score = val_records = None
    last: Evaluation | None = None
    if "val" in recipe.data:
        val_records = _build_records(recipe, "val", class_names=class_names)
        check_features(record.get("features"), val_records, where=f"{recipe.source}: data.val")
        val_pipeline = input_spec.eval_pipeline(fit.eval_views, **pipeline_args)
        check_width(val_records, val_pipeline, where=f"{recipe.source}: data.val", advice=advice)
        views = Views.parse(fit.eval_views or str(getattr(input_spec, "views", "1x1")))
        val_loader = EvalLoader(
            val_records,
            on_device(val_pipeline),
            batch_size=views.videos_per_batch(fit.eval_batch_size or loader.micro_batch_size),
            **sharing,
        )

        def score(task: Task) -> Mapping[str, float]:
            nonlocal last
            last = found = evaluate(
                task,
                val_loader,
                input_spec,
                device=world.device,
                precision=fit.precision,
                num_total=len(val_records),
            )
            return {**found.scores, "num_scored": found.num_scored}

    def pictures() -> dict[str, Callable[[], Image.Image]]:
        matrices = [part for part in last.parts() if isinstance(part, Matrix)] if last is not None else []
        return {matrix.name: functools.partial(draw_matrix, matrix) for matrix in matrices}

    if notes := notes_of(records, val_records):
        record["notes"] = notes

    horizon = Horizon(
        total_steps=fit.duration.steps(steps_per_epoch=loader.steps_per_epoch, batch_size=fit.batch_size),
        steps_per_epoch=loader.steps_per_epoch,
        batch_size=fit.batch_size,
    )
    schedule = _build_part(recipe, schedules, "schedule", horizon=horizon)
    if fit.multigrid is not None:
        plan = _plan_grids(recipe, fit.multigrid, horizon, input_spec)
        loader = GridLoader(
            records,
            lambda grid: on_device(clip_on(input_spec, grid).train_pipeline(**pipeline_args)),
            plan=plan,
            split_norms=fit.multigrid.split_norms,
            **batching,
        )
        schedule = plan.schedule(schedule, scale_lr=fit.multigrid.scale_lr)
        horizon = plan.horizon(horizon)
    trainer = Trainer(
        task,
        loader,
        optimizer=_build_part(recipe, optimizers, "optim", task=task),
        schedule=schedule,
        input_spec=input_spec,
        fit=fit,
        horizon=horizon,
        out_dir=out_dir,
        record=record,
        seed=recipe.seed,
        world=world,
        evaluate=score,
        pictures=pictures if fit.tensorboard or fit.loggers else None,
        beside=_extractor_of(records),
        progress=progress,
        stopwatch=stopwatch,
    )
    if saved is not None:
        trainer.restore(saved)
    if world.is_first:
        text = yaml.safe_dump(record, sort_keys=False, allow_unicode=True, width=100)
        try:
            out_dir.mkdir(parents=True, exist_ok=True)
            (out_dir / "recipe.yaml").write_text(text, encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"{out_dir}: cannot be written ({error}); give another --out") from error
    return trainer


def _decoding(fit: Fit, input_spec: Any, world: World) -> Callable[[Any], Any]:
    """What makes a pipeline decode where the recipe says.

    Raises:
        ConfigError: nothing can be decoded there.
        MissingPackageError: TorchCodec is not installed.
    """
    if fit.decode_device == "cpu":
        return lambda pipeline: pipeline
    if world.device.type != "cuda":
        raise ConfigError(f"fit.decode_device: is cuda, and this run is on {world.device}; set it to cpu")
    if not isinstance(input_spec, ClipInput) or input_spec.resize not in ("torch", "float"):
        raise ConfigError(
            "fit.decode_device: is cuda, where only the input 'clip' is made, by input.resize torch or float; "
            "change that, or set it to cpu"
        )
    require("torchcodec.decoders", extra="gpu-decode", purpose="fit.decode_device=cuda")
    return lambda pipeline: dataclasses.replace(pipeline, device=str(world.device))


def _plan_grids(recipe: Recipe, options: Multigrid, horizon: Horizon, input_spec: Any) -> GridPlan:
    if not isinstance(input_spec, ClipInput):
        raise ConfigError(
            f"{recipe.source}: fit.multigrid: makes clips shorter and smaller, input '{recipe.name_of('input')}' has "
            "none; set it to null"
        )
    milestones = [horizon.steps(Duration.parse(m)) for m in recipe.section("schedule").get("milestones", ())]
    return plan_grids(
        options, horizon, milestones=milestones, num_frames=input_spec.num_frames, crop_px=input_spec.crop_px
    )


def load_weights(task: Task, saved: Checkpoint) -> list[str]:
    """Starts the task's model with a checkpoint's weights; what was left out is told in a line each.

    Raises:
        WeightsError: the checkpoint is of another model; nothing has been loaded.
    """
    ours = task.model.state_dict()
    missing = sorted(ours.keys() - saved.model.keys())
    unknown = sorted(saved.model.keys() - ours.keys())
    head = sorted(k for k in ours.keys() & saved.model.keys() if ours[k].shape != saved.model[k].shape)
    wrong = [] if len(saved.class_names) != len(task.class_names) else head
    wrong += [k for k in head if len(saved.class_names) not in saved.model[k].shape and k not in wrong]
    if missing or unknown or wrong:
        lists = (("missing", missing), ("unknown", unknown), ("of another shape", wrong))
        faults = "; ".join(f"{len(keys)} {kind}: {some_of(keys)}" for kind, keys in lists if keys)
        told = saved.section("model")
        backbone = f" (its backbone is {shown(told['backbone'])})" if told.get("backbone") else ""
        raise WeightsError(
            f"{saved.path}: holds the weights of another model ({told['name']}): "
            f"{faults}; "
            f"build the model with the arguments that they were trained with{backbone}"
        )
    task.model.load_state_dict({k: v for k, v in saved.model.items() if k not in head}, strict=False)
    lines = [f"starting with the weights of {saved.path} (step {saved.step})"]
    if head:
        lines.append(
            f"left out, because there were {len(saved.class_names)} classes and now are "
            f"{len(task.class_names)}: "
            f"{', '.join(head)}"
        )
    elif saved.class_names != task.class_names:
        lines.append("its classes have other names, or another order; their weights are kept")
    return lines


def check_features(recipe: Mapping[str, Any] | None, records: Any, *, where: str) -> None:
    """Refuses records whose features were made by another recipe than the one that a model is trained on.

    Where one of the two is not known, nothing can be said.

    Raises:
        DataError: they differ; the message names both.
    """
    theirs = getattr(records, "feature_recipe", None)
    if recipe is not None and theirs is not None:
        expected = FeatureRecipe.from_dict(recipe, where=where)
        expected.check_same(FeatureRecipe.from_dict(theirs, where=where), where=where)


def check_width(records: Any, pipeline: Any, *, where: str, advice: str) -> None:
    """Refuses records whose features are of another width than the input's, by the first that can be read.

    Raises:
        DataError: they are; the message names the file and both widths.
    """
    if pipeline.spec.takes != "features":
        return
    for record in itertools.islice(records, MOST_OPENED):
        try:
            pipeline(record, np.random.default_rng(0))
        except WidthError as error:
            store = getattr(record, "store", None)
            file = "" if store is None else f"{store.place(getattr(record, 'key', record.id))}: "
            raise DataError(f"{where}: {file}{error}; {advice}") from error
        except DataError:  # one that is missing or damaged; the run says so in its place
            continue
        return


def _extractor_of(records: Any) -> dict[str, Any]:
    """What makes the features of these records, to stand in the checkpoints whole."""
    path = getattr(records, "extractor", None)
    return {} if path is None else {"extractor": checkpoint.extractor_payload(checkpoint.read(path))}


def differences(saved: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """(saved, now) by dotted key, of what differs between two records."""
    found: dict[str, tuple[Any, Any]] = {}
    for key in [*saved, *(k for k in now if k not in saved)]:
        a, b = saved.get(key), now.get(key)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            found |= {f"{key}.{k}": pair for k, pair in differences(a, b).items()}
        elif a != b:
            found[key] = (a, b)
    return found


def _check_same_run(saved: Checkpoint, record: Mapping[str, Any], class_names: Sequence[str]) -> None:
    found = {key: pair for key, pair in differences(_completed(saved), record).items() if key not in FREE}
    if saved.class_names != tuple(class_names):
        found["class names"] = (list(saved.class_names), list(class_names))
    if found:
        listed = "; ".join(f"{key}: {shown(before)}, {shown(now)}" for key, (before, now) in found.items())
        raise ConfigError(
            f"{saved.path}: was written by another recipe; differing (saved, now): {listed}; give the same "
            f"recipe and overrides, or start a new run with --init {saved.path}"
        )


def _completed(saved: Checkpoint) -> Mapping[str, Any]:
    """A checkpoint's record, with the defaults of options that have come since it was written."""
    try:
        return {**saved.record, **recipe_of(saved.record, source=str(saved.path)).resolved()}
    except ConfigError:  # one has gone since, and will be named
        return saved.record


def in_use(out_dir: Path) -> str | None:
    """Why a new run cannot be in `out_dir`; None where it can."""
    if out_dir.exists() and not out_dir.is_dir():
        return f"{out_dir}: is a file; give a folder for the run as --out"
    if out_dir.is_dir() and any(out_dir.iterdir()):
        return f"{out_dir}: is not empty; go on with that run by --resume, or give another --out"
    return None


def _clear(out_dir: Path) -> None:
    """Removes what a run writes before its first step, and the folder if nothing else is in it."""
    for name in BEFORE_THE_FIRST_STEP:
        path = out_dir / name
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        out_dir.rmdir()


def _build_records(recipe: Recipe, split: str, *, class_names: Sequence[str] | None = None) -> Any:
    if split not in recipe.data:
        raise ConfigError(f"{recipe.source}: data.{split}: is missing; say where the samples are")
    args = dict(recipe.data[split])
    where = f"{recipe.source}: data.{split}"
    if "name" not in args:
        raise ConfigError(f"{where}.name: is missing; name a data set: {', '.join(datasets.names())}")
    part = datasets.get(args.pop("name"))
    given = {}
    if "class_names" in accepted(part) and "class_names" not in args:
        given["class_names"] = class_names
    return build(part, args, where=where, **given)


def _build_part(recipe: Recipe, registry: Any, section: str, **given: Any) -> Any:
    args = recipe.section(section)
    args.pop("name", None)
    return build(registry.get(recipe.name_of(section)), args, where=f"{recipe.source}: {section}", **given)


def _without_pretrained(record: Mapping[str, Any]) -> dict[str, Any]:
    model = dict(record["model"])
    if "pretrained" in model:
        model["pretrained"] = None  # the checkpoint brings the weights
    return {**record, "model": model}


def _place(task: Task, fit: Fit, world: World) -> Task:
    """The task as its device likes it."""
    shards = fit.parallel == "fsdp" and world.size > 1  # which torch cuts from memory in plain order only
    if fit.channels_last and not shards:
        channels_last(task.model, is_trained_on=world.device)
    if fit.sync_bn and world.size > 1:
        if world.device.type != "cuda":
            raise ConfigError(f"fit.sync_bn: torch has it on GPUs only, this is {world.device}; set it to false")
        for name, module in list(task.named_children()):  # a second student has statistics, too
            setattr(task, name, nn.SyncBatchNorm.convert_sync_batchnorm(module))
    if fit.compile:
        task.model.compile()
    return task
