"""Measures where a training step's time goes."""

from __future__ import annotations

import dataclasses
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from videozoo.config.check import build
from videozoo.config.recipe import Recipe
from videozoo.contracts.record import ClipRecord, Record
from videozoo.engine.distributed import join_world
from videozoo.engine.loader import TrainLoader, collate, sample_rng
from videozoo.engine.options import Fit
from videozoo.engine.resolve import resolve
from videozoo.engine.run import prepare_run
from videozoo.engine.stopwatch import Stopwatch
from videozoo.errors import ConfigError, DataError
from videozoo.io.key_frames import key_frame_distance
from videozoo.io.process import num_cores
from videozoo.io.reader import Frames, VideoReader
from videozoo.report.profile import COMPUTE, PREPARE, Footage, Profile
from videozoo.transforms.input import ClipPipeline

__all__ = ["profile_data"]


def profile_data(recipe: Recipe, *, num_steps: int = 20, warmup_steps: int = 5, num_samples: int = 32) -> Profile:
    """Trains some steps of a recipe, discards the result, and returns the time spent on each part of a step.

    Args:
        warmup_steps: steps before the measured ones.
        num_samples: samples prepared in this process to time decoding and transforms separately.

    Raises:
        ConfigError, DataError, WeightsError: the recipe or its data cannot be used.
    """
    total = warmup_steps + num_steps
    fit_args = {
        **recipe.section("fit"),
        "duration": f"{total}st",
        "eval_every": f"{total + 1}st",
        "save_every": f"{total + 1}st",
        "precise_bn": 0,
        "multigrid": None,  # with multigrid, every step costs the same and the last ones have the recipe's shape
        "tensorboard": False,
        "loggers": (),
    }
    data = {"train": recipe.data["train"]} if "train" in recipe.data else {}
    recipe = dataclasses.replace(recipe, sections={**recipe.sections, "fit": fit_args}, data=data)
    fit: Fit = build(Fit, fit_args, where=f"{recipe.source}: fit")
    with join_world(fit.device) as world, tempfile.TemporaryDirectory() as folder:
        if world.size > 1:
            raise ConfigError("bench data: measures one process; run it without torchrun")
        watch = _AfterWarmUp(warmup_steps, device=world.device)
        trainer = prepare_run(resolve(recipe), Path(folder, "run"), world=world)
        trainer.stopwatch = watch
        trainer.run(progress=False)
        seconds = {name: watch.seconds.get(name, 0.0) / num_steps for name in ("wait", *COMPUTE)}
        return Profile(
            step_s=(watch.ended_s - watch.began_s) / num_steps,
            **{f"{name}_s": value for name, value in seconds.items()},
            **_prepare_seconds(trainer.loader, first_step=total, num_samples=num_samples),
            num_samples=trainer.loader.batch_size,
            num_steps=num_steps,
            num_workers=fit.num_workers,
            num_cores=num_cores(),
            device=world.device.type,
            footage=_footage(trainer.loader),
        )


class _AfterWarmUp(Stopwatch):
    """A stopwatch that starts after the first `num_steps` steps."""

    def __init__(self, num_steps: int, *, device: torch.device):
        super().__init__(device=device)
        self.began_s = self.ended_s = time.perf_counter()
        self._left = num_steps

    def __call__(self, kind: str) -> Any:
        if kind == "wait":
            self._left -= 1
            if self._left == -1:
                self.take()
                self.began_s = time.perf_counter()
        if kind == "save":
            self.ended_s = time.perf_counter()
        return super().__call__(kind)


class _TimedReader:
    """A reader that records the time of its frames with a stopwatch."""

    def __init__(self, reader: VideoReader, watch: Stopwatch):
        self._reader, self._watch = reader, watch

    def frames_at(self, times_s: Sequence[float]) -> Frames:
        with self._watch("decode"):
            return self._reader.frames_at(times_s)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reader, name)


def _prepare_seconds(loader: TrainLoader, *, first_step: int, num_samples: int) -> dict[str, float]:
    """Returns the seconds of each kind of work for a step's samples, measured in this process on unused samples."""
    watch, samples = Stopwatch(), []
    for epoch, index in itertools.islice(_keys(loader, first_step), num_samples):
        record, rng = loader.records[index], sample_rng(loader.seed, epoch, index)
        try:
            samples.append(_timed_sample(loader.pipeline, record, rng, watch))
        except DataError:
            continue  # the run has reported it
    num_batches = max(len(samples) // loader.micro_batch_size, 1)
    size = min(loader.micro_batch_size, len(samples))
    for i in range(num_batches if samples else 0):
        with watch("collate"):
            collate(samples[i * size : (i + 1) * size])
    scale = loader.batch_size / max(len(samples), 1)
    return {f"{name}_s": watch.seconds.get(name, 0.0) * scale for name in PREPARE}


def _timed_sample(
    pipeline: Callable[..., Mapping[str, Any]], record: Record, rng: np.random.Generator, watch: Stopwatch
) -> Mapping[str, Any]:
    if not (isinstance(pipeline, ClipPipeline) and isinstance(record, ClipRecord)):  # reading is not timed
        with watch("decode"):
            return dict(pipeline(record, rng))
    before_s = watch.seconds.get("decode", 0.0)
    with watch("decode"):
        reader = pipeline.open(record)
    opened_s = watch.seconds["decode"] - before_s
    with reader, watch("transform"):
        sample = pipeline(record, rng, reader=cast(VideoReader, _TimedReader(reader, watch)))
    watch.seconds["transform"] -= watch.seconds["decode"] - before_s - opened_s
    return sample


def _keys(loader: TrainLoader, first_step: int) -> Iterator[tuple[int, int]]:
    for step in itertools.count(first_step):
        for keys in loader.keys(step):
            for epoch, index, *_ in keys:
                yield epoch, index


def _footage(loader: TrainLoader, *, num_videos: int = 8) -> Footage | None:
    pipeline = loader.pipeline
    if not isinstance(pipeline, ClipPipeline):
        return None
    scaled = pipeline.spec.augment.short_side_range_px
    largest = scaled[1] if scaled else pipeline.spec.short_side_px
    sides, distances = [], []
    for _, index in itertools.islice(_keys(loader, 0), num_videos):
        record = loader.records[index]
        if not isinstance(record, ClipRecord):
            return None
        try:
            with pipeline.open(record) as reader:
                sides.append(min(reader.info.width_px, reader.info.height_px))
            if record.num_frames is None:
                distances.append(key_frame_distance(record.path))
        except DataError:
            continue
    if not sides:
        return None
    gop = round(statistics.median(distances)) if distances else None
    return Footage(round(statistics.median(sides)), largest, gop)
