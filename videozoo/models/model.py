"""The base classes of all models."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from videozoo.errors import ConfigError
from videozoo.layers.window_scores import pool_windows, window_scores
from videozoo.models.param_rule import ParamRule
from videozoo.shapes import Float

__all__ = ["DropoutClassifier", "FrameClassifier", "LinearClassifier", "VideoModel", "WindowClassifier"]


class VideoModel(nn.Module):
    """A network from clips, or from features of videos, to class scores or to a task's own outputs.

    A classifier runs in up to three stages, each of which can be called alone: `forward_maps` gives its last feature
    maps, `forward_features` the classifier's input, and `forward_head` the scores of such features.

    Attributes:
        name: the name it was created by; importers and messages use it.
        num_classes: width of the output; 0 makes `forward` return the features.
        num_features: width of the features.
        input_shape: shape of one sample without the batch axis, e.g. (8, 3, 224, 224) for clips `[t c h w]`.
        is_classifier: whether `forward` gives one score a class; detectors and localizers give a tuple of their own.
        segment_frames: consecutive frames of a segment, where clips are made of segments.
        open_blocks: whether `forward` calls the parts of its blocks, not the blocks themselves.
        usual_recipe: the recipe whose input and averaging imported weights get, but for sizes, which the model has.
        param_rules: groups of parameters that learn at another rate, or with another decay, by the model's paper.
    """

    name: str = "model"
    num_classes: int
    num_features: int
    input_shape: tuple[int, ...]
    is_classifier: bool = True
    segment_frames: int = 1
    open_blocks: bool = False
    usual_recipe: str = "k400/tsm_r50_8f"
    param_rules: Sequence[ParamRule] = ()

    def forward_features(self, x: Float[Tensor, "b ..."]) -> Float[Tensor, "b d"]:
        """Returns the pooled features `[b num_features]` of clips `[b t c h w]`."""
        raise NotImplementedError(f"{type(self).__name__}.forward_features")

    def forward_maps(self, x: Float[Tensor, "b ..."]) -> Float[Tensor, "b _ _ _ _"]:
        """Returns the last feature maps `[b c t h w]` of clips `[b t c h w]`, before they are pooled.

        Time and space are those of the network's last stage.

        Raises:
            ConfigError: the model has no feature maps.
        """
        raise ConfigError(f"{self.name}: has no feature maps over space and time; take a model of clips, e.g. tsm")

    def forward_head(self, features: Float[Tensor, "b d"]) -> Float[Tensor, "b k"]:
        """Returns the class scores `[b num_classes]` of features `[b num_features]`.

        Raises:
            ConfigError: the model's outputs are not class scores of pooled features.
        """
        raise ConfigError(f"{self.name}: gives no class scores of pooled features; take a classifier, e.g. tsm")

    def forward_both(self, x: Float[Tensor, "b ..."]) -> tuple[Float[Tensor, "b d"], Float[Tensor, "b k"]]:
        """Returns the features `[b num_features]` and the class scores `[b num_classes]` of clips."""
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

    def forward(self, x: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b k"]:
        return self.forward_head(self.forward_features(x))

    def forward_head(self, features: Float[Tensor, "b d"]) -> Float[Tensor, "b k"]:
        return self.head(features)

    def forward_both(self, x: Float[Tensor, "b ..."]) -> tuple[Float[Tensor, "b d"], Float[Tensor, "b k"]]:
        features = self.forward_features(x)
        return features, self.forward_head(features)

    def reset_classifier(self, num_classes: int) -> None:
        self.num_classes = num_classes
        self.head = nn.Linear(self.num_features, num_classes) if num_classes else nn.Identity()
        if num_classes and self.head_std is not None:
            nn.init.normal_(self.head.weight, std=self.head_std)  # type: ignore[arg-type]
            nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]


class DropoutClassifier(LinearClassifier):
    """A model that leaves out a share of its features in training, right before the classifier."""

    dropout: nn.Module

    def forward_head(self, features: Float[Tensor, "b d"]) -> Float[Tensor, "b k"]:
        return self.head(self.dropout(features)) if self.num_classes else features


class FrameClassifier(DropoutClassifier):
    """A model of clips of `num_segments` frames, whose features are averaged once each frame has its own."""

    num_segments: int

    def forward(self, x: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b k"]:
        features = self.forward_frames(x)
        return self.head(self.dropout(features).mean(1)) if self.num_classes else features.mean(1)

    def forward_features(self, x: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b d"]:
        return self.forward_frames(x).mean(1)

    def forward_frames(self, x: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b t d"]:
        """Returns the features of each frame [b t num_features] of clips [b t c h w].

        Raises:
            ConfigError: the input is no clip of `num_segments` frames.
        """
        return self.pool_images(self.forward_image_maps(self._images(x))).unflatten(0, (-1, self.num_segments))

    def forward_maps(self, x: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b _ _ _ _"]:
        return self.forward_image_maps(self._images(x)).unflatten(0, (-1, self.num_segments)).transpose(1, 2)

    def forward_image_maps(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n _ _ _"]:
        """Returns the last maps [b*t c h w] of the frames of whole clips, one after the other [b*t c h w]."""
        raise NotImplementedError(f"{type(self).__name__}.forward_image_maps")

    def pool_images(self, maps: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d"]:
        """Returns the features [b*t num_features] of frames with these maps [b*t c h w]."""
        raise NotImplementedError(f"{type(self).__name__}.pool_images")

    def _images(self, x: Tensor) -> Tensor:
        if x.ndim != 5 or x.shape[1] != self.num_segments:
            raise ConfigError(
                f"{self.name}: the input has shape {tuple(x.shape)}; needs clips [b t c h w] of {self.num_segments} "
                "frames: sample as many, or say num_segments"
            )
        return x.flatten(0, 1)


class WindowClassifier(DropoutClassifier):
    """A 3-D network that scores frames larger than its crop in overlapping windows of the crop's size.

    Its `forward` averages the probabilities of the windows and `forward_features` their features, so that the scores
    are `forward_head` of the features only where there is one window.

    Attributes:
        window: height and width of one window of its maps; None makes the whole map one.
    """

    window: int | None

    def forward(self, x: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b k"]:
        return self.forward_both(x)[1]

    def forward_features(self, x: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b d"]:
        return self.forward_windows(x).mean((1, 2))

    def forward_both(self, x: Float[Tensor, "b ..."]) -> tuple[Float[Tensor, "b d"], Float[Tensor, "b k"]]:
        return self.score_windows(self.forward_windows(x))

    def forward_windows(self, x: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b _ _ d"]:
        """Returns the features [b h' w' c] of each window of clips [b t c h w]; frames of the crop's size have one."""
        return pool_windows(self.forward_maps(x), self.window)

    def score_windows(self, windows: Float[Tensor, "b _ _ d"]) -> tuple[Float[Tensor, "b d"], Float[Tensor, "b k"]]:
        """Returns the features and class scores of window features `[b h' w' c]`."""
        features = windows.mean((1, 2))
        return features, window_scores(self.dropout(windows), self.head) if self.num_classes else features
