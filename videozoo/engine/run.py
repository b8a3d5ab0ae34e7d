"""Trains a recipe: builds data, model, optimizer and trainer in a run directory."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from videozoo.config.check import build
from videozoo.config.recipe import Recipe
from videozoo.data.files import some_of
from videozoo.engine.crashes import surviving_crashes
from videozoo.engine.distributed import World, join_world
from videozoo.engine.duration import Duration, Horizon
from videozoo.engine.evaluator import ValidationEvaluator
from videozoo.engine.fetch import Fetcher
from videozoo.engine.grid_loader import GridLoader
from videozoo.engine.loader import EvalLoader, TrainLoader, Workers
from videozoo.engine.multigrid import GridPlan, clip_on, plan_grids
from videozoo.engine.options import Fit
from videozoo.engine.registry import optimizers, schedules
from videozoo.engine.resolve import ResolvedRun, resolve
from videozoo.engine.run_files import RunFiles, claimed, in_use, write_recipe
from videozoo.engine.same_run import check_same_run
from videozoo.engine.schedule import Schedule
from videozoo.engine.trainer import RunResult, Trainer
from videozoo.errors import ConfigError, WeightsError, require
from videozoo.models.memory_format import channels_last
from videozoo.structured import shown
from videozoo.tasks.build import build_task
from videozoo.tasks.task import Task
from videozoo.transforms.input import ClipInput, Views
from videozoo.weights import checkpoint
from videozoo.weights.checkpoint import Checkpoint

__all__ = ["Loaders", "build_loaders", "load_weights", "prepare_run", "train"]


def train(
    recipe: Recipe,
    out_dir: str | os.PathLike[str],
    *,
    resume: bool = False,
    init: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> RunResult:
    """Trains a recipe; `out_dir` then holds recipe.yaml, log.jsonl, tb/, last.pt and best.pt.

    Under torchrun every process calls this. If a new run fails before its first step, its folder is removed.

    Args:
        resume: continue from `last.pt` of `out_dir`, or start from the beginning if it does not exist yet.
        init: checkpoint with the initial weights; its classifier is left out if the number of classes differs.

    Raises:
        ConfigError: the recipe is wrong, `out_dir` is not empty and `resume` is false, or another process trains in it.
        DataError, WeightsError: a data set or a checkpoint cannot be used.
        TrainingError: the run cannot continue.
    """
    out_dir = Path(out_dir)
    fit: Fit = build(Fit, recipe.section("fit"), where=f"{recipe.source}: fit")
    with join_world(fit.device, where="fit.device") as world:
        resume = resume or int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0
        return _train(recipe, out_dir, world=world, resume=resume, init=init, progress=progress)


def _train(
    recipe: Recipe,
    out_dir: Path,
    *,
    world: World,
    resume: bool,
    init: str | os.PathLike[str] | None,
    progress: bool,
) -> RunResult:
    """Trains as one of the processes of `world`; the trainer, which refers to the process group, is gone afterwards."""
    is_new = in_use(out_dir) is None
    with claimed(out_dir, world=world, resume=resume):
        trainer = prepare_run(resolve(recipe), out_dir, world=world, resume=resume, init=init, progress=progress)
        try:
            if world.is_first:
                write_recipe(out_dir, trainer.files.record)
            with surviving_crashes(_fetchers(trainer), trainer.files, world=world):
                return trainer.run(progress=progress)
        except BaseException:
            if is_new and trainer.step == 0:
                trainer.files.clear()
            raise


def prepare_run(
    resolved: ResolvedRun,
    out_dir: Path,
    *,
    world: World,
    resume: bool = False,
    init: str | os.PathLike[str] | None = None,
    progress: bool = False,
) -> Trainer:
    """Returns the trainer of a run, ready to `run()`; see `train` for the arguments and errors."""
    fit, recipe, record = resolved.fit, resolved.recipe, resolved.record
    files = RunFiles(out_dir, record=record, extras=resolved.extras(), keep=fit.keep, writes=world.is_first)
    saved = checkpoint.read(files.last) if resume and files.last.is_file() else None
    if saved is not None:
        check_same_run(saved, record, resolved.class_names)
    torch.manual_seed(recipe.seed)
    is_filled = saved is not None or init is not None
    task = build_task(_without_pretrained(record) if is_filled else record, resolved.class_names)
    if init is not None and saved is None:
        lines = load_weights(task, checkpoint.read(init))
        if progress and world.is_first:
            print("\n".join(lines), file=sys.stderr)  # noqa: T201
    task = _prepare_for_device(task.to(world.device), fit, world)
    loaders = build_loaders(resolved, world)
    trainer = Trainer(
        task,
        loaders.train,
        optimizer=_build_part(recipe, optimizers, "optim", task=task),
        schedule=loaders.schedule,
        horizon=loaders.horizon,
        input_spec=resolved.input_spec,
        fit=fit,
        files=files,
        world=world,
        evaluate=None
        if loaders.val is None
        else ValidationEvaluator(loaders.val, resolved.input_spec, world=world, precision=fit.precision),
    )
    if saved is not None:
        trainer.restore(saved)
    return trainer


@dataclasses.dataclass(frozen=True)
class Loaders:
    """The batches of a run, with the run's length and learning-rate schedule."""

    train: TrainLoader
    val: EvalLoader | None
    horizon: Horizon
    schedule: Schedule


