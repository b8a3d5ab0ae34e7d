"""What every model of the zoo has in common."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from videozoo.types import ParamRule

__all__ = ["VideoModel"]


class VideoModel(nn.Module):
    """A network whose `forward` gives class scores and whose `forward_features` gives what its classifier sees.

    Attributes:
        num_classes: width of the output; 0 makes `forward` return the features.
        num_features: width of the features.
        input_shape: shape of one sample without the batch axis, e.g. (8, 3, 224, 224) for clips `[t c h w]`.
        param_rules: groups of parameters that learn at another rate, or with another decay, by the model's paper.
    """

    num_classes: int
    num_features: int
    input_shape: tuple[int, ...]
    param_rules: Sequence[ParamRule] = ()

    def forward_features(self, x: Tensor) -> Tensor:
        """Clips `[b t c h w]` to pooled features `[b num_features]`."""
        raise NotImplementedError(f"{type(self).__name__}.forward_features")

    def reset_classifier(self, num_classes: int) -> None:
        """Replaces the last layer by a freshly initialised one; 0 removes it."""
        raise NotImplementedError(f"{type(self).__name__}.reset_classifier")
