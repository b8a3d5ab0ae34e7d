"""Where a training step's time goes, and what to do about it."""

from __future__ import annotations

import dataclasses
import itertools
import math
import os
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from videozoo.config.check import build
from videozoo.config.recipe import Recipe
from videozoo.engine.distributed import join_world
from videozoo.engine.loader import TrainLoader, collate, sample_rng
from videozoo.engine.options import Fit
from videozoo.engine.resolve import resolve
from videozoo.engine.run import prepare_run
from videozoo.engine.stopwatch import Stopwatch
from videozoo.errors import ConfigError, DataError
from videozoo.io.key_frames import key_frame_distance
from videozoo.io.reader import VideoReader

__all__ = ["Footage", "Profile", "Verdict", "profile_data", "verdict"]

COMPUTE = ("forward", "backward", "optimizer")
PREPARE = ("decode", "transform", "collate")
LITTLE = 0.1  # share of a step that may be waited without a word
LONG_GOP_FRAMES = 15  # above which more frames are decoded to get at one than is worth it


@dataclasses.dataclass(frozen=True)
class Footage:
    """What the videos are like, in the median, beside what the input takes from them.

    Attributes:
        short_side_px, wanted_px: of the files, and of the frames that crops are cut from.
        gop_frames: distance of the files' key frames; None for folders of frames and the like.
    """

    short_side_px: int
    wanted_px: int
    gop_frames: int | None


@dataclasses.dataclass(frozen=True)
class Profile:
    """Seconds of one optimizer step of one process.

    Attributes:
        step_s: from one step to the next.
        wait_s, forward_s, backward_s, optimizer_s: parts of it; what is left of `step_s` is the engine's own.
        decode_s, transform_s, collate_s: what one worker alone takes to prepare the step's samples.
        num_cores: that this process may use.
        footage: None where the data is no video.
    """

    step_s: float
    wait_s: float
    forward_s: float
    backward_s: float
    optimizer_s: float
    decode_s: float
    transform_s: float
    collate_s: float
    num_samples: int
    num_steps: int
    num_workers: int
    num_cores: int
    device: str
    footage: Footage | None = None

    @property
    def compute_s(self) -> float:
        """What a step would take with the data always there."""
        return self.step_s - self.wait_s

    @property
    def prepare_s(self) -> float:
        """One worker's work for a step."""
        return self.decode_s + self.transform_s + self.collate_s

    @property
    def engine_s(self) -> float:
        """Neither data nor model: the order of samples, checks, the log."""
        return self.compute_s - self.forward_s - self.backward_s - self.optimizer_s

    @property
    def wait_share(self) -> float:
        return self.wait_s / self.step_s


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What holds a run up: "model", "workers", "size", "seek", "decode", "transform" or "collate"; and the remedy."""

    kind: str
    text: str


def verdict(found: Profile) -> Verdict:
    """What holds up the run that was measured."""
    if found.wait_share < LITTLE:
        part = max(COMPUTE, key=lambda name: getattr(found, f"{name}_s"))
        faster = "fit.precision=bf16" if found.device != "cpu" else "a GPU"
        return Verdict(
            "model",
            f"the model is the bottleneck ({part} above all), the data waits for it: faster by {faster}, "
            "fit.compile=true, smaller clips, or fit.multigrid; more workers or other files change nothing",
        )
    waiting = f"{found.wait_share:.0%} of the time is spent waiting for data"
    needed = math.ceil(1.2 * found.prepare_s / found.compute_s)  # some room, since samples differ
    if found.num_workers < min(needed, found.num_cores):
        rest = "" if needed <= found.num_cores else f"; all {needed} that it takes to wait no more have no cores here"
        return Verdict(
            "workers", f"{waiting}: set fit.num_workers={min(needed, found.num_cores)}, it is {found.num_workers}{rest}"
        )
    held = f"{waiting}, and {found.num_workers} workers on {found.num_cores} cores are all there can be"
    part = max(PREPARE, key=lambda name: getattr(found, f"{name}_s"))
    footage = found.footage
    if part == "collate":
        return Verdict(
            "collate",
            f"{held}: batches are too large to be handed over fast; lower fit.batch_size, the frames or the side",
        )
    if footage is not None and footage.short_side_px > 1.25 * footage.wanted_px:
        return Verdict(
            "size",
            f"{held}: videos of {footage.short_side_px} px are decoded for a short side of {footage.wanted_px} px; "
            f"make them smaller once: videozoo prepare reencode SRC OUT --short-side {footage.wanted_px}",
        )
    if part == "transform":
        return Verdict(
            "transform",
            f"{held}: most of it goes into transforms; leave out what input.augment does at length (colour), "
            "or take input.resize=torch",
        )
    if footage is not None and footage.gop_frames is not None and footage.gop_frames > LONG_GOP_FRAMES:
        return Verdict(
            "seek",
            f"{held}: key frames are {footage.gop_frames} frames apart, and all from one to the wanted frame are "
            "decoded; bring them closer once: videozoo prepare reencode SRC OUT --gop 10",
        )
    return Verdict(
        "decode",
        f"{held}: decoding takes it, of files that are made for it already; turn them into folders of frames, which "
        "take more disk and less time: videozoo prepare frames SRC OUT",
    )


def profile_data(recipe: Recipe, *, num_steps: int = 20, warmup_steps: int = 5, num_samples: int = 32) -> Profile:
    """Trains some steps of a recipe, keeps nothing of them, and says where their time went.

    Args:
        warmup_steps: before those that are measured.
        num_samples: that are prepared in this process, to time decoding and transforms apart.

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
        "multigrid": None,  # every step costs the same with it, and is the recipe's own in the end
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
            num_cores=_num_cores(),
            device=world.device.type,
            footage=_footage(trainer.loader, trainer.input_spec),
        )


