"""Further destinations of a run's values and pictures: TensorBoard, Weights & Biases, MLflow."""

from __future__ import annotations

import hashlib
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
from PIL import Image

from videozoo.errors import require

__all__ = ["SINKS", "MLflow", "Sink", "TensorBoard", "WandB"]


class Sink(Protocol):
    """Receives values and pictures of a run; constructed with (out_dir, step from which the run starts, record)."""

    def write(self, step: int, values: Mapping[str, float]) -> None: ...

    def picture(self, step: int, name: str, image: Image.Image) -> None: ...

    def close(self) -> None: ...


class TensorBoard:
    """TensorBoard events in tb/ of the run directory; a resumed run hides the events after its step.

    Events are written immediately by the calling thread. The thread of torch's SummaryWriter prints a traceback when
    the disk is full, and runs while workers are forked.
    """

    def __init__(self, out_dir: Path, *, step: int, record: Mapping[str, Any]):
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog  # takes seconds to import
        from tensorboard.summary.writer.record_writer import RecordWriter
        from torch.utils.tensorboard import summary

        self._event, self._summary = Event, cast(Any, summary)  # an untyped function
        folder = out_dir / "tb"
        folder.mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{time.time():.6f}.{socket.gethostname()}.{os.getpid()}"
        self._file = (folder / name).open("wb", buffering=0)
        self._records = RecordWriter(self._file)
        self._add(0, file_version="brain.Event:2")
        if step:
            self._add(step + 1, session_log=SessionLog(status=SessionLog.START))

    def write(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._add(step, summary=self._summary.scalar(name, value))

    def picture(self, step: int, name: str, image: Image.Image) -> None:
        pixels = np.asarray(image.convert("RGB"))
        self._add(step, summary=self._summary.image(name, pixels, dataformats="HWC"))

    def close(self) -> None:
        self._file.close()

    def _add(self, step: int, **content: Any) -> None:
        self._records.write(self._event(wall_time=time.time(), step=step, **content).SerializeToString())


class WandB:
    """A run of wandb.ai, named after the run directory; a resumed run continues it."""

    def __init__(self, out_dir: Path, *, step: int, record: Mapping[str, Any]):
        self._wandb: Any = require("wandb", extra="wandb", purpose="fit.loggers: wandb")
        same_id = hashlib.sha1(str(out_dir.resolve()).encode(), usedforsecurity=False).hexdigest()[:16]
        self._run = self._wandb.init(
            dir=str(out_dir), id=same_id, name=out_dir.name, config=dict(record), resume="allow" if step else None
        )

    def write(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def picture(self, step: int, name: str, image: Image.Image) -> None:
        self._run.log({name: self._wandb.Image(image)}, step=step)

    def close(self) -> None:
        self._run.finish()


class MLflow:
    """A run of MLflow, named after the run directory. Its id is stored there, so that a resumed run continues it."""

    def __init__(self, out_dir: Path, *, step: int, record: Mapping[str, Any]):
        self._mlflow: Any = require("mlflow", extra="mlflow", purpose="fit.loggers: mlflow")
        kept = out_dir / "mlflow_run_id"
        run_id = kept.read_text(encoding="utf-8") if step and kept.is_file() else None
        run = self._mlflow.start_run(run_id=run_id, run_name=out_dir.name)
        kept.write_text(run.info.run_id, encoding="utf-8")
        self._mlflow.log_dict(dict(record), "recipe.yaml")

    def write(self, step: int, values: Mapping[str, float]) -> None:
        self._mlflow.log_metrics(dict(values), step=step)

    def picture(self, step: int, name: str, image: Image.Image) -> None:
        self._mlflow.log_image(image, f"{name}_{step:08}.png")

    def close(self) -> None:
        self._mlflow.end_run()


SINKS: Mapping[str, type[Any]] = {"tensorboard": TensorBoard, "wandb": WandB, "mlflow": MLflow}
