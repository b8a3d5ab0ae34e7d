"""The input spec of models on stored features: choice of frames, dequantisation of bytes, normalisation, padding."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np

from videozoo.contracts.dataset import Dataset
from videozoo.contracts.input import Batch, Form, InputSpec
from videozoo.contracts.record import FeatureRecord, Holds
from videozoo.errors import ConfigError, DataError, WidthError
from videozoo.io.features import QUANTIZED_RANGE
from videozoo.transforms.labels import multi_hot
from videozoo.transforms.registry import register_input

__all__ = ["FeaturePipeline", "FeatureRecord", "FeaturesInput"]

HALF_BIN = QUANTIZED_RANGE / 512
MOST_OPENED = 100  # samples tried when looking for the width of the features
SMALLEST_STD = 1e-30


@register_input
@dataclasses.dataclass(frozen=True)
class FeaturesInput(InputSpec):
    """Features of frames, stored as bytes or floats; padded in the loader, dequantised and normalised on the device.

    Args:
        num_frames: with sampling "segments" the number of frames of every video, otherwise the largest number.
        sampling: "all" takes frames from the first on; "segments" one from each of num_frames equal parts, at random
            in training and the middle one in evaluation (attention clusters); "spread" all frames of a video with at
            most num_frames, else as "segments".
        feature_dims: width of each modality, in the data set's order; a run without it takes the data's widths.
        mid_bin: whether the bytes of a modality stand for the middle of their bin (YouTube-8M's own rule) or its
            lower edge (NeXtVLAD's original reads rgb so).
        normalize: whether each number is shifted by the mean and divided by the deviation of the training data. By
            default floats are, bytes are not.
        mean, std: for each number of a row; a run computes them over the rows of the training data.
        modalities: names of the arrays in a file of features that has several; a run takes those of the data set.
    """

    num_frames: int = 300
    sampling: Literal["all", "segments", "spread"] = "all"
    feature_dims: tuple[int, ...] = (1024, 128)
    mid_bin: tuple[bool, ...] = (True, True)
    normalize: bool | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    modalities: tuple[str, ...] = ()

    takes: ClassVar[Holds] = "features"
    gives: ClassVar[frozenset[str]] = frozenset({"id", "features", "mask", "num_frames", "label"})

    def __post_init__(self) -> None:
        if self.num_frames < 1:
            raise ConfigError(f"input.num_frames: is {self.num_frames}; it must be at least 1")
        if not self.feature_dims or min(self.feature_dims) < 1:
            raise ConfigError(f"input.feature_dims: is {self.feature_dims}; give the width of each modality")
        if len(self.mid_bin) != len(self.feature_dims):
            raise ConfigError(
                f"input.mid_bin: {len(self.mid_bin)} values for {len(self.feature_dims)} modalities; give one each"
            )
        for name, values in (("mean", self.mean), ("std", self.std)):
            if values and len(values) != sum(self.feature_dims):
                raise ConfigError(
                    f"input.{name}: {len(values)} values for rows of {sum(self.feature_dims)}; leave it out, the "
                    "training data give it"
                )
        if bool(self.mean) != bool(self.std) or any(not value > 0 for value in self.std):
            raise ConfigError("input.std: needs one number above 0 for each in input.mean; leave both out")

    @classmethod
    def fill_in(cls, given: Mapping[str, Any], records: Dataset[Any]) -> dict[str, Any]:
        """Returns the widths of the first video, and the mean and deviation of all, streaming over the data."""
        first = next(readable(records, most=MOST_OPENED), None)
        if first is None:  # the run names the damaged files
            return {}
        widths = [part.shape[1] for part in first]
        filled: dict[str, Any] = {"modalities": list(records.modalities)}
        if "feature_dims" not in given:
            filled["feature_dims"] = widths
        num_modalities = len(filled.get("feature_dims") or given["feature_dims"])
        if "mid_bin" not in given:
            filled["mid_bin"] = [True] * num_modalities
        normalize = given.get("normalize")
        if normalize is None:
            filled["normalize"] = normalize = first[0].dtype != np.uint8
        if normalize and not given.get("mean") and sum(given.get("feature_dims", widths)) == sum(widths):
            all_given = {**given, **filled}
            raw = cls(feature_dims=tuple(all_given["feature_dims"]), mid_bin=tuple(all_given["mid_bin"]))
            mean, std = moments(raw.floats(parts) for parts in readable(records))
            filled |= {"mean": mean, "std": std}
        return filled

    def train_pipeline(self, *, num_classes: int | None = None) -> FeaturePipeline:
        """Returns the pipeline of training samples, their labels multi-hot over `num_classes`."""
        return FeaturePipeline(self, training=True, num_classes=num_classes)

    def eval_pipeline(
        self, views: str | None = None, *, num_classes: int | None = None, form: Form = "tensors"
    ) -> FeaturePipeline:
        """Returns the pipeline of evaluation samples; features have one view.

        Raises:
            ConfigError: `views` is not 1x1.
        """
        self.check_single_view(views)
        return FeaturePipeline(self, training=False, num_classes=num_classes)

    def to_arrays(self, batch: Batch) -> dict[str, Any]:
        """Dequantizes a batch of bytes: `features` float32 `[b t d]`, 0 on padding, and `mask` `[b t]`.

        Frames that are padding in the whole batch are left out.
        """
        num_frames = np.asarray(batch["num_frames"])
        features = np.asarray(batch["features"])[:, : num_frames.max()]
        mask = np.arange(features.shape[1]) < num_frames[:, None]
        if features.dtype == np.uint8:
            features = features.astype(np.float32) * np.float32(QUANTIZED_RANGE / 255) + self.lowest
        if self.mean:
            features = (features - np.asarray(self.mean, np.float32)) / np.asarray(self.std, np.float32)
        return {**batch, "features": np.where(mask[..., None], features, 0).astype(np.float32), "mask": mask}

    def to_device(self, batch: Batch, device: Any) -> dict[str, Any]:
        """Dequantizes on `device`, so that bytes are transferred as bytes."""
        import torch

        from videozoo.transforms import tensors

        longest = int(batch["num_frames"].max())
        moved = tensors.moved({**batch, "features": batch["features"][:, :longest]}, device)
        features = moved["features"]
        mask = torch.arange(longest, device=features.device) < moved["num_frames"].unsqueeze(1)
        if features.dtype == torch.uint8:
            low = torch.from_numpy(self.lowest).to(features.device)
            features = features.float() * (QUANTIZED_RANGE / 255) + low
        if self.mean:
            mean, std = (torch.tensor(values, device=features.device) for values in (self.mean, self.std))
            features = (features.float() - mean) / std
        return {**moved, "features": features.float().masked_fill(~mask.unsqueeze(-1), 0.0), "mask": mask}

    @property
    def lowest(self) -> np.ndarray:
        """The number that byte 0 stands for, float32 `[d]`."""
        lows = np.array([HALF_BIN * mid - QUANTIZED_RANGE / 2 for mid in self.mid_bin], np.float32)
        return np.repeat(lows, self.feature_dims)

    def floats(self, parts: Sequence[np.ndarray]) -> np.ndarray:
        """Returns the rows `[t d]` of a video's modalities in float64, bytes dequantised."""
        num_rows = min(map(len, parts))
        rows = np.concatenate([part[:num_rows] for part in parts], axis=1)
        return (
            rows * np.float64(QUANTIZED_RANGE / 255) + self.lowest
            if rows.dtype == np.uint8
            else rows.astype(np.float64)
        )

    def model_sizes(self) -> dict[str, Any]:
        return {"num_frames": self.num_frames, "num_segments": self.num_frames, "feature_dims": self.feature_dims}

    def sample(self, num_available: int, rng: np.random.Generator | None) -> np.ndarray:
        """Returns the indices of the frames to read from `num_available`."""
        if self.sampling == "all" or (self.sampling == "spread" and num_available <= self.num_frames):
            return np.arange(min(num_available, self.num_frames))
        offset = rng.random(self.num_frames) if rng is not None else 0.5
        return ((np.arange(self.num_frames) + offset) * num_available / self.num_frames).astype(np.int64)


@dataclasses.dataclass(frozen=True)
class FeaturePipeline:
    """Turns a record into `features` `[num_frames d]` (padded by zeros), `num_frames`, `id` and `label`.

    The label is one class, or multi-hot if `num_classes` is given.
    """

    spec: FeaturesInput
    training: bool
    num_classes: int | None = None

    def __call__(self, record: FeatureRecord, rng: np.random.Generator | None = None) -> dict[str, Any]:
        """Returns the sample of `record`.

        Raises:
            DataError: it cannot be read, its widths or lengths do not match the spec, or a label is out of range.
        """
        if self.training and rng is None:
            raise ConfigError("input: a training pipeline draws at random; call it as pipeline(record, rng)")
        id_, modalities, labels = record.read(with_sound=len(self.spec.feature_dims) > 1)
        widths = tuple(part.shape[1] for part in modalities)
        if not _fit(widths, self.spec.feature_dims):
            raise WidthError(
                f"{record.id}: features have the widths {widths}, but "
                f"the recipe says input.feature_dims={self.spec.feature_dims}"
            )
        lengths = sorted({len(part) for part in modalities})
        num_available = lengths[0]
        if not num_available:
            raise DataError(f"{record.id}: has no frames; remove the record")
        frames = self.spec.sample(num_available, rng if self.training else None)
        dtype = modalities[0].dtype
        padded = np.zeros((self.spec.num_frames, sum(widths)), dtype)
        padded[: len(frames)] = np.concatenate([part[frames] for part in modalities], axis=1, dtype=dtype)
        sample: dict[str, Any] = {
            "features": padded,
            "num_frames": len(frames),
            "id": id_,
        }
        if labels is not None and self.num_classes is not None:
            sample["label"] = multi_hot(labels, self.num_classes, where=record.id)
        elif labels and self.num_classes is None:
            sample["label"] = np.int64(labels[0])
        return sample


def readable(records: Iterable[FeatureRecord], *, most: int | None = None) -> Iterator[list[np.ndarray]]:
    """Yields the modalities of the records that can be read, of the first `most` records."""
    for record in itertools.islice(records, most):
        with contextlib.suppress(DataError):  # the run reports it
            yield record.read(with_sound=True).arrays


def moments(tables: Iterable[np.ndarray]) -> tuple[list[float], list[float]]:
    """Returns mean and deviation of each column over the rows of all tables, in one pass (Chan et al. 1979).

    A constant column has the deviation 1.
    """
    count, mean, squares = 0, np.zeros(1), np.zeros(1)
    for rows in tables:
        num_rows, middle = len(rows), rows.mean(axis=0)
        apart, count = middle - mean, count + num_rows
        mean = mean + apart * (num_rows / count)
        squares = squares + ((rows - middle) ** 2).sum(axis=0) + apart**2 * (num_rows * (count - num_rows) / count)
    std = np.sqrt(squares / max(count, 1))
    is_constant = std <= 1e-7 * np.abs(mean)  # the rounding of float32
    return _rounded(mean), _rounded(np.where(is_constant | (std < SMALLEST_STD), 1.0, std))


def _rounded(values: np.ndarray) -> list[float]:
    """Returns values to the precision of float32, in short decimals for the run's record."""
    return [float(f"{value:.9g}") for value in values.tolist()]


def _fit(widths: Sequence[int], expected: Sequence[int]) -> bool:
    """Returns whether tables of these widths hold the expected ones, each in one table."""
    ends = set(itertools.accumulate(expected))
    return sum(widths) == sum(expected) and set(itertools.accumulate(widths)) <= ends
