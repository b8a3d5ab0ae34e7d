"""Where the numbers and pictures of a run go, besides log.jsonl: TensorBoard, Weights & Biases, MLflow."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from videozoo.errors import require

__all__ = ["SINKS", "MLflow", "Sink", "TensorBoard", "WandB"]


class Sink(Protocol):
    """What a place for numbers and pictures offers; made with (out_dir, step that is taken up from, record)."""

    def write(self, step: int, values: Mapping[str, float]) -> None: ...

    def picture(self, step: int, name: str, image: Image.Image) -> None: ...

    def close(self) -> None: ...


class TensorBoard:
    """Events in tb/ of the run directory; a resumed run hides those after its step."""

    def __init__(self, out_dir: Path, *, step: int, record: Mapping[str, Any]):
        from torch.utils.tensorboard import SummaryWriter  # seconds to import

        self._events: Any = SummaryWriter(str(out_dir / "tb"), purge_step=step + 1 if step else None)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._events.add_scalar(name, value, step)

    def picture(self, step: int, name: str, image: Image.Image) -> None:
        self._events.add_image(name, np.asarray(image.convert("RGB")), step, dataformats="HWC")

    def close(self) -> None:
        self._events.close()


class WandB:
    """A run of wandb.ai, named after the run directory; a resumed run goes on in it."""

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
    """A run of MLflow, named after the run directory, which keeps its id so that a resumed run goes on in it."""

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
