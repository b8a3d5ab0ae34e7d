"""Where a training step's time goes, and what to do about it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

__all__ = ["COMPUTE", "PREPARE", "Footage", "Profile", "Verdict", "verdict"]

COMPUTE = ("forward", "backward", "optimizer")
PREPARE = ("decode", "transform", "collate")
LITTLE = 0.1  # share of a step that may be waited without a word
LONG_GOP_FRAMES = 15  # above which more frames are decoded to get at one than is worth it


@dataclasses.dataclass(frozen=True)
class Footage:
    """What the videos are like, in the median, beside what the input takes from them.

    Attributes:
        short_side_px, wanted_px: of the files, and of the frames that crops are cut from.
        gop_frames: distance of the files' key frames; None for folders of frames and the like.
    """

    short_side_px: int
    wanted_px: int
    gop_frames: int | None


@dataclasses.dataclass(frozen=True)
class Profile:
    """Seconds of one optimizer step of one process.

    Attributes:
        step_s: from one step to the next.
        wait_s, forward_s, backward_s, optimizer_s: parts of it; what is left of `step_s` is the engine's own.
        decode_s, transform_s, collate_s: what one worker alone takes to prepare the step's samples.
        num_cores: that this process may use.
        footage: None where the data is no video.
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
        """What a step would take with the data always there."""
        return self.step_s - self.wait_s

    @property
    def compute(self) -> dict[str, float]:
        """The seconds of a step by what the model does in them."""
        return {"forward": self.forward_s, "backward": self.backward_s, "optimizer": self.optimizer_s}

    @property
    def prepare(self) -> dict[str, float]:
        """One worker's seconds for a step by what is done to its samples."""
        return {"decode": self.decode_s, "transform": self.transform_s, "collate": self.collate_s}

    @property
    def prepare_s(self) -> float:
        """One worker's work for a step."""
        return sum(self.prepare.values())

    @property
    def engine_s(self) -> float:
        """Neither data nor model: the order of samples, checks, the log."""
        return self.compute_s - self.forward_s - self.backward_s - self.optimizer_s

    @property
    def wait_share(self) -> float:
        return self.wait_s / self.step_s


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What holds a run up: "model", "workers", "size", "seek", "decode", "transform" or "collate"; and the remedy."""

    kind: str
    text: str


def _longest(seconds: Mapping[str, float]) -> str:
    return max(seconds, key=lambda name: seconds[name])


def verdict(found: Profile) -> Verdict:
    """What holds up the run that was measured."""
    if found.wait_share < LITTLE:
        part = _longest(found.compute)
        faster = "fit.precision=bf16" if found.device != "cpu" else "a GPU"
        return Verdict(
            "model",
            f"the model is the bottleneck ({part} above all), the data waits for it: faster by {faster}, "
            "fit.compile=true, smaller clips, or fit.multigrid; more workers or other files change nothing",
        )
    waiting = f"{found.wait_share:.0%} of the time is spent waiting for data"
    needed = math.ceil(1.2 * found.prepare_s / found.compute_s)  # some room, since samples differ
    if found.num_workers < min(needed, found.num_cores):
        rest = "" if needed <= found.num_cores else f"; all {needed} that it takes to wait no more have no cores here"
        return Verdict(
            "workers", f"{waiting}: set fit.num_workers={min(needed, found.num_cores)}, it is {found.num_workers}{rest}"
        )
    held = f"{waiting}, and {found.num_workers} workers on {found.num_cores} cores are all there can be"
    part = _longest(found.prepare)
    footage = found.footage
    if part == "collate":
        return Verdict(
            "collate",
            f"{held}: batches are too large to be handed over fast; lower fit.batch_size, the frames or the side",
        )
    if footage is not None and footage.short_side_px > 1.25 * footage.wanted_px:
        return Verdict(
            "size",
            f"{held}: videos of {footage.short_side_px} px are decoded for a short side of {footage.wanted_px} px; "
            f"make them smaller once: videozoo prepare reencode SRC OUT --short-side {footage.wanted_px}",
        )
    if part == "transform":
        return Verdict(
            "transform",
            f"{held}: most of it goes into transforms; leave out what input.augment does at length (colour), "
            "or take input.resize=torch",
        )
    if footage is not None and footage.gop_frames is not None and footage.gop_frames > LONG_GOP_FRAMES:
        return Verdict(
            "seek",
            f"{held}: key frames are {footage.gop_frames} frames apart, and all from one to the wanted frame are "
            "decoded; bring them closer once: videozoo prepare reencode SRC OUT --gop 10",
        )
    return Verdict(
        "decode",
        f"{held}: decoding takes it, of files that are made for it already; turn them into folders of frames, which "
        "take more disk and less time: videozoo prepare frames SRC OUT",
    )
