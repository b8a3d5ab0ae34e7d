"""A toy problem: every part that the engine meets, small enough to run a hundred times a second."""

from __future__ import annotations

import dataclasses
import faulthandler
import functools
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from videozoo.contracts.dataset import Dataset
from videozoo.contracts.record import Record
from videozoo.engine.distributed import World
from videozoo.engine.duration import Duration, Horizon
from videozoo.engine.loader import EvalLoader, TrainLoader, Workers
from videozoo.engine.optim import sgd
from videozoo.engine.options import Fit
from videozoo.engine.run_files import RunFiles
from videozoo.engine.schedule import cosine
from videozoo.engine.trainer import Trainer
from videozoo.errors import DecodeError
from videozoo.models.model import VideoModel
from videozoo.tasks.task import Task

RECORD = {"model": {"name": "toy"}, "task": {"name": "toy"}, "input": {"name": "toy"}}


@dataclasses.dataclass(frozen=True)
class ToyRecord(Record):
    id: str
    index: int
    path: Path

    @property
    def location(self) -> str:
        return str(self.path)


class ToyRecords(Dataset[ToyRecord]):
    """`num` records; the indices in `broken` cannot be read."""

    class_names = ("a", "b", "c")

    def __init__(self, num: int = 26):
        self.num = num

    def __len__(self) -> int:
        return self.num

    def __getitem__(self, index: int) -> ToyRecord:
        return ToyRecord(f"toy{index}", index, Path(f"videos/toy{index}.mp4"))


@dataclasses.dataclass(frozen=True)
class ToyPipeline:
    """Clips `[2 3 4 4]` drawn from the index, with noise from `rng`."""

    broken: tuple[int, ...] = ()
    hang: tuple[int, ...] = ()
    die: tuple[int, ...] = ()
    die_by: int = 0
    die_once: Path | None = None
    poison: tuple[int, ...] = ()
    noise: float = 0.5
    sleep: str = "python"

    def __call__(self, record: ToyRecord, rng: np.random.Generator) -> dict[str, Any]:
        if record.index in self.broken:
            raise DecodeError(record.path, "moov atom not found")
        if record.index in self.hang:
            if self.sleep == "masked":  # as a decoder that never comes back to Python
                import signal

                signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
            time.sleep(60)
        if record.index in self.die and (self.die_once is None or not self.die_once.exists()):
            if self.die_once is not None:
                self.die_once.touch()
            faulthandler.disable()  # pytest's, which would print where it happened
            os.kill(os.getpid(), self.die_by) if self.die_by else os._exit(7)
        label = record.index % 3
        clip = np.random.default_rng(record.index).uniform(0, 255, (2, 3, 4, 4)).astype(np.float32)
        clip += 80 * label + self.noise * rng.normal(size=clip.shape).astype(np.float32)
        if record.index in self.poison:
            clip[:] = np.nan
        return {"id": record.id, "video": torch.from_numpy(clip), "label": np.int64(label)}


class ToyInput:
    def to_device(self, batch: Any, device: Any) -> dict[str, Any]:
        moved = {k: v.to(device) if isinstance(v, Tensor) else v for k, v in batch.items()}
        return {**moved, "video": moved["video"] / 255 - 0.5}


class ToyModel(VideoModel):
    def __init__(self, *, norm: bool = True, dropout: float = 0.1):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4) if norm else nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        b = x.shape[0]
        features = self.norm(self.conv(x.flatten(0, 1))).relu().mean((-1, -2))
        return self.fc(self.dropout(features.unflatten(0, (b, -1)).mean(1)))


class ToyTask(Task):
    def forward(self, batch: Any) -> dict[str, Tensor]:
        lam = torch.rand(())  # as mixup does
        loss = F.cross_entropy(self.model(batch["video"]).float(), batch["label"])
        return {"loss": loss * (0.9 + 0.2 * lam), "aux": loss.detach() * 2}

    def predict(self, batch: Any) -> list[int]:
        return self.model(batch["video"]).argmax(-1).tolist()


class ToyEvaluator:
    def __init__(self, num: int):
        self.num = num

    def __call__(self, task: Task) -> dict[str, float]:
        task.eval()
        right = 0
        for batch in EvalLoader(ToyRecords(self.num), ToyPipeline(noise=0), batch_size=7):
            guesses = task.predict(ToyInput().to_device(batch, "cpu"))
            right += sum(int(g == label) for g, label in zip(guesses, batch["label"], strict=True))
        task.train()
        return {"top1": 100 * right / self.num}

    def pictures(self) -> dict[str, Any]:
        return {}


def sharing(
    *, num_workers: int = 0, timeout_s: float = 0.0, rank: int = 0, world_size: int = 1, **others: Any
) -> dict[str, Any]:
    """Returns loader arguments with `workers` and `world` made from plain numbers."""
    return {"workers": Workers(num_workers, timeout_s=timeout_s), "world": World(rank=rank, size=world_size), **others}


def make_trainer(
    out_dir: Path,
    *,
    steps: int = 12,
    world: World | None = None,
    pipeline: ToyPipeline | None = None,
    num: int = 26,
    norm: bool = True,
    dropout: float = 0.1,
    clock: Any = None,
    optimizer: Callable[[Task], Optimizer] = functools.partial(sgd, lr=0.1, momentum=0.9, weight_decay=1e-3),
    **fit: Any,
) -> Trainer:
    """A trainer of the toy problem, as fresh as a new process would make it."""
    world = world or World()
    defaults = {
        "duration": Duration(steps, "st"),
        "batch_size": 6,
        "num_workers": 0,
        "eval_every": Duration(5, "st"),
        "save_every": Duration(4, "st"),
        "log_every": 3,
        "tensorboard": False,
        "decode_timeout_s": 0,
    }
    options = Fit(**{**defaults, **fit})
    out_dir.mkdir(exist_ok=True)
    torch.manual_seed(0)
    task = ToyTask(ToyModel(norm=norm, dropout=dropout), ToyRecords.class_names)
    pipeline = pipeline or ToyPipeline()
    loader = TrainLoader(
        ToyRecords(num),
        pipeline,
        batch_size=options.batch_size,
        seed=3,
        accumulate=options.accumulate,
        workers=Workers(options.num_workers, timeout_s=options.decode_timeout_s),
        world=world,
    )
    horizon = Horizon(steps, loader.steps_per_epoch, options.batch_size)
    return Trainer(
        task,
        loader,
        optimizer=optimizer(task),
        schedule=cosine(horizon, warmup=Duration(3, "st")),
        horizon=horizon,
        input_spec=ToyInput(),
        fit=options,
        files=RunFiles(out_dir, record=RECORD, keep=options.keep, writes=world.is_first),
        world=world,
        evaluate=ToyEvaluator(num),
    )
