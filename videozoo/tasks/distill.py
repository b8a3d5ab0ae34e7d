"""Networks that learn from networks: from a teacher that is done learning, or from a fellow student."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

from videozoo.contracts.input import InputSpec
from videozoo.errors import ConfigError
from videozoo.tasks.build import task_from_checkpoint
from videozoo.transforms.input import ClipInput
from videozoo.weights import checkpoint

__all__ = ["Distill", "Mutual", "Teacher"]

# what a teacher's input must have in common with the student's: both look at the same tensor
SAME = ("num_frames", "sampling", "frame_stride", "segment_frames", "fps", "crop_px")


@dataclasses.dataclass(frozen=True)
class Distill:
    """Learning from the soft answers of a trained model (Hinton et al., arXiv:1503.02531).

    loss = (1 - weight) * loss of the labels + weight * T^2 KL(teacher || student)

    Args:
        teacher: a run directory or a checkpoint, of the same classes and clips; its weights stay as they are.
        weight: share of the teacher in the loss, 0..1.
        temperature: T, above 1 shows more of what the teacher thinks of the other classes.
    """

    teacher: str
    weight: float = 0.5
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.weight <= 1:
            raise ConfigError(f"task.distill.weight: is {self.weight}; it takes a share above 0, up to 1")
        if self.temperature <= 0:
            raise ConfigError(f"task.distill.temperature: is {self.temperature}; it takes a number above 0")


@dataclasses.dataclass(frozen=True)
class Mutual:
    """Two students of the recipe's model, started apart, that learn from each other (arXiv:1706.00384).

    loss = loss of the first + loss of the second + weight * symmetric divergence of their answers

    Differs: one divergence that pulls on both, as PaddleVideo has it, where the paper has one a student and
    does not let it through to the other. The first student is the one that is evaluated and published.
    """

    weight: float = 1.0

    def __post_init__(self) -> None:
        if self.weight <= 0:
            raise ConfigError(f"task.mutual.weight: is {self.weight}; it takes a number above 0")


class Teacher:
    """The scores that a trained model gives to a student's clips; no module, so that nothing trains or saves it.

    Clips come normalised as the student's input says; the teacher gets them normalised as its own does.

    Args:
        input_spec: the student's.

    Raises:
        WeightsError: no usable checkpoint.
        ConfigError: it names other classes, or looks at other clips.
    """

    def __init__(self, path: str, *, class_names: Sequence[str], input_spec: InputSpec):
        saved = checkpoint.read(path)
        task, spec = task_from_checkpoint(saved)
        self.path, self.model = saved.path, task.model.requires_grad_(False)
        if tuple(saved.class_names) != tuple(class_names):
            raise ConfigError(
                f"task.distill.teacher: {saved.path} knows {len(saved.class_names)} classes, "
                f"{_some(saved.class_names)}; the training data has {len(class_names)}, {_some(class_names)}; "
                "both need the same, in one order"
            )
        if type(spec) is not type(input_spec):
            raise ConfigError(
                f"task.distill.teacher: {saved.path} takes the input {type(spec).__name__}, "
                f"this recipe gives {type(input_spec).__name__}; both need the same"
            )
        theirs, ours = spec.to_dict(), input_spec.to_dict()
        other = {key: (theirs.get(key), ours.get(key)) for key in SAME}
        listed = "; ".join(f"input.{key}: {a!r}, {b!r}" for key, (a, b) in other.items() if a != b)
        if listed:
            raise ConfigError(
                f"task.distill.teacher: {saved.path} was trained on other clips; differing (teacher, here): {listed}; "
                "give the student the teacher's values, or train a teacher on the student's"
            )
        self.scale, self.shift = _renormalisation(input_spec, spec)
        self.flips = theirs.get("channel_order") != ours.get("channel_order")

    @torch.no_grad()
    def __call__(self, video: Tensor) -> Tensor:
        """Scores `[b k]` of clips `[b t c h w]` as the student sees them."""
        self.model.to(video.device)
        if self.scale is not None and self.shift is not None:
            video = video * self.scale.to(video) + self.shift.to(video)
        scores: Tensor = self.model(video.flip(-3) if self.flips else video)
        return scores

    def __deepcopy__(self, memo: dict[int, object]) -> Teacher:
        return self  # an average of the student needs no copy of it


def _renormalisation(student: InputSpec, teacher: InputSpec) -> tuple[Tensor | None, Tensor | None]:
    """Factor and summand `[c 1 1]`, in the student's channel order, from its normalisation to the teacher's."""
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
