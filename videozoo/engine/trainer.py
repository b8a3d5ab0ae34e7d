"""The training loop: optimizer steps, and logging, evaluation and saving between them.

All state of a step is either a function of (seed, step) or stored in the checkpoint, so a run that was killed and
resumed gives the same result as an uninterrupted run.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from torch.optim import Optimizer

from videozoo.engine import sharded
from videozoo.engine.average import WeightAverage
from videozoo.engine.bad_samples import BadSamples
from videozoo.engine.distributed import World
from videozoo.engine.duration import Duration, Horizon
from videozoo.engine.evaluator import Evaluator
from videozoo.engine.loader import TrainLoader
from videozoo.engine.log import ProgressLine
from videozoo.engine.meter import Meter
from videozoo.engine.optim import clip_gradients, gradient_norm
from videozoo.engine.options import Fit
from videozoo.engine.parallel import Parallel
from videozoo.engine.precise_bn import estimate_statistics
from videozoo.engine.run_files import RunFiles
from videozoo.engine.schedule import Schedule
from videozoo.engine.stop import StopRequest
from videozoo.engine.stopwatch import Stopwatch
from videozoo.errors import TrainingError, WeightsError, counted
from videozoo.layers.sub_batch_norm import set_norm_splits
from videozoo.report.clips import draw_clips
from videozoo.tasks.precision import autocast
from videozoo.tasks.task import Task
from videozoo.weights.checkpoint import Checkpoint

__all__ = ["RunResult", "Trainer"]

MicroBatches = Sequence[Mapping[str, Any]]


@dataclasses.dataclass(frozen=True)
class RunResult:
    """The result of a run.

    Attributes:
        scores: scores of the last evaluation; empty if there was none.
        best_score, best_step: the best value of the task's `monitor`, and its step.
        stopped_by: name of the signal that stopped the run early, or None.
        num_bad: number of unusable training samples.
    """

    out_dir: Path
    step: int
    total_steps: int
    scores: Mapping[str, float]
    best_score: float | None
    best_step: int | None
    stopped_by: str | None
    num_bad: int


class Trainer:
    """Trains a task on the micro-batches of a loader.

    Args:
        input_spec: moves batches to the device: `to_device(batch, device)`.
        files: the run's folder.
        evaluate: returns the scores of a task by name; None trains without evaluation.

    Attributes:
        stopwatch: sums the seconds of a step's parts: wait, forward, backward, optimizer; evaluate, save.
    """

    def __init__(
        self,
        task: Task,
        loader: TrainLoader,
        *,
        optimizer: Optimizer,
        schedule: Schedule,
        horizon: Horizon,
        input_spec: Any,
        fit: Fit,
        files: RunFiles,
        world: World | None = None,
        evaluate: Evaluator | None = None,
    ):
        self.task, self.loader, self.optimizer, self.schedule = task, loader, optimizer, schedule
        self.input_spec, self.fit, self.horizon = input_spec, fit, horizon
        self.files, self.evaluate, self.world = files, evaluate, world or World()
        self.stopwatch = Stopwatch()
        self.average = WeightAverage(task, decay=fit.ema_decay) if fit.ema_decay is not None else None
        self.scaler = torch.amp.GradScaler(self.world.device.type, enabled=fit.precision == "fp16")
        self.parallel = Parallel(task, optimizer, self.average, world=self.world, kind=fit.parallel)
        self.forward = self.parallel.forward
        self.params = [p for group in optimizer.param_groups for p in group["params"]]

        # checkpoints store all of these
        self.step = 0
        self.evaluated_step = 0
        self.scores: dict[str, float] = {}
        self.best: dict[str, float] = {}  # score and step
        self.meter = Meter()
        self.bad = BadSamples(files, world=self.world, num_samples=len(loader.records), max_share=fit.max_bad_share)

    def run(self, *, progress: bool = False) -> RunResult:
        """Trains from the current step to the end, or until a signal requests a stop.

        Raises:
            TrainingError: the run cannot continue; the last checkpoint is unchanged.
        """
        self.task.train()
        self.bad.write()
        sinks = [*(["tensorboard"] if self.fit.tensorboard else []), *self.fit.loggers]
        with contextlib.ExitStack() as stack:
            stop = stack.enter_context(StopRequest())
            steps = stack.enter_context(contextlib.closing(self.loader.steps(self.step, self.horizon.total_steps)))
            stack.enter_context(self.files.logging(self.step, sinks=sinks))
            shown = progress and self.world.is_first
            self._line = stack.enter_context(ProgressLine(self.horizon.total_steps, start=self.step, shown=shown))
            self._train(steps, stop)
        return RunResult(
            out_dir=self.files.out_dir,
            step=self.step,
            total_steps=self.horizon.total_steps,
            scores=self.scores,
            best_score=self.best.get("score"),
            best_step=int(self.best["step"]) if self.best else None,
            stopped_by=stop.name if self.step < self.horizon.total_steps else None,
            num_bad=len(self.bad),
        )

    def _train(self, steps: Iterator[MicroBatches], stop: StopRequest) -> None:
        first_step, stopped = self.step, False
        self._evaluate_if_due()  # the run may have been stopped between a step and its evaluation
        while self.step < self.horizon.total_steps and not stopped:
            began_s = time.perf_counter()
            with self.stopwatch("wait"):
                micro_batches = next(steps)
            if self.step == first_step:
                self.files.picture(self.step, "clips", functools.partial(draw_clips, micro_batches[0]))
            waited_s = time.perf_counter() - began_s
            stopped = self._train_step(micro_batches, stop)
            num_clips = self.loader.num_samples(self.step - 1)
            self.meter.add_time(wait_s=waited_s, step_s=time.perf_counter() - began_s, num_clips=num_clips)
            self._log_if_due()
            if not stopped:
                with self.stopwatch("evaluate"):
                    self._evaluate_if_due()
            if stopped or self._is_due(self.fit.save_every):
                with self.stopwatch("save"):
                    self._save()
        if self.files.saved_step != self.step:
            self._save()

    # ---- one step ------------------------------------------------------------------------------------------

    def _train_step(self, micro_batches: MicroBatches, stop: StopRequest) -> bool:
        """Performs one optimizer step; returns whether any process was asked to stop."""
        rate = self.schedule(self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = group["base_lr"] * rate

        try:
            parts = self._accumulate_gradients(micro_batches)
            with self.stopwatch("optimizer"):
                self.scaler.unscale_(self.optimizer)
                norm = gradient_norm(self.params)
            values, stopped = self._agree({**parts, "grad_norm": norm}, stop)
        except RuntimeError as error:
            raise self._explain(error) from error
        self._check_finite(values, micro_batches)
        with self.stopwatch("optimizer"):
            if self.fit.clip_grad_norm is not None:
                clip_gradients(self.params, norm, self.fit.clip_grad_norm)
            self.scaler.step(self.optimizer)
            self.scaler.update()
            self.optimizer.zero_grad(set_to_none=True)
            self.step += 1
            if self.average is not None:
                self.average.update(self.task, step=self.step)
        self.meter.add(values)
        self.bad.note(micro_batches)
        return stopped

    def _accumulate_gradients(self, micro_batches: MicroBatches) -> dict[str, Tensor]:
        """Runs forward and backward over the step's samples; returns the mean loss and its parts."""
        parts: dict[str, Tensor] = {}
        set_norm_splits(self.task, self.loader.norm_splits(self.step))
        for micro, batch in enumerate(micro_batches):
            torch.manual_seed(self._micro_seed(micro))  # torch's random numbers are a function of the step
            with self.parallel.sync_gradients(micro == len(micro_batches) - 1):
                with self.stopwatch("forward"), autocast(self.world.device, self.fit.precision):
                    losses = self.forward(self.input_spec.to_device(batch, self.world.device))
                with self.stopwatch("backward"):
                    self.scaler.scale(losses["loss"] / len(micro_batches)).backward()
            for name, value in losses.items():
                value = value.detach().float() / len(micro_batches)
                parts[name] = parts[name] + value if name in parts else value
        return parts

    def _micro_seed(self, micro: int) -> int:
        entropy = (self.loader.seed, self.step, micro, self.world.rank)
        return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> 1)

    def _agree(self, values: Mapping[str, Tensor], stop: StopRequest) -> tuple[dict[str, float], bool]:
        """Returns each value's mean over the processes and whether any was asked to stop, in a single exchange."""
        asked = torch.full((), float(stop.name is not None), device=self.world.device)
        numbers = self.world.mean(torch.stack([*values.values(), asked])).tolist()
        return dict(zip(values, numbers[:-1], strict=True)), numbers[-1] > 0

    def _check_finite(self, values: Mapping[str, float], micro_batches: MicroBatches) -> None:
        scaled = self.scaler.is_enabled()
        if scaled and math.isfinite(values["loss"]) and self.scaler.get_scale() >= 1:
            return  # the scaler handles gradients that overflow: it skips the step
        wrong = [f"{name} {value}" for name, value in values.items() if not math.isfinite(value)]
        if wrong or (scaled and self.scaler.get_scale() < 1):
            ids = [str(i) for batch in micro_batches for i in batch.get("id", ())]
            named = ", ".join(ids[:8]) + (", ..." if len(ids) > 8 else "")
            raise TrainingError(
                f"step {self.step + 1}: {', '.join(wrong) or 'the loss scale fell below 1'}: not finite "
                f"({self.fit.precision}, samples {named}); lower optim.lr, add a warm-up, set fit.clip_grad_norm, or "
                f"check these samples; {self.files.advice}"
            )

    # ---- what is due after a step --------------------------------------------------------------------------

    def _is_due(self, every: Duration) -> bool:
        return self.step % max(self.horizon.steps(every), 1) == 0 or self.step == self.horizon.total_steps

    def _log_if_due(self) -> None:
        epoch = self.step / self.horizon.steps_per_epoch
        if self.step % self.fit.log_every and self.step != self.horizon.total_steps:
            self._line.update(self.step, epoch=epoch)
            return
        self._settle_bad()
        means, pace = self.meter.take()
        values = {**means, "lr": self.optimizer.param_groups[0]["lr"], "epoch": epoch, **pace}
        self.files.log(self.step, values | ({"num_bad": len(self.bad)} if self.bad else {}))
        self._line.update(self.step, epoch=epoch, numbers={"loss": means.get("loss", math.nan), **pace})

    def _settle_bad(self) -> None:
        for text in self.bad.settle(self.step):
            self._line.say(text)

    def _evaluate_if_due(self) -> None:
        if self.step == self.evaluated_step or not self._is_due(self.fit.eval_every):
            return
        published = self._published_task
        with self.parallel.unsharded(published) as task:
            if self.fit.precise_bn:
                self._estimate_statistics(task)
                for ours, estimated in zip(published.buffers(), task.buffers(), strict=True):
                    ours.copy_(estimated)  # the copy of a sharded model
            self.evaluated_step = self.step
            if self.evaluate is None:
                return
            self.scores = dict(self.evaluate(task))
        # printed before anything is written: a full disk loses no score
        self._line.say(f"step {self.step}: " + "  ".join(f"{name} {value:.4g}" for name, value in self.scores.items()))
        self.files.log(self.step, {f"val/{name}": score for name, score in self.scores.items()})
        if self.files.shows_pictures:
            for name, draw in self.evaluate.pictures().items():
                self.files.picture(self.step, f"val/{name}", draw)
        score = self.scores.get(self.task.monitor)
        if score is not None and (not self.best or score > self.best["score"]):
            self.best = {"score": score, "step": self.step}
            self.files.save_best(self.step, self._published())

    @property
    def _published_task(self) -> Task:
        """The task that is evaluated and published: the average, if there is one."""
        return self.average.task if self.average is not None else self.task

    def _estimate_statistics(self, task: Task) -> None:
        """Estimates precise batch norm statistics on the batches of the next steps, a function of (seed, step).

        The batches have the evaluation shape, even in a multigrid run. Training updates these statistics but does not
        use them.
        """

        def forward(batch: Mapping[str, Any]) -> None:
            with autocast(self.world.device, self.fit.precision):
                task(self.input_spec.to_device(batch, self.world.device))

        torch.manual_seed(self._micro_seed(0))
        set_norm_splits(task, 1)
        with contextlib.closing(self.loader.steps(self.step, self.step + self.fit.precise_bn, full_size=True)) as steps:
            estimate_statistics(task, (batch for step in steps for batch in step), forward=forward, world=self.world)

    # ---- the checkpoint ------------------------------------------------------------------------------------

    def _published(self) -> dict[str, Any]:
        """Returns the checkpoint entries that evaluation and prediction need."""
        model = self.parallel.state_of(self._published_task.model)
        return {"class_names": list(self.task.class_names), "model": model}

    def _save(self) -> None:
        self._settle_bad()
        state_of = self.parallel.state_of
        content = {
            **self._published(),
            # the trained weights, where `model` holds their average
            "raw_model": state_of(self.task.model) if self.average is not None else None,
            "task": {k: v for k, v in state_of(self.task).items() if not k.startswith("model.")},
            "optimizer": self.parallel.optimizer_state(self.optimizer),
            "scaler": self.scaler.state_dict(),
            "evaluated_step": self.evaluated_step,
            "scores": self.scores,
            "best": self.best,
            "window": {name: list(entry) for name, entry in self.meter.sums.items()},
            "bad": self.bad.reasons,
        }
        self.files.save_last(self.step, content)

    def restore(self, saved: Checkpoint) -> None:
        """Restores the state of a run from a checkpoint.

        Raises:
            WeightsError: the checkpoint holds published weights only.
        """
        state = saved.resume
        if "optimizer" not in state:
            raise WeightsError(f"{saved.path}: holds weights only; start a new run with --init {saved.path}")
        raw = state["raw_model"]
        sharded.load_full_state_dict(self.task.model, saved.model if raw is None else raw)
        sharded.load_full_state_dict(self.task, state["task"], strict=False)
        if self.average is not None:
            sharded.load_full_state_dict(self.average.task.model, saved.model)
        sharded.load_optimizer(self.optimizer, state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self.step = self.files.saved_step = saved.step
        self.evaluated_step = state["evaluated_step"]
        self.scores, self.best = dict(state["scores"]), dict(state["best"])
        self.meter.sums = {name: (entry[0], entry[1]) for name, entry in state["window"].items()}
        self.bad.restore(state["bad"])

    def _explain(self, error: RuntimeError) -> Exception:
        text = str(error)
        if isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in text or "not enough memory" in text:
            return TrainingError(
                f"step {self.step + 1}: out of memory on {self.world.device} with "
                f"{self.loader.micro_batch_size} samples at a time (fit.batch_size {self.loader.batch_size}, "
                f"fit.accumulate {self.fit.accumulate}, {counted(self.world.size, 'process')}); "
                "raise fit.accumulate to split the batch further,  lower fit.batch_size, the clip's "
                "frames or size, or set fit.precision=bf16"
            )
        if self.world.size > 1 and (isinstance(error, dist.DistError) or "by peer" in text):
            return TrainingError(
                f"step {self.step + 1}: process {self.world.rank} lost the others ({text.partition(chr(10))[0]}); see "
                f"their output for the cause; {self.files.advice}"
            )
        return error
