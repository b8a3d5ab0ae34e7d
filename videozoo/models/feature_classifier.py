"""The base class of the classifiers of features."""

from __future__ import annotations

from torch import Tensor, nn

from videozoo.layers.sequence import mean_features
from videozoo.models.model import LinearClassifier
from videozoo.shapes import Bool, Float

__all__ = ["FeatureClassifier"]


class FeatureClassifier(LinearClassifier):
    """A classifier of features, and of their mean next to it where `mean_scores` is set.

    A linear classifier `mean_head` of the mean features then adds its scores, as the wide part of arXiv:1606.07792.
    Both classifiers start at zero, so that training starts as logistic regression.

    Attributes:
        feature_dims: width of each modality.
    """

    feature_dims: tuple[int, ...]
    mean_scores: bool = False
    mean_head: nn.Linear

    def forward(self, x: Float[Tensor, "b t d"], mask: Bool[Tensor, "b t ..."] | None = None) -> Float[Tensor, "b k"]:
        scores = self.forward_head(self.forward_features(x, mask))
        if not (self.mean_scores and self.num_classes):
            return scores
        return scores + self.mean_head(mean_features(x, mask, self.feature_dims, where=self.name))

    def forward_features(
        self, x: Float[Tensor, "b t d"], mask: Bool[Tensor, "b t ..."] | None = None
    ) -> Float[Tensor, "b _"]:
        raise NotImplementedError(f"{type(self).__name__}.forward_features")

    def reset_classifier(self, num_classes: int) -> None:
        super().reset_classifier(num_classes)
        if num_classes:
            self.initialize_head()
        if num_classes and self.mean_scores:
            self.mean_head = nn.Linear(sum(self.feature_dims), num_classes)
            for parameter in (*self.head.parameters(), *self.mean_head.parameters()):
                nn.init.zeros_(parameter)

    def initialize_head(self) -> None:
        """Initialises the weights of a new classifier `head`, which is linear."""
