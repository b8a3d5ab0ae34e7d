"""Networks that learn from networks: from a trained teacher, or from a second student."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

from videozoo.contracts.input import InputSpec
from videozoo.errors import ConfigError
from videozoo.structured import shown
from videozoo.tasks.build import task_from_checkpoint
from videozoo.transforms.input import ClipInput
from videozoo.weights import checkpoint

__all__ = ["Distill", "Mutual", "Teacher"]

# fields of the input spec that teacher and student must share, since both receive the same tensor
SAME = {
    "clips": ("num_frames", "sampling", "frame_stride", "segment_frames", "fps", "crop_px"),
    "features": ("num_frames", "sampling", "feature_dims", "mid_bin", "mean", "std"),
}


@dataclasses.dataclass(frozen=True)
class Distill:
    """Learning from the soft answers of a trained model (Hinton et al., arXiv:1503.02531).

    loss = (1 - weight) * loss of the labels + weight * T^2 KL(teacher || student)

    Args:
        teacher: a run directory or a checkpoint with the same classes and clips; its weights are not trained.
        weight: share of the teacher in the loss, 0..1.
        temperature: T; values above 1 give the other classes more weight.
    """

    teacher: str
    weight: float = 0.5
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.weight <= 1:
            raise ConfigError(f"task.distill.weight: is {self.weight}; it must be above 0 and at most 1")
        if self.temperature <= 0:
            raise ConfigError(f"task.distill.temperature: is {self.temperature}; it must be above 0")


@dataclasses.dataclass(frozen=True)
class Mutual:
    """Two students of the recipe's model with different initial weights that learn from each other (arXiv:1706.00384).

    loss = loss of the first + loss of the second + weight * symmetric divergence of their predictions

    Differs: one divergence with gradients to both students, as in PaddleVideo; the paper has one for each student,
    without gradients to the other. The first student is evaluated and published.
    """

    weight: float = 1.0

    def __post_init__(self) -> None:
        if self.weight <= 0:
            raise ConfigError(f"task.mutual.weight: is {self.weight}; it must be above 0")


class Teacher:
    """A trained model's scores for a student's clips; not a module, so that it is neither trained nor saved.

    Clips arrive with the student's normalisation and are converted to the teacher's.

    Args:
        input_spec: the student's input spec.

    Raises:
        WeightsError: no usable checkpoint.
        ConfigError: the teacher has different classes or takes different clips.
    """

    def __init__(self, path: str, *, class_names: Sequence[str], input_spec: InputSpec):
        saved = checkpoint.read(path)
        task, spec = task_from_checkpoint(saved)
        self.path, self.model = saved.path, task.model.requires_grad_(False)
        if tuple(saved.class_names) != tuple(class_names):
            raise ConfigError(
                f"task.distill.teacher: {saved.path} knows {len(saved.class_names)} classes, "
                f"{_some(saved.class_names)}; the training data has {len(class_names)}, {_some(class_names)}; "
                "both need the same classes in the same order"
            )
        if type(spec) is not type(input_spec):
            raise ConfigError(
                f"task.distill.teacher: {saved.path} takes the input {type(spec).__name__}, "
                f"but this recipe gives {type(input_spec).__name__}; both need the same"
            )
        theirs, ours = spec.to_dict(), input_spec.to_dict()
        other = {key: (theirs.get(key), ours.get(key)) for key in SAME[spec.takes]}
        listed = "; ".join(f"input.{key}: {shown(a)}, {shown(b)}" for key, (a, b) in other.items() if a != b)
        if listed:
            raise ConfigError(
                f"task.distill.teacher: {saved.path} was trained on different {spec.takes} (teacher, here): {listed}; "
                "give the student the teacher's values, or train a teacher on the student's"
            )
        self.scale, self.shift = _renormalisation(input_spec, spec)
        self.flips = theirs.get("channel_order") != ours.get("channel_order")

    @torch.no_grad()
    def __call__(self, video: Tensor, *mask: Tensor) -> Tensor:
        """Returns scores `[b k]` of clips `[b t c h w]`, or of features with a mask, in the student's normalisation."""
        self.model.to(video.device)
        if self.scale is not None and self.shift is not None:
            video = video * self.scale.to(video) + self.shift.to(video)
        scores: Tensor = self.model(video.flip(-3) if self.flips else video, *mask)
        return scores

    def __deepcopy__(self, memo: dict[int, object]) -> Teacher:
        return self  # a copy of the student for weight averaging needs no copy of the teacher


def _renormalisation(student: InputSpec, teacher: InputSpec) -> tuple[Tensor | None, Tensor | None]:
    """Returns factor and summand `[c 1 1]`, in the student's channel order, from its normalisation to the teacher's."""
    if not (isinstance(student, ClipInput) and isinstance(teacher, ClipInput)):
        return None, None  # an input that is not normalised
    ours, theirs = ([torch.tensor(spec.mean), torch.tensor(spec.std)] for spec in (student, teacher))
    if student.channel_order != teacher.channel_order:
        theirs = [value.flip(0) for value in theirs]
    if all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True)):
        return None, None
    (mean, std), (their_mean, their_std) = ours, theirs
    return (std / their_std)[:, None, None], ((mean - their_mean) / their_std)[:, None, None]


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
