"""A trained network that is ready to answer, however it runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from videozoo.contracts.backend import Backend, Decoder
from videozoo.contracts.input import InputSpec

__all__ = ["Network"]


@dataclasses.dataclass(frozen=True)
class Network:
    """A network with everything that prediction needs.

    Attributes:
        source: the file or folder it was read from, for messages.
        name: the name of its model or its own, e.g. "tsm" or "timm:resnet50".
        task: the name of its task.
        backend: runs it.
        decoder: turns its outputs into answers.
        spec: makes its inputs.
        num_features: width of its classifier's input features; 0 if it has none.
        fingerprint: computes the SHA-256 of its weights.
        write: writes it to a file that `videozoo.load` reads, together with further arrays.
        arrays: further arrays stored with its weights, by name.
        feature_recipe: how its training features were made; None for networks that take clips.
        open_extractor: opens the network that makes such features; None if it is not stored.
    """

    source: str
    name: str
    task: str
    backend: Backend
    decoder: Decoder
    spec: InputSpec
    num_features: int
    fingerprint: Callable[[], str]
    write: Callable[[Path, Mapping[str, np.ndarray]], None]
    arrays: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    feature_recipe: Mapping[str, Any] | None = None
    open_extractor: Callable[[], Network] | None = None

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.decoder.class_names

    def with_labels(self, labels: Sequence[str]) -> Network:
        """Returns the network with a decoder that chooses among these labels; see `Decoder.for_labels`."""
        decoder = self.decoder.for_labels(labels, lambda graph, batch: self.backend.outputs(batch, graph=graph))
        return dataclasses.replace(self, decoder=decoder)

    @property
    def takes_features(self) -> bool:
        """Whether it takes stored features of a video, not its frames."""
        return self.spec.takes == "features"
