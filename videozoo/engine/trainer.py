"""The training loop: from a step's micro-batches to moved parameters, and whatever is due after it.

Everything that a step depends on is a function of (seed, step) or is in the checkpoint, so that a run that
was killed and taken up again is the run that was never stopped.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.distributed as dist
from PIL import Image
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from videozoo.engine import sharded
from videozoo.engine.average import WeightAverage
from videozoo.engine.distributed import World
from videozoo.engine.duration import Duration, Horizon
from videozoo.engine.loader import Bad, TrainLoader, by_reason
from videozoo.engine.log import ProgressLine, RunLog
from videozoo.engine.optim import clip_gradients, gradient_norm
from videozoo.engine.options import Fit
from videozoo.engine.pictures import draw_clips
from videozoo.engine.precise_bn import estimate_statistics
from videozoo.engine.schedule import Schedule
from videozoo.engine.stop import StopRequest
from videozoo.engine.stopwatch import Stopwatch
from videozoo.errors import TrainingError, WeightsError, counted
from videozoo.layers.sub_batch_norm import set_norm_splits
from videozoo.tasks.precision import autocast
from videozoo.tasks.task import Task
from videozoo.weights import checkpoint
from videozoo.weights.checkpoint import Checkpoint

__all__ = ["RunResult", "Trainer"]

MicroBatches = Sequence[Mapping[str, Any]]


@dataclasses.dataclass(frozen=True)
class RunResult:
    """Where a run ended.

    Attributes:
        scores: of the last evaluation; empty if there was none.
        best_score, best_step: the best value of the task's `monitor`, and when.
        stopped_by: name of the signal that ended the run before its time.
        num_bad: training samples that could not be used.
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
    """Trains a task on the micro-batches of a loader, and writes the run directory.

    Args:
        input_spec: moves batches to the device: `to_device(batch, device)`.
        record: the resolved recipe, for the checkpoints.
        evaluate: scores by name of a task; called by every process.
        pictures: by name, what draws them, of the evaluation that was last; called by the first process.
        stopwatch: is told what each part of a step takes: wait, forward, backward, optimizer; evaluate, save.
        beside: whatever else prediction needs; goes into every checkpoint as it is.
    """

    def __init__(
        self,
        task: Task,
        loader: TrainLoader,
        *,
        optimizer: Optimizer,
        schedule: Schedule,
        input_spec: Any,
        fit: Fit,
        horizon: Horizon,
        out_dir: Path,
        record: Mapping[str, Any],
        seed: int = 0,
        world: World | None = None,
        evaluate: Callable[[Task], Mapping[str, float]] | None = None,
        pictures: Callable[[], Mapping[str, Callable[[], Image.Image]]] | None = None,
        beside: Mapping[str, Any] | None = None,
        progress: bool = True,
        stopwatch: Stopwatch | None = None,
    ):
        self.task, self.loader, self.optimizer, self.schedule = task, loader, optimizer, schedule
        self.input_spec, self.fit, self.horizon, self.seed = input_spec, fit, horizon, seed
        self.out_dir, self.record, self.evaluate = out_dir, record, evaluate
        self.pictures, self.beside = pictures, dict(beside or {})
        self.world = world or World()
        self.progress = progress
        self.stopwatch = stopwatch or Stopwatch()
        self.average = WeightAverage(task, decay=fit.ema_decay) if fit.ema_decay is not None else None
        self.whole: Task | None = None  # of a model in shards, what is evaluated
        self.scaler = torch.amp.GradScaler(self.world.device.type, enabled=fit.precision == "fp16")
        self.forward: nn.Module = task
        if self.world.size > 1 and fit.parallel == "fsdp":
            self.whole = copy.deepcopy(task).requires_grad_(False).cpu()
            sharded.shard(task, optimizer, world=self.world)
            if self.average is not None:
                sharded.shard(self.average.task, world=self.world)
        elif self.world.size > 1:
            self.forward = DistributedDataParallel(task, gradient_as_bucket_view=True)
        self.params = [p for group in optimizer.param_groups for p in group["params"]]

        # all of these travel in the checkpoint
        self.step = 0
        self.evaluated_step = 0
        self.scores: dict[str, float] = {}
        self.best: dict[str, float] = {}  # score and step
        self.window: dict[str, tuple[float, int]] = {}  # (sum, count) since the last line of the log
        self.bad: dict[str, str] = {}

        self.saved_step: int | None = None
        self._new_bad: list[Bad] = []
        self._seconds = {"wait": 0.0, "step": 0.0, "clips": 0.0}

    def run(self) -> RunResult:
        """Trains from the current step to the end, or until a signal asks to stop.

        Raises:
            TrainingError: the run cannot go on; the last checkpoint is as it was.
        """
        total = self.horizon.total_steps
        first = self.world.is_first
        self.task.train()
        with contextlib.ExitStack() as stack:
            stop = stack.enter_context(StopRequest())
            steps = stack.enter_context(contextlib.closing(self.loader.steps(self.step, total)))
            self._log = stack.enter_context(self._open_log()) if first else None
            self._line = stack.enter_context(ProgressLine(total, start=self.step, shown=self.progress and first))
            stopped = shown = False
            self._evaluate_if_due()  # a stop may have come between a step and its evaluation
            while self.step < total and not stopped:
                began_s = time.perf_counter()
                with self.stopwatch("wait"):
                    micro_batches = next(steps)
                if self._log is not None and not shown:
                    shown = True
                    self._log.picture(self.step, "clips", functools.partial(draw_clips, micro_batches[0]))
                waited_s = time.perf_counter() - began_s
                stopped = self._train_step(micro_batches, stop)
                self._count_seconds(waited_s, time.perf_counter() - began_s)
                self._log_if_due()
                if not stopped:
                    with self.stopwatch("evaluate"):
                        self._evaluate_if_due()
                if stopped or self._is_due(self.fit.save_every):
                    with self.stopwatch("save"):
                        self._save()
            if self.saved_step != self.step:
                self._save()
        return RunResult(
            out_dir=self.out_dir,
            step=self.step,
            total_steps=total,
            scores=self.scores,
            best_score=self.best.get("score"),
            best_step=int(self.best["step"]) if self.best else None,
            stopped_by=stop.name if self.step < total else None,
            num_bad=len(self.bad),
        )

    # ---- one step ------------------------------------------------------------------------------------------

    def _train_step(self, micro_batches: MicroBatches, stop: StopRequest) -> bool:
        """One optimizer step; True if any process was asked to stop."""
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
        self._count(values, micro_batches)
        return stopped

    def _accumulate_gradients(self, micro_batches: MicroBatches) -> dict[str, Tensor]:
        """Forward and backward over the step's samples; the mean of the loss and of its parts."""
        parts: dict[str, Tensor] = {}
        set_norm_splits(self.task, self.loader.norm_splits(self.step))
        for micro, batch in enumerate(micro_batches):
            torch.manual_seed(self._micro_seed(micro))  # torch's random numbers are a function of the step
            with self._sync_gradients(micro == len(micro_batches) - 1):
                with self.stopwatch("forward"), autocast(self.world.device, self.fit.precision):
                    losses = self.forward(self.input_spec.to_device(batch, self.world.device))
                with self.stopwatch("backward"):
                    self.scaler.scale(losses["loss"] / len(micro_batches)).backward()
            for name, value in losses.items():
                value = value.detach().float() / len(micro_batches)
                parts[name] = parts[name] + value if name in parts else value
        return parts

    def _micro_seed(self, micro: int) -> int:
        entropy = (self.seed, self.step, micro, self.world.rank)
        return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> 1)

    def _sync_gradients(self, now: bool) -> contextlib.AbstractContextManager[Any]:
        if self.whole is not None:
            cast(Any, self.forward).set_requires_gradient_sync(now)
        if now or not isinstance(self.forward, DistributedDataParallel):
            return contextlib.nullcontext()
        return self.forward.no_sync()

    def _agree(self, values: Mapping[str, Tensor], stop: StopRequest) -> tuple[dict[str, float], bool]:
        """Each value's mean over the processes, and whether one was asked to stop: one exchange, one wait."""
        asked = torch.full((), float(stop.name is not None), device=self.world.device)
        numbers = self.world.mean(torch.stack([*values.values(), asked])).tolist()
        return dict(zip(values, numbers[:-1], strict=True)), numbers[-1] > 0

    def _check_finite(self, values: Mapping[str, float], micro_batches: MicroBatches) -> None:
        scaled = self.scaler.is_enabled()
        if scaled and math.isfinite(values["loss"]) and self.scaler.get_scale() >= 1:
            return  # a gradient that overflows is what the scaler is for: it skips the step
        wrong = [f"{name} {value}" for name, value in values.items() if not math.isfinite(value)]
        if wrong or (scaled and self.scaler.get_scale() < 1):
            ids = [str(i) for batch in micro_batches for i in batch.get("id", ())]
            named = ", ".join(ids[:8]) + (", ..." if len(ids) > 8 else "")
            raise TrainingError(
                f"step {self.step + 1}: {', '.join(wrong) or 'the loss scale fell below 1'}: not finite "
                f"({self.fit.precision}, samples {named}); the last good checkpoint is {self._last_good()}; "
                "lower optim.lr, add a warm-up, set fit.clip_grad_norm, or look at these samples"
            )

    def _count(self, values: Mapping[str, float], micro_batches: MicroBatches) -> None:
        for name, value in values.items():
            if math.isfinite(value):  # a step that the scaler skipped has no norm
                total, count = self.window.get(name, (0.0, 0))
                self.window[name] = (total + value, count + 1)
        for batch in micro_batches:
            self._new_bad += batch.get("bad", ())

    def _count_seconds(self, waited_s: float, whole_s: float) -> None:
        num_clips = self.loader.num_samples(self.step - 1)
        for name, value in (("wait", waited_s), ("step", whole_s), ("clips", num_clips)):
            self._seconds[name] += value

    # ---- what is due after a step --------------------------------------------------------------------------

    def _is_due(self, every: Duration) -> bool:
        return self.step % max(self.horizon.steps(every), 1) == 0 or self.step == self.horizon.total_steps

    def _log_if_due(self) -> None:
        epoch = self.step / self.horizon.steps_per_epoch
        if self.step % self.fit.log_every and self.step != self.horizon.total_steps:
            self._line.update(self.step, epoch=epoch)
            return
        self._settle_bad()
        seconds = self._seconds
        values = {name: total / count for name, (total, count) in self.window.items()}
        clips_per_s = seconds["clips"] / max(seconds["step"], 1e-9)
        wait_share = seconds["wait"] / max(seconds["step"], 1e-9)
        shown = {
            "loss": values.get("loss", math.nan),
            "clips_per_s": clips_per_s,
            "data_wait_share": wait_share,
        }
        if self._log is not None:
            values |= {"lr": self.optimizer.param_groups[0]["lr"], "epoch": epoch}
            values |= {"clips_per_s": clips_per_s, "data_wait_share": wait_share}
            values |= {"num_bad": len(self.bad)} if self.bad else {}
            self._write_log(values)
        self._line.update(self.step, epoch=epoch, numbers=shown)
        self.window = {}
        self._seconds = dict.fromkeys(seconds, 0.0)

    def _settle_bad(self) -> None:
        """Puts together what every process could not read, and stops the run when it is too much."""
        found = {id_: why for part in self.world.gather(self._new_bad) for id_, why in part if id_ not in self.bad}
        self._new_bad = []
        if not found:
            return
        told = set(self.bad.values())
        self.bad |= found
        for why, ids in by_reason(found.items()).items():
            if why not in told:
                self._line.say(f"cannot be used and is replaced: {why}{f' ({len(ids)} samples)' * (len(ids) > 1)}")
        self._write_bad()
        num_samples = len(self.loader.records)
        if len(self.bad) > self.fit.max_bad_share * num_samples:
            some = "; ".join(list(dict.fromkeys(self.bad.values()))[:3])
            raise TrainingError(
                f"step {self.step}: {len(self.bad)} of {num_samples} training samples cannot be used, more "
                f"than fit.max_bad_share {self.fit.max_bad_share:g}; {self.out_dir / 'bad_files.txt'} lists "
                f"them ({some})"
            )

    def _write_bad(self) -> None:
        path = self.out_dir / "bad_files.txt"
        if self.world.is_first and (self.bad or path.is_file()):
            path.write_text("".join(f"{id_}\t{why}\n" for id_, why in self.bad.items()), encoding="utf-8")

    def _evaluate_if_due(self) -> None:
        if self.step == self.evaluated_step or not self._is_due(self.fit.eval_every):
            return
        published = self._published_task
        with self._whole(published) as task:
            if self.fit.precise_bn:
                self._estimate_statistics(task)
                for ours, estimated in zip(published.buffers(), task.buffers(), strict=True):
                    ours.copy_(estimated)  # from the copy, of a model in shards
            self.evaluated_step = self.step
            if self.evaluate is None:
                return
            self.scores = dict(self.evaluate(task))
        self._write_log({f"val/{name}": score for name, score in self.scores.items()})
        if self._log is not None and self.pictures is not None:
            for name, draw in self.pictures().items():
                self._log.picture(self.step, f"val/{name}", draw)
        score = self.scores.get(self.task.monitor)
        if score is not None and (not self.best or score > self.best["score"]):
            self.best = {"score": score, "step": self.step}
            self._write("best.pt", self._published())
        self._line.say(f"step {self.step}: " + "  ".join(f"{name} {value:.4g}" for name, value in self.scores.items()))

    @property
    def _published_task(self) -> Task:
        """What evaluation and prediction are to see of this step."""
        return self.average.task if self.average is not None else self.task

    @contextlib.contextmanager
    def _whole(self, task: Task) -> Iterator[Task]:
        """`task` on one device; a copy where it is in shards, since processes need not evaluate as many batches."""
        if self.whole is None:
            yield task
            return
        self.whole.load_state_dict(sharded.whole_state(task, world=self.world, everywhere=True))
        try:
            yield self.whole.to(self.world.device)
        finally:
            self.whole.cpu()

    def _estimate_statistics(self, task: Task) -> None:
        """Precise batch norm on batches of the steps ahead, which are a function of (seed, step).

        They have the shape that is evaluated, also in a multigrid run. Training goes on from these statistics; it
        does not read them.
        """

        def forward(batch: Mapping[str, Any]) -> None:
            with autocast(self.world.device, self.fit.precision):
                task(self.input_spec.to_device(batch, self.world.device))

        torch.manual_seed(self._micro_seed(0))
        set_norm_splits(task, 1)
        with contextlib.closing(self.loader.steps(self.step, self.step + self.fit.precise_bn, full_size=True)) as steps:
            estimate_statistics(task, (batch for step in steps for batch in step), forward=forward, world=self.world)

    # ---- files ---------------------------------------------------------------------------------------------

    def _open_log(self) -> RunLog:
        self._write_bad()
        sinks = [*(["tensorboard"] if self.fit.tensorboard else []), *self.fit.loggers]
        return RunLog(self.out_dir, step=self.step, sinks=sinks, record=self.record)

    def _write_log(self, values: Mapping[str, float]) -> None:
        if self._log is None:
            return
        try:
            self._log.write(self.step, values)
        except OSError as error:
            raise TrainingError(
                f"step {self.step}: the log in {self.out_dir} cannot be written ({error}); free some space "
                f"and go on with --resume from {self._last_good()}"
            ) from error

    def _published(self) -> dict[str, Any]:
        """What evaluation and prediction need of this step."""
        return {
            "record": dict(self.record),
            "class_names": list(self.task.class_names),
            "model": self._state_of(self._published_task.model),
            "step": self.step,
            **self.beside,
        }

    def _state_of(self, module: nn.Module) -> dict[str, Tensor]:
        return module.state_dict() if self.whole is None else sharded.whole_state(module, world=self.world)

    def _save(self) -> None:
        self._settle_bad()
        optimizer = self.optimizer.state_dict()
        if self.whole is not None:
            optimizer = sharded.whole_optimizer(self.optimizer, world=self.world)
        payload = {
            **self._published(),
            # the weights that learn, where `model` holds their average
            "raw_model": self._state_of(self.task.model) if self.average is not None else None,
            "task": {k: v for k, v in self._state_of(self.task).items() if not k.startswith("model.")},
            "optimizer": optimizer,
            "scaler": self.scaler.state_dict(),
            "evaluated_step": self.evaluated_step,
            "scores": self.scores,
            "best": self.best,
            "window": {name: list(entry) for name, entry in self.window.items()},
            "bad": self.bad,
        }
        self._write("last.pt", payload)
        self.saved_step = self.step
        if self.fit.keep and self.world.is_first:
            self._keep()

    def _write(self, name: str, payload: Mapping[str, Any]) -> None:
        if not self.world.is_first:
            return
        try:
            checkpoint.write(self.out_dir / name, payload)
        except WeightsError as error:
            raise TrainingError(f"step {self.step}: {error}; go on with --resume from {self._last_good()}") from error

    def _keep(self) -> None:
        """Keeps last.pt under its step's name as well, and only the newest of those."""
        kept = self.out_dir / f"step_{self.step:08}.pt"
        kept.unlink(missing_ok=True)
        try:
            os.link(self.out_dir / "last.pt", kept)
        except OSError:  # a file system without links
            shutil.copyfile(self.out_dir / "last.pt", kept)
        for old in sorted(self.out_dir.glob("step_*.pt"))[: -self.fit.keep]:
            old.unlink()

    def restore(self, saved: Checkpoint) -> None:
        """Takes the run up where a checkpoint left it.

        Raises:
            WeightsError: the checkpoint holds published weights only.
        """
        state = saved.resume
        if "optimizer" not in state:
            raise WeightsError(f"{saved.path}: holds weights only; start a new run with --init {saved.path}")
        raw = state["raw_model"]
        sharded.load_whole(self.task.model, saved.model if raw is None else raw)
        sharded.load_whole(self.task, state["task"], strict=False)
        if self.average is not None:
            sharded.load_whole(self.average.task.model, saved.model)
        sharded.load_optimizer(self.optimizer, state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self.step = self.saved_step = saved.step
        self.evaluated_step = state["evaluated_step"]
        self.scores, self.best = dict(state["scores"]), dict(state["best"])
        self.window = {name: (entry[0], entry[1]) for name, entry in state["window"].items()}
        self.bad = dict(state["bad"])

    def _last_good(self) -> str:
        if self.saved_step is None:
            return "none yet"
        return f"{self.out_dir / 'last.pt'} (step {self.saved_step})"

    def _explain(self, error: RuntimeError) -> Exception:
        text = str(error)
        if isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in text or "not enough memory" in text:
            return TrainingError(
                f"step {self.step + 1}: out of memory on {self.world.device} with "
                f"{self.loader.micro_batch_size} "
                f"samples at a time (fit.batch_size {self.loader.batch_size}, fit.accumulate "
                f"{self.fit.accumulate}, "
                f"{counted(self.world.size, 'process')}); raise fit.accumulate to split the batch further, lower "
                "fit.batch_size, the clip's frames or size, or set fit.precision=bf16"
            )
        if self.world.size > 1 and (isinstance(error, dist.DistError) or "by peer" in text):
            return TrainingError(
                f"step {self.step + 1}: process {self.world.rank} lost the others ({text.partition(chr(10))[0]}); what "
                f"stopped them is in their output; go on with --resume from {self._last_good()}"
            )
        return error
