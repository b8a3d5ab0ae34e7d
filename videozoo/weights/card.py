"""The card of a published weight file."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from videozoo.models.model import VideoModel

__all__ = ["Card"]


@dataclasses.dataclass(frozen=True)
class Card:
    """One published weight file.

    name: "model.variant", or "model".
    source: the project, as `weights.convert` takes it.
    urls: addresses of the file; the first that answers is used. None for files in a package.
    args: model arguments; `weights.conventions` adds those that the source requires.
    input: fields that differ from the model's usual input spec.
    published: the published score with its protocol; not reproduced by videozoo.
    license: of the weights; see `is_noncommercial`.
    labels: the label set of the classes, see `weights.label_sets`; None if their names are not known.
    sha256: hash of the file; None if unpublished: then the hash of the first download is stored.
    recipe: the recipe of the network's input and task, if it is no clip classifier.
    package: the Python package that holds the file, as "package/file", and the extra that installs it.
    """

    name: str
    source: str
    urls: tuple[str, ...]
    published: str
    args: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    input: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    license: str = "Apache-2.0"
    labels: str | None = None
    sha256: str | None = None
    recipe: str | None = None
    package: tuple[str, str] | None = None

    @property
    def origin(self) -> str:
        """The place of the file, for lists: its first address, or its package."""
        return self.urls[0] if self.package is None else f"the package {self.package[0].partition('/')[0]}"

    @property
    def model(self) -> str:
        return self.name.partition(".")[0]

    @property
    def file_name(self) -> str:
        """The name in the cache: card name and published file name, since several cards have the same file name."""
        return f"{self.name}-{self.urls[0].rpartition('/')[2]}".replace("*", "x")

    @property
    def is_noncommercial(self) -> bool:
        """Whether the licence forbids commercial use."""
        return "-NC-" in self.license

    def is_usable(self) -> bool:
        """Returns whether this version has the model; imports nothing heavy."""
        from videozoo.models.registry import models

        return self.model in models.names()

    def new_model(self, state: Mapping[str, Any] | None = None) -> VideoModel:
        """Returns the model without its weights, with the arguments that the source and `state` require."""
        from videozoo.weights.conventions import args_from_state, fitting_model

        shown = {} if state is None else args_from_state(state, source=self.source, model=self.model)
        return fitting_model(self.model, {**shown, **self.args}, source=self.source)[0]
