"""The contract of a data set: records by index, and facts about all of them."""

from __future__ import annotations

import abc
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np

from videozoo.contracts.record import Holds, Record, Truth

__all__ = ["Dataset"]

R = TypeVar("R", bound=Record, covariant=True)


class Dataset(abc.ABC, Generic[R]):
    """A sequence of records, nothing decoded.

    Attributes:
        holds: "clips" for records of videos, "features" for records of stored features.
        truth: the annotations that its records may carry, which training learns from.
        class_names: the name of label 0, 1, ...; of captions and queries the vocabulary.
        multi_label: whether a sample has any number of labels.
        source: the file or folder it was read from.
        notes: samples that were left out or look odd, one sentence each.
        modalities: names of the arrays in each file of features, if it has several.
        feature_recipe: how stored features were made; None for clips and for features of unknown origin.
        extractor: the weight file that makes the same features of other videos; None where it is not stored.
    """

    holds: ClassVar[Holds] = "clips"
    truth: ClassVar[frozenset[Truth]] = frozenset({"labels"})
    class_names: tuple[str, ...]
    multi_label: bool = False
    source: str = "data set"
    notes: tuple[str, ...] = ()

    @property
    def modalities(self) -> tuple[str, ...]:
        return ()

    @property
    def feature_recipe(self) -> Mapping[str, Any] | None:
        return None

    @property
    def extractor(self) -> Path | None:
        return None

    @abc.abstractmethod
    def __len__(self) -> int: ...

    @abc.abstractmethod
    def __getitem__(self, index: int) -> R: ...

    def __iter__(self) -> Iterator[R]:
        for index in range(len(self)):
            yield self[index]

    def class_counts(self) -> list[int] | None:
        """Returns the number of samples of each label, in class order; None where labels are not known beforehand."""
        return None

    def order(self, rng: np.random.Generator) -> np.ndarray | None:
        """Returns the order of one epoch for data that is fast in some orders only; None leaves it to the sampler."""
        return None
