"""What every model of the zoo has in common."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from videozoo.errors import ConfigError
from videozoo.types import ParamRule

__all__ = ["FrameClassifier", "LinearClassifier", "VideoModel"]


class VideoModel(nn.Module):
    """A network whose `forward` gives class scores and whose `forward_features` gives what its classifier sees.

    Attributes:
        name: the name it was created by; importers and messages use it.
        num_classes: width of the output; 0 makes `forward` return the features.
        num_features: width of the features.
        input_shape: shape of one sample without the batch axis, e.g. (8, 3, 224, 224) for clips `[t c h w]`.
        is_classifier: whether `forward` gives one score a class; detectors and localizers give a tuple of their own.
        open_blocks: whether `forward` calls the parts of its blocks, not the blocks themselves.
        param_rules: groups of parameters that learn at another rate, or with another decay, by the model's paper.
    """

    name: str = "model"
    num_classes: int
    num_features: int
    input_shape: tuple[int, ...]
    is_classifier: bool = True
    open_blocks: bool = False
    param_rules: Sequence[ParamRule] = ()

    def forward_features(self, x: Tensor) -> Tensor:
        """Clips `[b t c h w]` to pooled features `[b num_features]`."""
        raise NotImplementedError(f"{type(self).__name__}.forward_features")

    def forward_both(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Returns (features `[b num_features]`, class scores `[b num_classes]`) of clips."""
        return self.forward_features(x), self(x)

    def reset_classifier(self, num_classes: int) -> None:
        """Replaces the last layer by a freshly initialised one; 0 removes it."""
        raise NotImplementedError(f"{type(self).__name__}.reset_classifier")


class LinearClassifier(VideoModel):
    """A model whose classifier is one linear layer, `head`.

    Attributes:
        head_std: deviation of a fresh head's weights, whose biases are zero; None leaves both as torch draws them.
    """

    head: nn.Module
    head_std: float | None = 0.01

    def forward_both(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.forward_features(x)
        return features, self.head(features)

    def reset_classifier(self, num_classes: int) -> None:
        self.num_classes = num_classes
        self.head = nn.Linear(self.num_features, num_classes) if num_classes else nn.Identity()
        if num_classes and self.head_std is not None:
            nn.init.normal_(self.head.weight, std=self.head_std)  # type: ignore[arg-type]
            nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]


class FrameClassifier(LinearClassifier):
    """A model of clips of `num_segments` frames, whose features are averaged once each frame has its own."""

    num_segments: int
    dropout: nn.Module

    def forward(self, x: Tensor) -> Tensor:
        features = self.forward_frames(x)
        return self.head(self.dropout(features).mean(1)) if self.num_classes else features.mean(1)

    def forward_features(self, x: Tensor) -> Tensor:
        return self.forward_frames(x).mean(1)

    def forward_frames(self, x: Tensor) -> Tensor:
        """Clips [b t c h w] to the features of each frame [b t num_features].

        Raises:
            ConfigError: the input is no clip of `num_segments` frames.
        """
        if x.ndim != 5 or x.shape[1] != self.num_segments:
            raise ConfigError(
                f"{self.name}: the input has shape {tuple(x.shape)}; needs clips [b t c h w] of {self.num_segments} "
                "frames: sample as many, or say num_segments"
            )
        return self.forward_images(x.flatten(0, 1)).unflatten(0, (-1, self.num_segments))

    def forward_images(self, x: Tensor) -> Tensor:
        """The frames of whole clips, one after the other [b*t c h w], to their features [b*t num_features]."""
        raise NotImplementedError(f"{type(self).__name__}.forward_images")
