"""Classification of clips or of features: one label for each sample, or any number of labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from videozoo.contracts.backend import NEXT, STATE, STREAM
from videozoo.contracts.dataset import Dataset
from videozoo.contracts.input import InputSpec
from videozoo.decoding.classify import ClassifyDecoder
from videozoo.errors import ConfigError, DataError
from videozoo.layers import loss as losses
from videozoo.layers.loss import mixed_targets, smooth_targets
from videozoo.layers.mix import Mix
from videozoo.metrics.classification import Classification
from videozoo.metrics.metric import Metric
from videozoo.models.model import State, VideoModel
from videozoo.tasks.distill import Distill, Mutual, Teacher
from videozoo.tasks.graph import Graph, graph_of_rows
from videozoo.tasks.registry import register_task
from videozoo.tasks.task import Batch, Task
from videozoo.transforms.features import FeaturesInput
from videozoo.transforms.input import ClipInput

__all__ = ["Classify"]


@register_task
class Classify(Task):
    """Labels a clip, or a video from features of its frames.

    Batches hold `video` `[b t c h w]` or `features` `[b t d]` with `mask` `[b t]`, and `label`, int64 `[b]` or float
    `[b k]`. In evaluation `video` is `[b v t c h w]`: the scores of a sample's v views are averaged.

    Args:
        label_smoothing: share of the target spread evenly over all classes.
        mixup_alpha: Beta(alpha, alpha) of mixup (arXiv:1710.09412), for clips; 0 turns it off.
        cutmix_alpha: the same for cutmix (arXiv:1905.04899); with both on, each batch draws one of them.
        mix_prob: share of the batches that are mixed.
        multi_label: a clip may have any number of classes: independent probabilities instead of a soft-max. Runs on
            multi-label data turn it on automatically.
        loss: "cross_entropy" (of a soft-max, or binary where `multi_label`), "focal" (arXiv:1708.02002), or
            "asymmetric" (arXiv:2009.14119), which is for multi-label data.
        focal_gamma: down-weights well-classified clips; 0 gives cross-entropy.
        asymmetric_gammas: the same for (presence, absence) of a class.
        asymmetric_margin: probability below which an absent class adds no loss.
        class_weights: loss weight per class; "balanced" weights all classes equally over the training data, and the
            run's record then holds the numbers.
        distill: also learn from a trained model; see `tasks.distill.Distill`.
        mutual: train two students that learn from each other; see `tasks.distill.Mutual`.
        average: views are averaged as probabilities ("prob") or before the soft-max ("score").
        input_spec: the student's input spec, for comparison with the teacher's; the program supplies it.
        new_model: builds the second student; the program supplies it.

    Raises:
        ConfigError: values that do not fit each other, or a teacher that does not fit the student.
    """

    needs = frozenset({"label"})
    reads = (frozenset({"video"}), frozenset({"features", "mask"}))
    scores_classes = True
    training_args = (
        "label_smoothing",
        "mixup_alpha",
        "cutmix_alpha",
        "mix_prob",
        "loss",
        "focal_gamma",
        "asymmetric_gammas",
        "asymmetric_margin",
        "class_weights",
        "distill",
        "mutual",
    )
    learned_args = ("multi_label",)

    def __init__(
        self,
        model: VideoModel,
        class_names: Sequence[str],
        *,
        label_smoothing: float = 0.0,
        mixup_alpha: float = 0.0,
        cutmix_alpha: float = 0.0,
        mix_prob: float = 1.0,
        multi_label: bool = False,
        loss: Literal["cross_entropy", "focal", "asymmetric"] = "cross_entropy",
        focal_gamma: float = 2.0,
        asymmetric_gammas: tuple[float, float] = (0.0, 4.0),
        asymmetric_margin: float = 0.05,
        class_weights: Literal["balanced"] | list[float] | None = None,
        distill: Distill | None = None,
        mutual: Mutual | None = None,
        average: Literal["prob", "score"] = "score",
        input_spec: Any = None,
        new_model: Callable[[], VideoModel] | None = None,
    ):
        super().__init__(model, class_names)
        self.label_smoothing = label_smoothing
        self.multi_label = multi_label
        self.monitor = "map" if multi_label else "top1"
        self.decoder = ClassifyDecoder(self.class_names, multi_label, average)
        self.loss, self.focal_gamma = loss, focal_gamma
        self.asymmetric_gammas, self.asymmetric_margin = asymmetric_gammas, asymmetric_margin
        self._check_loss()
        self.class_weights: Tensor | None
        self.register_buffer("class_weights", self._weights(class_weights), persistent=False)
        self.distill, self.mutual = distill, mutual
        if distill is not None:
            self.teacher = Teacher(distill.teacher, class_names=class_names, input_spec=input_spec)
        if mutual is not None:
            if new_model is None:
                raise ConfigError("task.mutual: needs new_model, which makes the second student; give one")
            self.peer = new_model()  # in the task, not in its model: trained and stored, but not published
        self.mix = (
            Mix(mixup_alpha=mixup_alpha, cutmix_alpha=cutmix_alpha, prob=mix_prob)
            if mixup_alpha or cutmix_alpha
            else None
        )

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        if "label" not in batch:
            raise DataError("classify: a training sample has no label; label it, or remove it")
        inputs, label = _inputs(batch), batch["label"]
        target = label if self.multi_label else smooth_targets(label, len(self.class_names), self.label_smoothing)
        if self.mix is not None:
            if len(inputs) > 1:
                raise ConfigError("task.mixup_alpha, task.cutmix_alpha: mix clips, but this input is features; set 0")
            video, target, other, share = self.mix(inputs[0], target)
            inputs, target = (video,), mixed_targets(target, other, share)
        scores = self.model(*inputs).float()
        parts = {"loss": self._label_loss(scores, target)}
        if self.distill is not None:
            parts = self._distilled(parts["loss"], scores, inputs, self.distill)
        if self.mutual is not None:
            parts = self._with_peer(parts, scores, inputs, target, self.mutual)
        return parts

    def outputs(self, batch: Batch) -> dict[str, Tensor]:
        if "features" in batch:
            return self.of_features(batch["features"], batch["mask"])
        video = batch["video"]
        scores: Tensor = self.model(video.flatten(0, 1))
        return {"scores": torch.unflatten(scores, 0, video.shape[:2])}

    def graph(self, name: str, batch: Batch) -> dict[str, Tensor]:
        """Adds the graph "features": `features` `[b v d]`, the classifier's input, and `scores` `[b v k]`."""
        if name != "features":
            return super().graph(name, batch)
        video = batch["video"]
        found = self.of_clips(video.flatten(0, 1))
        return {name: torch.unflatten(x, 0, video.shape[:2]) for name, x in found.items()}

    def graphs(self, spec: InputSpec) -> dict[str, Graph]:
        if isinstance(spec, FeaturesInput):
            return {"main": graph_of_rows(self.of_features, self.model)}
        if not isinstance(spec, ClipInput):
            raise ConfigError(f"input '{spec.recipe_name}': the export of '{self.recipe_name}' takes clips; use 'clip'")
        video = torch.zeros(2, spec.num_frames, 3, spec.crop_px, spec.crop_px)
        graphs = {"main": Graph(self.of_clips, {"video": video}, {"video": {0: "clips"}})}
        if (state := self.stream_state(2)) is not None:
            inputs = {"frame": video[:, 0], **{STATE + name: tensor for name, tensor in state.items()}}
            graphs[STREAM] = Graph(self.of_frames, inputs, {name: {0: "streams"} for name in inputs})
        return graphs

    def of_clips(self, video: Tensor) -> dict[str, Tensor]:
        """Returns `features` `[n d]` and `scores` `[n k]` of clips `[n t c h w]`."""
        features, scores = self.model.forward_both(video)
        return {"features": features, "scores": scores}

    def of_features(self, features: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """Returns `scores` `[b 1 k]` of features `[b t d]`, which have one view."""
        scores: Tensor = self.model(features, mask)
        return {"scores": scores.unsqueeze(1)}

    def stream_state(self, num_streams: int = 1) -> State | None:
        return self.model.stream_state(num_streams)

    def stream_step(self, batch: Batch, state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], State]:
        video = batch["video"]
        _, scores, after = self.model.stream_step(video.flatten(0, 2), state)
        return {"scores": torch.unflatten(scores, 0, video.shape[:2])}, after

    def of_frames(self, frame: Tensor, **state: Tensor) -> dict[str, Tensor]:
        """Returns `features` `[n d]`, `scores` `[n k]` and the state after frames `[n c h w]` of streams."""
        before = {name.removeprefix(STATE): tensor for name, tensor in state.items()}
        features, scores, after = self.model.stream_step(frame, before)
        return {"features": features, "scores": scores, **{NEXT + name: after[name] for name in before}}

    def metrics(self) -> list[Metric]:
        return [Classification(self.class_names)]

    @classmethod
    def fill_in(cls, args: Mapping[str, Any], records: Dataset[Any]) -> dict[str, Any]:
        if len(records.class_names) < 2 and not args.get("multi_label"):
            advice = "; ".join(records.notes) or "give data with two classes or more"
            raise DataError(
                f"{records.source}: has one class ({', '.join(records.class_names)}); a classifier needs two; {advice}"
            )
        if args.get("class_weights") != "balanced":
            return dict(args)
        counts = records.class_counts()
        if counts is None:
            raise ConfigError(
                "task.class_weights: 'balanced' needs data that counts its classes; give a list of numbers"
            )
        return {**args, "class_weights": losses.balanced_weights(counts)}

    def _label_loss(self, scores: Tensor, target: Tensor) -> Tensor:
        weights = self.class_weights
        if self.loss == "asymmetric":
            gammas, margin = self.asymmetric_gammas, self.asymmetric_margin
            return losses.asymmetric_loss(scores, target, gammas=gammas, margin=margin, weights=weights)
        if self.loss == "focal":
            focal = losses.binary_focal_loss if self.multi_label else losses.focal_loss
            return focal(scores, target, gamma=self.focal_gamma, weights=weights)
        plain = losses.binary_cross_entropy if self.multi_label else losses.soft_cross_entropy
        return plain(scores, target, weights=weights)

    def _distilled(
        self, loss: Tensor, scores: Tensor, inputs: tuple[Tensor, ...], distill: Distill
    ) -> dict[str, Tensor]:
        distillation = losses.binary_distillation if self.multi_label else losses.distillation
        soft = distillation(scores, self.teacher(*inputs).float(), temperature=distill.temperature)
        total = (1 - distill.weight) * loss + distill.weight * soft
        return {"loss": total, "label_loss": loss, "teacher_loss": soft}

    def _with_peer(
        self,
        parts: Mapping[str, Tensor],
        scores: Tensor,
        inputs: tuple[Tensor, ...],
        target: Tensor,
        mutual: Mutual,
    ) -> dict[str, Tensor]:
        divergence = losses.binary_symmetric_divergence if self.multi_label else losses.symmetric_divergence
        others = self.peer(*inputs).float()
        peer_loss, apart = self._label_loss(others, target), divergence(scores, others)
        total = parts["loss"] + peer_loss + mutual.weight * apart
        return {**parts, "loss": total, "student_loss": parts["loss"], "peer_loss": peer_loss, "divergence": apart}

    def _check_loss(self) -> None:
        if self.loss == "asymmetric" and not self.multi_label:
            raise ConfigError("task.loss: 'asymmetric' is for multi-label data; use 'focal' or 'cross_entropy'")
        gammas = {"focal_gamma": (self.focal_gamma,), "asymmetric_gammas": self.asymmetric_gammas}
        for name, values in gammas.items():
            if any(value != 0 and value < 1 for value in values):  # between 0 and 1, the gradient is unbounded at p = 1
                raise ConfigError(f"task.{name}: is {getattr(self, name)}; it must be 0, or at least 1")
        if not 0 <= self.asymmetric_margin < 1:
            raise ConfigError(f"task.asymmetric_margin: is {self.asymmetric_margin}; it must be a probability below 1")

    def _weights(self, weights: Literal["balanced"] | Sequence[float] | None) -> Tensor | None:
        if weights is None:
            return None
        if isinstance(weights, str):
            raise ConfigError("task.class_weights: 'balanced' works only in a training run; give a list of numbers")
        if len(weights) != len(self.class_names):
            raise ConfigError(
                f"task.class_weights: {len(weights)} weights for {len(self.class_names)} classes; give one for each, "
                "in the order of the classes, or 'balanced'"
            )
        if min(weights) < 0:
            raise ConfigError(f"task.class_weights: holds {min(weights)}; weights must be at least 0")
        return torch.tensor(weights)


def _inputs(batch: Batch) -> tuple[Tensor, ...]:
    """Returns the inputs of the network."""
    return (batch["features"], batch["mask"]) if "features" in batch else (batch["video"],)