class _AfterWarmUp(Stopwatch):
    """Begins with the step after the first `num_steps`, ends with the last step."""

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
    """A reader that tells the stopwatch what its frames cost."""

    def __init__(self, reader: VideoReader, watch: Stopwatch):
        self._reader, self._watch = reader, watch

    def frames_at(self, times_s: Any) -> Any:
        with self._watch("decode"):
            return self._reader.frames_at(times_s)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reader, name)


def _prepare_seconds(loader: TrainLoader, *, first_step: int, num_samples: int) -> dict[str, float]:
    """Seconds for a step's samples by what is done to them, in this process, on samples that no step has had yet."""
    watch, samples = Stopwatch(), []
    for epoch, index in itertools.islice(_keys(loader, first_step), num_samples):
        record, rng = loader.records[index], sample_rng(loader.seed, epoch, index)
        try:
            samples.append(_timed_sample(loader.pipeline, record, rng, watch))
        except DataError:
            continue  # the run has named it
    num_batches = max(len(samples) // loader.micro_batch_size, 1)
    size = min(loader.micro_batch_size, len(samples))
    for i in range(num_batches if samples else 0):
        with watch("collate"):
            collate(samples[i * size : (i + 1) * size])
    scale = loader.batch_size / max(len(samples), 1)
    return {f"{name}_s": watch.seconds.get(name, 0.0) * scale for name in PREPARE}


def _timed_sample(pipeline: Any, record: Any, rng: Any, watch: Stopwatch) -> Mapping[str, Any]:
    if not hasattr(pipeline, "open"):  # reading cannot be told from the rest
        with watch("decode"):
            return pipeline(record, rng)
    before_s = watch.seconds.get("decode", 0.0)
    with watch("decode"):
        reader = pipeline.open(record)
    opened_s = watch.seconds["decode"] - before_s
    with reader, watch("transform"):
        sample = pipeline(record, rng, reader=_TimedReader(reader, watch))
    watch.seconds["transform"] -= watch.seconds["decode"] - before_s - opened_s
    return sample


def _keys(loader: TrainLoader, first_step: int) -> Iterator[tuple[int, int]]:
    for step in itertools.count(first_step):
        for keys in loader.keys(step):
            for epoch, index, *_ in keys:
                yield epoch, index


def _footage(loader: TrainLoader, input_spec: Any, *, num_videos: int = 8) -> Footage | None:
    pipeline = loader.pipeline
    if not hasattr(pipeline, "open"):
        return None
    augment = input_spec.augment
    largest = augment.short_side_range_px[1] if augment.short_side_range_px else input_spec.short_side_px
    sides, distances = [], []
    for _, index in itertools.islice(_keys(loader, 0), num_videos):
        record = loader.records[index]
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


def _num_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
