"""The input spec of models on stored features: choice of frames, dequantisation of bytes, padding."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, Literal

import numpy as np

from videozoo.contracts.input import Batch, Form, InputSpec
from videozoo.contracts.record import FeatureRecord, Holds
from videozoo.errors import ConfigError, DataError, WidthError
from videozoo.io.features import QUANTIZED_RANGE
from videozoo.transforms.labels import multi_hot
from videozoo.transforms.registry import register_input

__all__ = ["FeaturePipeline", "FeatureRecord", "FeaturesInput"]

HALF_BIN = QUANTIZED_RANGE / 512


@register_input
@dataclasses.dataclass(frozen=True)
class FeaturesInput(InputSpec):
    """Features of frames, stored as bytes or floats; padded in the loader, dequantised on the device.

    Args:
        num_frames: with sampling "all" the most frames read from a video, with "segments" exactly this number.
        sampling: "all" takes frames from the first on; "segments" one from each of num_frames equal parts, at random
            in training and the middle one in evaluation (attention clusters).
        feature_dims: width of each modality, in the data set's order.
        mid_bin: whether the bytes of a modality stand for the middle of their bin (YouTube-8M's own rule) or its
            lower edge (NeXtVLAD's original reads rgb so).
    """

    num_frames: int = 300
    sampling: Literal["all", "segments"] = "all"
    feature_dims: tuple[int, ...] = (1024, 128)
    mid_bin: tuple[bool, ...] = (True, True)

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
        return {**moved, "features": features.float().masked_fill(~mask.unsqueeze(-1), 0.0), "mask": mask}

    @property
    def lowest(self) -> np.ndarray:
        """The number that byte 0 stands for, float32 `[d]`."""
        lows = np.array([HALF_BIN * mid - QUANTIZED_RANGE / 2 for mid in self.mid_bin], np.float32)
        return np.repeat(lows, self.feature_dims)

    def model_sizes(self) -> dict[str, Any]:
        return {"num_frames": self.num_frames, "num_segments": self.num_frames, "feature_dims": self.feature_dims}

    def sample(self, num_available: int, rng: np.random.Generator | None) -> np.ndarray:
        """Returns the indices of the frames to read from `num_available`."""
        if self.sampling == "all":
            return np.arange(min(num_available, self.num_frames))
        offset = rng.random(self.num_frames) if rng is not None else 0.5
        return ((np.arange(self.num_frames) + offset) * num_available / self.num_frames).astype(np.int64)


@dataclasses.dataclass(frozen=True)
class FeaturePipeline:
    """Turns a record into `features` `[num_frames d]` (padded by zeros), `num_frames`, `id`, and `label` multi-hot."""

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
        if widths != self.spec.feature_dims:
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
        return sample