def build_loaders(resolved: ResolvedRun, world: World) -> Loaders:
    """Returns this process's share of a run's batches.

    Raises:
        ConfigError: the batch size, decode_device or multigrid does not fit the data or the input.
    """
    fit = resolved.fit
    on_device = _decoding(fit, resolved.input_spec, world)
    sharing: dict[str, Any] = {
        "seed": resolved.recipe.seed,
        "workers": Workers(
            fit.num_workers,
            timeout_s=fit.decode_timeout_s,
            pin_memory=world.device.type == "cuda" and fit.decode_device == "cpu",
        ),
        "world": world,
    }
    batching = {"batch_size": fit.batch_size, "sampler": fit.sampler, "accumulate": fit.accumulate, **sharing}
    train = TrainLoader(resolved.train.records, on_device(resolved.train.pipeline), **batching)
    val = None
    if resolved.val is not None:
        views = Views.parse(fit.eval_views or resolved.input_spec.views)
        batch_size = views.videos_per_batch(fit.eval_batch_size or train.micro_batch_size)
        val = EvalLoader(resolved.val.records, on_device(resolved.val.pipeline), batch_size=batch_size, **sharing)
    horizon = Horizon(
        total_steps=fit.duration.steps(steps_per_epoch=train.steps_per_epoch, batch_size=fit.batch_size),
        steps_per_epoch=train.steps_per_epoch,
        batch_size=fit.batch_size,
    )
    schedule = _build_part(resolved.recipe, schedules, "schedule", horizon=horizon)
    if fit.multigrid is None:
        return Loaders(train, val, horizon, schedule)
    plan = _plan_grids(resolved, horizon)
    grids = GridLoader(
        resolved.train.records,
        lambda grid: on_device(resolved.pipeline_of(clip_on(resolved.input_spec, grid))),
        plan=plan,
        split_norms=fit.multigrid.split_norms,
        **batching,
    )
    return Loaders(grids, val, plan.horizon(horizon), plan.schedule(schedule, scale_lr=fit.multigrid.scale_lr))


def _fetchers(trainer: Trainer) -> dict[str, Fetcher]:
    """Returns the fetchers of a run by split."""
    val = {"val": trainer.evaluate.loader} if isinstance(trainer.evaluate, ValidationEvaluator) else {}
    return {"train": trainer.loader.fetcher, **{split: loader.fetcher for split, loader in val.items()}}


def _decoding(fit: Fit, input_spec: Any, world: World) -> Callable[[Any], Any]:
    """Returns a function that makes a pipeline decode on the recipe's `fit.decode_device`.

    Raises:
        ConfigError: this run or input cannot decode on that device.
        MissingPackageError: TorchCodec is not installed.
    """
    if fit.decode_device == "cpu":
        return lambda pipeline: pipeline
    if world.device.type != "cuda":
        raise ConfigError(f"fit.decode_device: is cuda but the run is on {world.device}; set it to cpu")
    if not isinstance(input_spec, ClipInput) or input_spec.resize not in ("torch", "float"):
        raise ConfigError(
            "fit.decode_device: is cuda, which supports only the input 'clip' with input.resize torch or float; "
            "change the input, or set decode_device to cpu"
        )
    require("torchcodec.decoders", extra="gpu-decode", purpose="fit.decode_device=cuda")
    return lambda pipeline: dataclasses.replace(pipeline, device=str(world.device))


