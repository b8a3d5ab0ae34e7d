"""Shot detection: the boundaries between the shots of a video."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from videozoo.contracts.input import InputSpec
from videozoo.decoding.shots import ShotsDecoder
from videozoo.errors import ConfigError
from videozoo.metrics.metric import Metric
from videozoo.metrics.shots import ShotScores
from videozoo.models.model import VideoModel
from videozoo.tasks.graph import Graph
from videozoo.tasks.registry import register_task
from videozoo.tasks.task import Batch, Task

__all__ = ["Shots"]


@register_task
class Shots(Task):
    """Finds the boundaries between shots: cuts, dissolves, wipes.

    Training batches hold `video` `[b t 3 h w]` and the targets `middle` and `member` `[b t]`; evaluation batches hold
    `film`, a list of `transforms.shots.Film`.

    Args:
        threshold: probability above which a frame belongs to a boundary.
        positive_weight: weight of the middle frames of transitions in the loss, which are rare.
        member_weight: weight of the loss of the second head, which marks all frames of transitions.
    """

    needs = frozenset({"video", "middle", "member"})
    input_name = "shots"
    monitor = "f1"
    training_args = ("positive_weight", "member_weight")

    def __init__(
        self,
        model: VideoModel,
        class_names: Sequence[str],
        *,
        threshold: float = 0.5,
        positive_weight: float = 5.0,
        member_weight: float = 0.1,
    ):
        super().__init__(model, class_names)
        if not 0 < threshold < 1:
            raise ConfigError(f"task.threshold: is {threshold}; it is a probability, between 0 and 1")
        self.positive_weight, self.member_weight = positive_weight, member_weight
        self.decoder = ShotsDecoder(self.class_names, threshold)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        middle, member = self.model(batch["video"]).float().unbind(-1)
        weight = middle.new_tensor(self.positive_weight)
        middle_loss = F.binary_cross_entropy_with_logits(middle, batch["middle"], pos_weight=weight)
        member_loss = F.binary_cross_entropy_with_logits(member, batch["member"])
        loss = middle_loss + self.member_weight * member_loss
        return {"loss": loss, "middle_loss": middle_loss, "member_loss": member_loss}

    def outputs(self, batch: Batch) -> dict[str, Tensor]:
        """Returns `scores` `[n t 2]` of the windows of all films."""
        device = next(self.model.parameters()).device
        clips = (torch.from_numpy(each).to(device) for film in batch["film"] for each in film.clips())
        return {"scores": torch.cat([self.model(each) for each in clips])}

    def graphs(self, spec: InputSpec) -> dict[str, Graph]:
        video = torch.zeros(2, *self.model.input_shape)
        return {"main": Graph(self.of_clips, {"video": video}, {"video": {0: "windows"}})}

    def of_clips(self, video: Tensor) -> dict[str, Tensor]:
        return {"scores": self.model(video)}

    def metrics(self) -> list[Metric]:
        return [ShotScores()]
