"""How a run is carried out: the `fit` section of a recipe."""

from __future__ import annotations

import dataclasses
from typing import Literal

from videozoo.engine.duration import Duration
from videozoo.engine.multigrid import Multigrid
from videozoo.errors import ConfigError
from videozoo.tasks.precision import Precision
from videozoo.transforms.input import Views

__all__ = ["Fit"]

MOST_SECONDS = 7 * 24 * 3600
ONE_EPOCH, TEN_EPOCHS = Duration(1, "ep"), Duration(10, "ep")


@dataclasses.dataclass(frozen=True)
class Fit:
    """Length, batch, precision, and what is written when.

    Args:
        duration: length of the run.
        batch_size: samples that one optimizer step sees, over all processes and micro-batches: a recipe means
            the same on one device as on eight.
        eval_batch_size: samples of an evaluation batch on each process; None takes that of a training
            micro-batch.
        accumulate: micro-batches that a process splits its share of a step into, to fit its memory.
        sampler: "uniform" shows every training sample once an epoch; "balanced" draws as many of every class,
            those of small classes more than once.
        num_workers: processes that decode, beside each training process; 0 decodes in the training process.
        parallel: of several processes, "ddp" gives each the whole model; "fsdp" cuts parameters, gradients and
            optimizer state up between them (FSDP2), for models that do not fit otherwise.
        precision: of the forward pass; parameters and optimizer are float32 always.
        channels_last: convolution weights with the channels last in memory: often faster, on a GPU above all.
        compile: the model through torch.compile.
        clip_grad_norm: the largest global norm of a gradient; None does not clip.
        ema_decay: evaluate and publish a moving average of the weights with this decay; None publishes the
            weights.
        sync_bn: batch statistics over all processes.
        precise_bn: steps whose batches the statistics of batch norms are measured on anew before each evaluation;
            0 keeps the moving averages.
        multigrid: smaller clips in larger batches at first, see `engine.multigrid`; None has the same shape all along.
        eval_every: between evaluations on the split `val`; there is always one at the end.
        eval_views: of these evaluations, clips x crops: "1x1" is quick where the input asks for 10x3; None takes the
            input's.
        save_every: between checkpoints; there is always one at the end.
        log_every: optimizer steps between lines of the log, each the mean over them.
        keep: how many older checkpoints are kept as step_N.pt, beside last.pt and best.pt.
        max_bad_share: part of the training samples that may turn out broken before the run stops.
        decode_timeout_s: a sample that takes longer is cut off and counted as broken; 0 waits for ever.
        tensorboard: events in the folder tb/, beside log.jsonl.
        loggers: where else the log goes: "wandb", "mlflow".
        device: "auto" takes the accelerator if there is one.
        decode_device: "cuda" decodes training clips on the GPU that trains, by TorchCodec, and crops and scales them
            there; takes num_workers=0.
    """

    duration: Duration = TEN_EPOCHS
    batch_size: int = 16
    eval_batch_size: int | None = None
    accumulate: int = 1
    sampler: Literal["uniform", "balanced"] = "uniform"
    num_workers: int = 2
    parallel: Literal["ddp", "fsdp"] = "ddp"
    precision: Precision = "fp32"
    channels_last: bool = True
    compile: bool = False
    clip_grad_norm: float | None = None
    ema_decay: float | None = None
    sync_bn: bool = False
    precise_bn: int = 0
    multigrid: Multigrid | None = None
    eval_every: Duration = ONE_EPOCH
    eval_views: str | None = None
    save_every: Duration = ONE_EPOCH
    log_every: int = 10
    keep: int = 0
    max_bad_share: float = 0.05
    decode_timeout_s: float = 60.0
    tensorboard: bool = True
    loggers: tuple[Literal["wandb", "mlflow"], ...] = ()
    device: str = "auto"
    decode_device: Literal["cpu", "cuda"] = "cpu"

    def __post_init__(self) -> None:
        counts = {"batch_size": self.batch_size, "accumulate": self.accumulate, "log_every": self.log_every}
        for name, count in {**counts, "eval_batch_size": self.eval_batch_size}.items():
            if count is not None and count < 1:
                raise ConfigError(f"fit.{name}: is {count}; it takes a whole number from 1 up")
        amounts = {"num_workers": self.num_workers, "keep": self.keep, "precise_bn": self.precise_bn}
        for name, amount in {**amounts, "decode_timeout_s": self.decode_timeout_s}.items():
            if amount < 0:
                raise ConfigError(f"fit.{name}: is {amount}; it takes a number from 0 up")
        if self.decode_timeout_s > MOST_SECONDS:
            raise ConfigError(f"fit.decode_timeout_s: is {self.decode_timeout_s:g}; it takes {MOST_SECONDS} s at most")
        lengths = {"duration": self.duration, "eval_every": self.eval_every, "save_every": self.save_every}
        for name, length in lengths.items():
            if length.amount == 0:
                raise ConfigError(f"fit.{name}: is {length}; it takes more than nothing, e.g. 1ep")
        if self.eval_views is not None:
            Views.parse(self.eval_views, where="fit.eval_views")
        if self.batch_size % self.accumulate:
            raise ConfigError(
                f"fit.accumulate: is {self.accumulate}, which does not divide fit.batch_size "
                f"{self.batch_size}; "
                "an optimizer step sees batch_size samples, in accumulate micro-batches of equal size"
            )
        if self.decode_device == "cuda" and self.num_workers:
            raise ConfigError(
                f"fit.num_workers: is {self.num_workers}; fit.decode_device=cuda decodes in the training process, set 0"
            )
        if self.parallel == "fsdp" and self.precision == "fp16":
            raise ConfigError("fit.precision: is fp16, whose loss scale fit.parallel=fsdp does not have; take bf16")
        if self.clip_grad_norm is not None and self.clip_grad_norm <= 0:
            raise ConfigError(f"fit.clip_grad_norm: is {self.clip_grad_norm}; it takes a number above 0, or null")
        if self.ema_decay is not None and not 0 < self.ema_decay < 1:
            raise ConfigError(f"fit.ema_decay: is {self.ema_decay}; it takes a number between 0 and 1, or null")
        if not 0 <= self.max_bad_share < 1:
            raise ConfigError(f"fit.max_bad_share: is {self.max_bad_share}; it takes a share, 0..1")
