"""The training options: the `fit` section of a recipe."""

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
    """The options of training, evaluation, checkpoints and logs.

    Args:
        duration: length of the run.
        batch_size: samples of one optimizer step, over all processes and micro-batches. A recipe thus means the same on
            one device as on eight.
        eval_batch_size: samples of an evaluation batch on each process; None uses the size of a training micro-batch.
        accumulate: number of micro-batches into which a process splits its share of a step to save memory.
        sampler: "uniform" uses every training sample once an epoch; "balanced" draws the same number from every class
            and repeats samples of small classes.
        num_workers: decoding processes per training process; 0 decodes in the training process.
        parallel: "ddp" gives each process the full model; "fsdp" shards parameters, gradients and optimizer state over
            the processes (FSDP2), for models that do not fit on one device.
        precision: number format of the forward pass; parameters and optimizer state are always float32.
        channels_last: whether convolution weights have their channels last in memory; often faster on a GPU.
        compile: whether to compile the model with torch.compile.
        clip_grad_norm: largest global norm of the gradients; None does not clip.
        ema_decay: decay of a moving average of the weights, which is evaluated and published; None publishes the
            weights themselves.
        sync_bn: whether batch norms use statistics over all processes.
        precise_bn: number of steps whose batches give the batch norm statistics before each evaluation; 0 keeps the
            moving averages.
        multigrid: smaller clips in larger batches at first, see `engine.multigrid`; None keeps one shape.
        eval_every: interval between evaluations on the split `val`; the last step is always evaluated.
        eval_views: views (clips x crops) of these evaluations, e.g. "1x1" where the input spec has 10x3; None uses the
            views of the input spec.
        save_every: interval between checkpoints; the last step is always saved.
        log_every: optimizer steps per line of the log; a line holds means over them.
        keep: number of older checkpoints kept as step_N.pt in addition to last.pt and best.pt.
        max_bad_share: largest share of broken training samples; above it the run stops.
        decode_timeout_s: time limit for decoding a sample; a slower sample counts as broken. 0 sets no limit.
        tensorboard: whether to write TensorBoard events to the folder tb/ of the run.
        loggers: further destinations of the log: "wandb", "mlflow".
        device: "auto" uses an accelerator if one is available, else the CPU.
        decode_device: "cuda" decodes, crops and scales clips on the training GPU with TorchCodec; requires
            num_workers=0.
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
                raise ConfigError(f"fit.{name}: is {count}; must be 1 or more")
        amounts = {"num_workers": self.num_workers, "keep": self.keep, "precise_bn": self.precise_bn}
        for name, amount in {**amounts, "decode_timeout_s": self.decode_timeout_s}.items():
            if amount < 0:
                raise ConfigError(f"fit.{name}: is {amount}; must be 0 or more")
        if self.decode_timeout_s > MOST_SECONDS:
            raise ConfigError(f"fit.decode_timeout_s: is {self.decode_timeout_s:g}; must be at most {MOST_SECONDS} s")
        lengths = {"duration": self.duration, "eval_every": self.eval_every, "save_every": self.save_every}
        for name, length in lengths.items():
            if length.amount == 0:
                raise ConfigError(f"fit.{name}: is {length}; must be above 0, e.g. 1ep")
        if self.eval_views is not None:
            Views.parse(self.eval_views, where="fit.eval_views")
        if self.batch_size % self.accumulate:
            raise ConfigError(
                f"fit.accumulate: is {self.accumulate}, which does not divide fit.batch_size "
                f"{self.batch_size}; an optimizer step splits batch_size samples into accumulate equal micro-batches"
            )
        if self.decode_device == "cuda" and self.num_workers:
            raise ConfigError(
                f"fit.num_workers: is {self.num_workers}; fit.decode_device=cuda decodes in the training process; set 0"
            )
        if self.parallel == "fsdp" and self.precision == "fp16":
            raise ConfigError("fit.precision: is fp16; fit.parallel=fsdp does not support its loss scaling; use bf16")
        if self.clip_grad_norm is not None and self.clip_grad_norm <= 0:
            raise ConfigError(f"fit.clip_grad_norm: is {self.clip_grad_norm}; must be above 0, or null")
        if self.ema_decay is not None and not 0 < self.ema_decay < 1:
            raise ConfigError(f"fit.ema_decay: is {self.ema_decay}; must be between 0 and 1, or null")
        if not 0 <= self.max_bad_share < 1:
            raise ConfigError(f"fit.max_bad_share: is {self.max_bad_share}; must be 0 or more and below 1")
