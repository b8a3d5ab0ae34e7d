"""The time spent on the parts of a training step, and advice on the bottleneck."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

__all__ = ["COMPUTE", "PREPARE", "Footage", "Profile", "Verdict", "verdict"]

COMPUTE = ("forward", "backward", "optimizer")
PREPARE = ("decode", "transform", "collate")
LITTLE = 0.1  # acceptable share of a step spent waiting
LONG_GOP_FRAMES = 15  # longer distances decode too many frames per wanted frame


@dataclasses.dataclass(frozen=True)
class Footage:
    """Median properties of the videos, and the frame size that the input needs.

    Attributes:
        short_side_px, wanted_px: short side of the files, and of the frames before cropping.
        gop_frames: distance of the files' key frames; None for folders of frames and other sources without them.
    """

    short_side_px: int
    wanted_px: int
    gop_frames: int | None


@dataclasses.dataclass(frozen=True)
class Profile:
    """Seconds of one optimizer step of one process.

    Attributes:
        step_s: full duration of a step.
        wait_s, forward_s, backward_s, optimizer_s: parts of `step_s`; the rest is the engine's overhead.
        decode_s, transform_s, collate_s: time that a single worker needs to prepare the step's samples.
        num_cores: number of cores available to this process.
        footage: properties of the videos; None for data other than video.
    """

    step_s: float
    wait_s: float
    forward_s: float
    backward_s: float
    optimizer_s: float
    decode_s: float
    transform_s: float
    collate_s: float
    num_samples: int
    num_steps: int
    num_workers: int
    num_cores: int
    device: str
    footage: Footage | None = None

    @property
    def compute_s(self) -> float:
        """Duration of a step without waiting for data."""
        return self.step_s - self.wait_s

    @property
    def compute(self) -> dict[str, float]:
        """The seconds of a step by kind of computation."""
        return {"forward": self.forward_s, "backward": self.backward_s, "optimizer": self.optimizer_s}

    @property
    def prepare(self) -> dict[str, float]:
        """One worker's preparation seconds for a step, by kind of work."""
        return {"decode": self.decode_s, "transform": self.transform_s, "collate": self.collate_s}

    @property
    def prepare_s(self) -> float:
        """Preparation time of one worker for a step."""
        return sum(self.prepare.values())

    @property
    def engine_s(self) -> float:
        """Time spent on neither data nor model: sample order, checks, the log."""
        return self.compute_s - self.forward_s - self.backward_s - self.optimizer_s

    @property
    def wait_share(self) -> float:
        return self.wait_s / self.step_s


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The bottleneck of a run ("model", "workers", "size", "seek", "decode", "transform" or "collate") and advice."""

    kind: str
    text: str


def _longest(seconds: Mapping[str, float]) -> str:
    return max(seconds, key=lambda name: seconds[name])


def verdict(found: Profile) -> Verdict:
    """Returns the bottleneck of a measured run."""
    if found.wait_share < LITTLE:
        part = _longest(found.compute)
        faster = "fit.precision=bf16" if found.device != "cpu" else "a GPU"
        return Verdict(
            "model",
            f"the model is the bottleneck ({part} above all); speed it up with {faster}, fit.compile=true, smaller "
            "clips, or fit.multigrid; more workers or other files do not help",
        )
    waiting = f"{found.wait_share:.0%} of the time is spent waiting for data"
    needed = math.ceil(1.2 * found.prepare_s / found.compute_s)  # with a margin, since samples differ
    if found.num_workers < min(needed, found.num_cores):
        rest = "" if needed <= found.num_cores else f"; {needed} would be needed but there are too few cores"
        return Verdict(
            "workers", f"{waiting}: set fit.num_workers={min(needed, found.num_cores)} (now {found.num_workers}){rest}"
        )
    held = f"{waiting}, and more than {found.num_workers} workers do not help on {found.num_cores} cores"
    part = _longest(found.prepare)
    footage = found.footage
    if part == "collate":
        return Verdict(
            "collate",
            f"{held}: batches are too large to transfer quickly; lower fit.batch_size, the frames or the side",
        )
    if footage is not None and footage.short_side_px > 1.25 * footage.wanted_px:
        return Verdict(
            "size",
            f"{held}: videos of {footage.short_side_px} px are decoded for a short side of {footage.wanted_px} px; "
            f"re-encode them once: videozoo prepare reencode SRC OUT --short-side {footage.wanted_px}",
        )
    if part == "transform":
        return Verdict(
            "transform",
            f"{held}: most of it is spent on transforms; turn off slow ones in input.augment (color), "
            "or set input.resize=torch",
        )
    if footage is not None and footage.gop_frames is not None and footage.gop_frames > LONG_GOP_FRAMES:
        return Verdict(
            "seek",
            f"{held}: key frames are {footage.gop_frames} frames apart, so many frames are decoded per wanted "
            "frame; re-encode once: videozoo prepare reencode SRC OUT --gop 10",
        )
    return Verdict(
        "decode",
        f"{held}: most of it is spent on decoding files that are already efficient; convert them to folders of "
        "frames, which are larger and faster to read: videozoo prepare frames SRC OUT",
    )
