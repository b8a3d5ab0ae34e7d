"""The contracts of preprocessing: an input spec builds pipelines, a pipeline makes samples from records."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Protocol

import numpy as np

from videozoo.contracts.dataset import Dataset
from videozoo.contracts.record import Holds, Truth
from videozoo.errors import ConfigError

__all__ = ["Batch", "Form", "InputSpec", "Pipeline", "Sample"]

Form = Literal["arrays", "tensors"]  # numpy and Pillow, or torch
Sample = dict[str, Any]
Batch = Mapping[str, Any]


class Pipeline(Protocol):
    """Makes a sample from a record; all randomness comes from `rng`, which training pipelines need."""

    @property
    def spec(self) -> InputSpec: ...

    def __call__(self, record: Any, rng: np.random.Generator | None = None) -> Sample: ...


class InputSpec(abc.ABC):
    """Defines preprocessing once; it travels in the checkpoint. Subclasses are frozen dataclasses.

    Attributes:
        recipe_name: the name in recipes, set by the registry.
        takes: the kind of records that it reads.
        learns_from: the annotations of the records that its training samples carry.
        gives: the keys of a training batch once it is on the device.
        views: the evaluation protocol, "clips x crops".
        modalities: names of the arrays in a file of features that has several.
    """

    recipe_name: ClassVar[str]
    takes: ClassVar[Holds] = "clips"
    learns_from: ClassVar[Truth] = "labels"
    gives: ClassVar[frozenset[str]] = frozenset()
    views: str = "1x1"
    modalities: tuple[str, ...] = ()

    @classmethod
    def fill_in(cls, given: Mapping[str, Any], records: Dataset[Any]) -> dict[str, Any]:
        """Returns the fields that a recipe leaves to the training data; the run's record stores them.

        Args:
            given: the fields in the recipe.
            records: the training data.
        """
        return {}

    @abc.abstractmethod
    def train_pipeline(self, *, num_classes: int | None = None) -> Pipeline:
        """Returns the pipeline of training samples; labels are multi-hot where `num_classes` is given."""

    @abc.abstractmethod
    def eval_pipeline(
        self, views: str | None = None, *, num_classes: int | None = None, form: Form = "tensors"
    ) -> Pipeline:
        """Returns the pipeline of evaluation samples.

        Raises:
            ConfigError: the spec has no such views.
        """

    @abc.abstractmethod
    def to_arrays(self, batch: Batch) -> dict[str, Any]:
        """Returns the network's inputs of a batch of arrays: normalized, stacked, padded; nothing else changes."""

    @abc.abstractmethod
    def to_device(self, batch: Batch, device: Any) -> dict[str, Any]:
        """Returns the network's inputs of a batch as tensors on `device`."""

    def model_sizes(self) -> dict[str, Any]:
        """Returns the model arguments that the input determines, e.g. `num_segments`."""
        return {}

    def to_dict(self) -> dict[str, Any]:
        """Returns the spec as plain values; `build_input` takes it back."""
        return {"name": self.recipe_name, **dataclasses.asdict(self)}  # type: ignore[call-overload]

    def check_single_view(self, views: str | None) -> None:
        """Refuses views other than 1x1, for inputs that have only one.

        Raises:
            ConfigError: `views` is not 1x1.
        """
        if views not in (None, "1x1"):
            raise ConfigError(f"input.views: is '{views}'; features have one view, 1x1")
