"""Principal components of stored features: reduces the width of the rows, fitted in one pass over them."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import safetensors
from typing_extensions import Self

from videozoo.errors import ConfigError, DataError
from videozoo.io.npz import load_arrays
from videozoo.structured import reading, regular_file

__all__ = ["PREFIX", "Projection", "read_arrays"]

PREFIX = "pca."  # of its arrays in an extractor's file


@dataclasses.dataclass(frozen=True)
class Projection:
    """`(x - mean) @ components.T`.

    Attributes:
        mean: float32 `[d]`.
        components: float32 `[k d]`, the strongest first.
        kept: share of the variance that is kept; None if not fitted here.
    """

    mean: np.ndarray
    components: np.ndarray
    kept: float | None = None

    def __post_init__(self) -> None:
        shapes = f"mean {self.mean.shape}, components {self.components.shape}"
        if self.components.ndim != 2 or self.mean.shape != self.components.shape[1:]:
            raise DataError(f"pca: has {shapes}; needs mean [d] and components [k d]")
        if not (np.isfinite(self.mean).all() and np.isfinite(self.components).all()):
            raise DataError("pca: has values that are not finite; fit it again")

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Projects rows `[t d]` to rows `[t k]`."""
        if values.shape[1] != len(self.mean):
            raise DataError(f"pca: expects features of width {len(self.mean)}, got {values.shape[1]}")
        projected: np.ndarray = (values - self.mean) @ self.components.T
        return projected.astype(np.float32)

    @property
    def dim(self) -> int:
        return len(self.components)

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.mean.tobytes() + self.components.tobytes()).hexdigest()

    @classmethod
    def fit(cls, tables: Iterable[np.ndarray], dim: int, *, whiten: bool = False) -> Self:
        """Finds the `dim` strongest components of all rows; each row has the same weight.

        Args:
            whiten: scales every component to variance 1, as in YouTube-8M's features.

        Raises:
            ConfigError: `dim` exceeds the number of rows or their width.
        """
        count, total, square = 0, np.zeros(0), np.zeros((0, 0))
        for table in tables:
            rows = table.astype(np.float64)
            if not count:
                total, square = np.zeros(rows.shape[1]), np.zeros((rows.shape[1], rows.shape[1]))
            count += len(rows)
            total += rows.sum(0)
            square += rows.T @ rows
        if not 1 <= dim <= min(count, len(total)):
            raise ConfigError(f"pca: cannot find {dim} components in {count} rows of width {len(total)}; ask for fewer")
        mean = total / count
        variances, axes = np.linalg.eigh(square / count - np.outer(mean, mean))
        variances, axes = np.maximum(variances[::-1], 0), axes[:, ::-1].T
        signs = np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(1)])  # makes the signs reproducible
        components = (axes * signs[:, None])[:dim]
        if whiten:
            components = components / np.sqrt(variances[:dim, None] + 1e-4 * variances[0])
        kept = float(variances[:dim].sum() / max(variances.sum(), 1e-12))
        return cls(mean.astype(np.float32), np.ascontiguousarray(components, np.float32), kept)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Self:
        """Reads an npz file with `mean` [d] and `components` [k d].

        Raises:
            DataError: there is no such file, or its content is not a projection.
        """
        path = regular_file(path, kind="file of a projection")
        advice = "--pca takes an npz file with mean [d] and components [k d]"
        with reading(path, advice=advice), load_arrays(path) as file:
            mean, components = file["mean"].astype(np.float32), file["components"].astype(np.float32)
        return cls(mean.ravel(), components)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Returns the arrays to store with an extractor's weights."""
        return {f"{PREFIX}mean": self.mean, f"{PREFIX}components": self.components}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Self | None:
        """Returns the projection stored with an extractor's weights; None if there is none.

        Raises:
            DataError: one of the arrays is missing, or their shapes do not match.
        """
        found = [arrays.get(f"{PREFIX}{name}") for name in ("mean", "components")]
        if all(array is None for array in found):
            return None
        if found[0] is None or found[1] is None:
            raise DataError("pca: the extractor has an incomplete projection; extract the features again")
        return cls(found[0], found[1])


def read_arrays(path: Path, *, prefix: str) -> dict[str, np.ndarray]:
    """Reads only those arrays of a safetensors file whose names begin with `prefix`.

    Raises:
        DataError: the file cannot be read.
    """
    with (
        reading(path, advice="it was cut short or damaged; extract the features again"),
        safetensors.safe_open(path, framework="np") as file,
    ):
        return {name: file.get_tensor(name) for name in file.keys() if name.startswith(prefix)}  # noqa: SIM118
