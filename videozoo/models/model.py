"""The base classes of all models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from videozoo.errors import ConfigError
from videozoo.layers.temporal_shift import Past
from videozoo.layers.window_scores import pool_windows, window_scores
from videozoo.models.param_rule import ParamRule
from videozoo.shapes import Float

__all__ = [
    "DropoutClassifier",
    "FrameClassifier",
    "FrameStream",
    "LinearClassifier",
    "State",
    "VideoModel",
    "WindowClassifier",
]

State = dict[str, Tensor]  # of streams, each tensor [b ...]; zeros before the first frame


class VideoModel(nn.Module):
    """A network that maps clips, or features of videos, to class scores or to the outputs of a task.

    A classifier has up to three stages with a method each: `forward_maps` returns the last feature maps,
    `forward_features` the classifier's input, and `forward_head` the class scores for these features.

    Attributes:
        name: the registered name; importers and messages use it.
        num_classes: number of class scores; with 0, `forward` returns the features.
        num_features: width of the features.
        input_shape: shape of one sample without the batch axis, e.g. (8, 3, 224, 224) for clips `[t c h w]`.
        is_classifier: whether `forward` returns one score per class; detectors and localizers return their own tuples.
        segment_frames: consecutive frames per segment, for models whose clips consist of segments.
        is_causal: whether no frame depends on later frames, so that the network runs on streams by `stream_step`.
        open_blocks: whether `forward` calls the submodules of its blocks instead of the blocks.
        usual_recipe: the recipe that gives imported weights their input and averaging; sizes come from the model.
        classifier_parts: how the names of the classifier's parameters begin; weights of an encoder alone lack them.
        param_rules: parameters with their own learning rate or weight decay, from the model's paper.
    """

    name: str = "model"
    num_classes: int
    num_features: int
    input_shape: tuple[int, ...]
    is_classifier: bool = True
    segment_frames: int = 1
    is_causal: bool = False
    open_blocks: bool = False
    usual_recipe: str = "k400/tsm_r50_8f"
    classifier_parts: Sequence[str] = ("head.",)
    param_rules: Sequence[ParamRule] = ()

    def forward_features(self, x: Float[Tensor, "b ..."]) -> Float[Tensor, "b d"]:
        """Returns the pooled features `[b num_features]` of clips `[b t c h w]`."""
        raise NotImplementedError(f"{type(self).__name__}.forward_features")

    def forward_maps(self, x: Float[Tensor, "b ..."]) -> Float[Tensor, "b _ _ _ _"]:
        """Returns the last feature maps `[b c t h w]` of clips `[b t c h w]`, before pooling.

        t, h and w are the sizes of the network's last stage.

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

    def stream_step(
        self, frames: Float[Tensor, "b c h w"], state: Mapping[str, Tensor]
    ) -> tuple[Float[Tensor, "b d"], Float[Tensor, "b k"], State]:
        """Returns the features and the class scores after one more frame of each stream, and the state after it.

        The outputs are those of the clip that ends with this frame; the model's class states the length of that clip.
        Missing tensors of `state` count as zeros.

        Raises:
            ConfigError: the network reads later frames.
        """
        raise ConfigError(
            f"{self.name}: reads later frames, so it cannot run frame by frame; train a causal network "
            "(is_causal: true of tsm, pptsm or movinet), or answer in windows"
        )

    @torch.no_grad()
    def stream_state(self, num_streams: int = 1) -> State | None:
        """Returns the state before the first frames of streams, for frames of `input_shape`, in evaluation mode.

        None: the network reads later frames, and `stream_step` is an error.
        """
        if not self.is_causal:
            return None
        frames = next(self.parameters()).new_zeros(num_streams, *self.input_shape[1:])
        return {name: torch.zeros_like(tensor) for name, tensor in self.stream_step(frames, {})[2].items()}

    def reset_classifier(self, num_classes: int) -> None:
        """Replaces the last layer with a newly initialised one; 0 removes it."""
        raise NotImplementedError(f"{type(self).__name__}.reset_classifier")


