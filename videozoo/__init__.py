"""videozoo: train, evaluate, run and deploy video models.

The names in `__all__` are the public interface; everything else may change between releases. Each name is imported on
first use, so `import videozoo` is quick and loads neither torch nor numpy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from videozoo.errors import require
from videozoo.version import __version__

if TYPE_CHECKING:
    from videozoo.contracts.answer import Answer, Boundary, BoxMark, Caption, Embedding, Labels, Lane, Segments, Shots
    from videozoo.contracts.backend import Backend, Decoder
    from videozoo.contracts.dataset import Dataset
    from videozoo.contracts.features import FeatureRecipe, Features
    from videozoo.contracts.input import InputSpec, Pipeline
    from videozoo.contracts.network import Network
    from videozoo.contracts.record import ClipRecord, FeatureRecord, Record
    from videozoo.contracts.video import Span, VideoInfo
    from videozoo.data.dataset import ClipDataset
    from videozoo.data.registry import register_dataset
    from videozoo.decoding.registry import register_decoder
    from videozoo.engine.registry import register_optimizer
    from videozoo.errors import (
        ConfigError,
        DataError,
        DecodeError,
        MissingPackageError,
        TrainingError,
        VideoZooError,
        WeightsError,
        WidthError,
    )
    from videozoo.io.decode import open_video, probe
    from videozoo.io.features import FeatureStore
    from videozoo.io.reader import Frames, VideoReader
    from videozoo.loading import load, load_extractor, load_searcher
    from videozoo.metrics.metric import Metric
    from videozoo.models.model import VideoModel
    from videozoo.models.param_rule import ParamRule
    from videozoo.models.registry import create_model, list_models, register_model
    from videozoo.predict.extractor import Extractor
    from videozoo.predict.index import VideoIndex
    from videozoo.predict.prediction import Prediction, Window
    from videozoo.predict.predictor import Predictor
    from videozoo.predict.search import Hit, Searcher
    from videozoo.tasks.registry import register_task
    from videozoo.tasks.task import Task
    from videozoo.transforms.registry import register_input
    from videozoo.weights.cards import load_card

_NAMES_OF = {
    "contracts.answer": (
        "Answer",
        "Boundary",
        "BoxMark",
        "Caption",
        "Embedding",
        "Labels",
        "Lane",
        "Segments",
        "Shots",
    ),
    "contracts.backend": ("Backend", "Decoder"),
    "contracts.dataset": ("Dataset",),
    "contracts.features": ("FeatureRecipe", "Features"),
    "contracts.input": ("InputSpec", "Pipeline"),
    "contracts.network": ("Network",),
    "contracts.record": ("ClipRecord", "FeatureRecord", "Record"),
    "contracts.video": ("Span", "VideoInfo"),
    "data.dataset": ("ClipDataset",),
    "data.registry": ("register_dataset",),
    "decoding.registry": ("register_decoder",),
    "engine.registry": ("register_optimizer",),
    "errors": (
        "ConfigError",
        "DataError",
        "DecodeError",
        "MissingPackageError",
        "TrainingError",
        "VideoZooError",
        "WeightsError",
        "WidthError",
    ),
    "io.decode": ("open_video", "probe"),
    "io.features": ("FeatureStore",),
    "io.reader": ("Frames", "VideoReader"),
    "loading": ("load", "load_extractor", "load_searcher"),
    "metrics.metric": ("Metric",),
    "models.model": ("VideoModel",),
    "models.param_rule": ("ParamRule",),
    "models.registry": ("create_model", "list_models", "register_model"),
    "predict.extractor": ("Extractor",),
    "predict.index": ("VideoIndex",),
    "predict.prediction": ("Prediction", "Window"),
    "predict.predictor": ("Predictor",),
    "predict.search": ("Hit", "Searcher"),
    "tasks.registry": ("register_task",),
    "tasks.task": ("Task",),
    "transforms.registry": ("register_input",),
    "weights.cards": ("load_card",),
}
_TORCH_MODULES = ("Task", "VideoModel")  # the names that cannot be imported without torch
_HOME_OF = {name: f"videozoo.{module}" for module, names in _NAMES_OF.items() for name in names}

__all__ = [
    "Answer",
    "Backend",
    "Boundary",
    "BoxMark",
    "Caption",
    "ClipDataset",
    "ClipRecord",
    "ConfigError",
    "DataError",
    "Dataset",
    "DecodeError",
    "Decoder",
    "Embedding",
    "Extractor",
    "FeatureRecipe",
    "FeatureRecord",
    "FeatureStore",
    "Features",
    "Frames",
    "Hit",
    "InputSpec",
    "Labels",
    "Lane",
    "Metric",
    "MissingPackageError",
    "Network",
    "ParamRule",
    "Pipeline",
    "Prediction",
    "Predictor",
    "Record",
    "Searcher",
    "Segments",
    "Shots",
    "Span",
    "Task",
    "TrainingError",
    "VideoIndex",
    "VideoInfo",
    "VideoModel",
    "VideoReader",
    "VideoZooError",
    "WeightsError",
    "WidthError",
    "Window",
    "__version__",
    "create_model",
    "list_models",
    "load",
    "load_card",
    "load_extractor",
    "load_searcher",
    "open_video",
    "probe",
    "register_dataset",
    "register_decoder",
    "register_input",
    "register_model",
    "register_optimizer",
    "register_task",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'videozoo' has no attribute '{name}'")
    if name in _TORCH_MODULES:
        require("torch", extra="torch", purpose=f"videozoo.{name}")
    return getattr(importlib.import_module(_HOME_OF[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