def _plan_grids(resolved: ResolvedRun, horizon: Horizon) -> GridPlan:
    recipe, input_spec, options = resolved.recipe, resolved.input_spec, resolved.fit.multigrid
    assert options is not None
    if not isinstance(input_spec, ClipInput):
        raise ConfigError(
            f"{recipe.source}: fit.multigrid: needs clips, but input '{recipe.name_of('input')}' has none; "
            "set it to null"
        )
    milestones = [horizon.steps(Duration.parse(m)) for m in recipe.section("schedule").get("milestones", ())]
    return plan_grids(
        options, horizon, milestones=milestones, num_frames=input_spec.num_frames, crop_px=input_spec.crop_px
    )


def load_weights(task: Task, saved: Checkpoint) -> list[str]:
    """Loads a checkpoint's weights into the task's model, and returns lines that describe the result.

    Raises:
        WeightsError: the checkpoint belongs to a different model; no weights have been loaded.
    """
    ours = task.model.state_dict()
    missing = sorted(ours.keys() - saved.model.keys())
    new = [key for key in missing if not saved.class_names and key.startswith(tuple(task.model.classifier_parts))]
    missing = [key for key in missing if key not in new]
    unknown = sorted(saved.model.keys() - ours.keys())
    head = sorted(k for k in ours.keys() & saved.model.keys() if ours[k].shape != saved.model[k].shape)
    wrong = [] if len(saved.class_names) != len(task.class_names) else head
    wrong += [k for k in head if len(saved.class_names) not in saved.model[k].shape and k not in wrong]
    if missing or unknown or wrong:
        lists = (("missing", missing), ("unknown", unknown), ("with a different shape", wrong))
        faults = "; ".join(f"{len(keys)} {kind}: {some_of(keys)}" for kind, keys in lists if keys)
        trained = saved.section("model")
        backbone = f" (its backbone is {shown(trained['backbone'])})" if trained.get("backbone") else ""
        raise WeightsError(
            f"{saved.path}: holds the weights of a different model ({trained['name']}): {faults}; "
            f"build the model with the arguments used in training{backbone}"
        )
    task.model.load_state_dict({k: v for k, v in saved.model.items() if k not in head}, strict=False)
    lines = [f"starting with the weights of {saved.path} (step {saved.step})"]
    if new:
        lines.append(f"at random, because {saved.path} is an encoder without a classifier: {some_of(new)}")
    if head:
        lines.append(
            f"left out, because the number of classes changed from {len(saved.class_names)} to "
            f"{len(task.class_names)}: {', '.join(head)}"
        )
    elif saved.class_names != task.class_names:
        lines.append("the class names or their order differ; the classifier's weights are kept")
    return lines


def _build_part(recipe: Recipe, registry: Any, section: str, **given: Any) -> Any:
    args = recipe.section(section)
    args.pop("name", None)
    return build(registry.get(recipe.name_of(section)), args, where=f"{recipe.source}: {section}", **given)


def _without_pretrained(record: Mapping[str, Any]) -> dict[str, Any]:
    model = dict(record["model"])
    if "pretrained" in model:
        model["pretrained"] = None  # the checkpoint brings the weights
    return {**record, "model": model}


def _prepare_for_device(task: Task, fit: Fit, world: World) -> Task:
    """Prepares the task for its device: memory format, sync batch norm, compilation."""
    shards = fit.parallel == "fsdp" and world.size > 1  # FSDP shards contiguous memory only
    if fit.channels_last and not shards:
        channels_last(task.model, is_trained_on=world.device)
    if fit.sync_bn and world.size > 1:
        if world.device.type != "cuda":
            raise ConfigError(f"fit.sync_bn: requires GPUs but the run is on {world.device}; set it to false")
        for name, module in list(task.named_children()):  # all networks of the task, e.g. a second student
            convert: Any = nn.SyncBatchNorm.convert_sync_batchnorm
            setattr(task, name, convert(module))
    if fit.compile:
        task.model.compile()
    return task