class LinearClassifier(VideoModel):
    """A model whose classifier is one linear layer, `head`.

    Attributes:
        head_std: standard deviation of a new head's weights, with zero biases; None keeps torch's initialisation.
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
    """A model with dropout directly before the classifier."""

    dropout: nn.Module

    def forward_head(self, features: Float[Tensor, "b d"]) -> Float[Tensor, "b k"]:
        return self.head(self.dropout(features)) if self.num_classes else features


class FrameStream(DropoutClassifier):
    """A model that averages the features of frames, and whose only memory are temporal shifts.

    On a stream, the outputs after each frame are those of the latest `num_segments` frames: their features, which also
    depend on all frames before them, are averaged. At the start there are fewer.

    Attributes:
        num_segments: frames of a clip.
        past: the memory of causal shifts; None if the shifts read later frames.
    """

    num_segments: int
    past: Past | None = None

    def forward_frames(self, x: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b t d"]:
        """Returns the features [b t num_features] of each frame of clips [b t c h w]."""
        raise NotImplementedError(f"{type(self).__name__}.forward_frames")

    def stream_step(
        self, frames: Float[Tensor, "b c h w"], state: Mapping[str, Tensor]
    ) -> tuple[Float[Tensor, "b d"], Float[Tensor, "b k"], State]:
        if self.past is None:
            return super().stream_step(frames, state)
        after = self.past.begin(state)
        try:
            feature = self.forward_frames(frames[:, None])
        finally:
            self.past.end()
        latest, count = state.get("latest"), state.get("count")
        if latest is None or count is None:
            latest = feature.new_zeros(len(feature), self.num_segments, feature.shape[-1])
            count = feature.new_zeros(len(feature), 1)
        after["latest"] = torch.cat([latest[:, 1:], feature], 1)
        after["count"] = (count + 1).clamp(max=self.num_segments)
        features = after["latest"].sum(1) / after["count"]
        return features, self.forward_head(features), after


class FrameClassifier(FrameStream):
    """A model that averages the features of `num_segments` frames, or of any number if it is causal."""

    def forward(self, x: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b k"]:
        features = self.forward_frames(x)
        return self.head(self.dropout(features).mean(1)) if self.num_classes else features.mean(1)

    def forward_features(self, x: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b d"]:
        return self.forward_frames(x).mean(1)

    def forward_frames(self, x: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b t d"]:
        """Returns the features [b t num_features] of each frame of clips [b t c h w].

        Raises:
            ConfigError: the input is not a clip of `num_segments` frames.
        """
        return self.pool_images(self.forward_image_maps(self._images(x))).unflatten(0, (-1, x.shape[1]))

    def forward_maps(self, x: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b _ _ _ _"]:
        return self.forward_image_maps(self._images(x)).unflatten(0, (-1, x.shape[1])).transpose(1, 2)

    def forward_image_maps(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n _ _ _"]:
        """Returns the last maps [b*t c h w] of frames [b*t c h w]; the frames of a clip follow each other."""
        raise NotImplementedError(f"{type(self).__name__}.forward_image_maps")

    def pool_images(self, maps: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d"]:
        """Returns the features [b*t num_features] of maps [b*t c h w]."""
        raise NotImplementedError(f"{type(self).__name__}.pool_images")

    def _images(self, x: Tensor) -> Tensor:
        if x.ndim != 5 or (self.past is None and x.shape[1] != self.num_segments):
            raise ConfigError(
                f"{self.name}: the input has shape {tuple(x.shape)}; needs clips [b t c h w] of {self.num_segments} "
                "frames: sample as many, or set num_segments"
            )
        if self.past is not None:
            self.past.num_frames = x.shape[1]
        return x.flatten(0, 1)


class WindowClassifier(DropoutClassifier):
    """A 3-D network that scores frames larger than its crop in overlapping windows of the crop's size.

    `forward` averages the windows' probabilities, and `forward_features` their features. With one window, the scores
    equal `forward_head` of the features; with several, they do not.

    Attributes:
        window: height and width of one window, in cells of the last maps; None uses the whole map as one window.
    """

    window: int | None

    def forward(self, x: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b k"]:
        return self.forward_both(x)[1]

    def forward_features(self, x: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b d"]:
        return self.forward_windows(x).mean((1, 2))

    def forward_both(self, x: Float[Tensor, "b ..."]) -> tuple[Float[Tensor, "b d"], Float[Tensor, "b k"]]:
        return self.score_windows(self.forward_windows(x))

    def forward_windows(self, x: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b _ _ d"]:
        """Returns the features [b h' w' c] of the windows of clips [b t c h w]; a crop-sized frame has one window."""
        return pool_windows(self.forward_maps(x), self.window)

    def score_windows(self, windows: Float[Tensor, "b _ _ d"]) -> tuple[Float[Tensor, "b d"], Float[Tensor, "b k"]]:
        """Returns the features and class scores of window features `[b h' w' c]`."""
        features = windows.mean((1, 2))
        return features, window_scores(self.dropout(windows), self.head) if self.num_classes else features
