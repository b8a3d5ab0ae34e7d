"""What every model of the zoo has in common."""

from __future__ import annotations

import re
from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from videozoo.types import ParamRule

__all__ = ["VideoModel", "norms_without_decay"]


class VideoModel(nn.Module):
    """A network whose `forward` gives class scores and whose `forward_features` gives what its classifier sees.

    Attributes:
        name: the name it was created by; importers and messages use it.
        num_classes: width of the output; 0 makes `forward` return the features.
        num_features: width of the features.
        input_shape: shape of one sample without the batch axis, e.g. (8, 3, 224, 224) for clips `[t c h w]`.
        is_classifier: whether `forward` gives one score a class; detectors and localizers give a tuple of their own.
        param_rules: groups of parameters that learn at another rate, or with another decay, by the model's paper.
    """

    name: str = "model"
    num_classes: int
    num_features: int
    input_shape: tuple[int, ...]
    is_classifier: bool = True
    param_rules: Sequence[ParamRule] = ()

    def forward_features(self, x: Tensor) -> Tensor:
        """Clips `[b t c h w]` to pooled features `[b num_features]`."""
        raise NotImplementedError(f"{type(self).__name__}.forward_features")

    def reset_classifier(self, num_classes: int) -> None:
        """Replaces the last layer by a freshly initialised one; 0 removes it."""
        raise NotImplementedError(f"{type(self).__name__}.reset_classifier")


def norms_without_decay(model: nn.Module) -> ParamRule:
    """The rule that no weight decay pulls on the scales and shifts of a model's normalisation layers."""
    kinds = (_NormBase, nn.LayerNorm, nn.GroupNorm)
    names = (re.escape(name) for name, module in model.named_modules() if isinstance(module, kinds))
    return ParamRule(rf"^({'|'.join(names)})\.", weight_decay=0.0)
