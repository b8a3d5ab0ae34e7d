"""The common part of all worlds: the arguments that decide the content, the draws of the videos, the text files."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from videozoo.data.motion.script import CLASSES, Script, untrimmed_script
from videozoo.errors import ConfigError

__all__ = ["SPLITS", "VERSION", "Split", "World", "folder_name"]

Split = Literal["train", "val"]
SPLITS: tuple[Split, ...] = ("train", "val")
VERSION = 1  # increase it when the same arguments no longer give the same videos
_MIN_UNTRIMMED_S = 8.0  # room for one event and a pause on both sides, at their longest


@dataclasses.dataclass(frozen=True)
class World:
    """The arguments that decide the content of a world; its videos last `length_s` on average.

    Raises:
        ConfigError: a number is out of range.
    """

    kind: str
    num_train: int
    num_val: int
    size_px: int
    length_s: float
    fps: int
    num_classes: int
    seed: int

    @classmethod
    def asked_for(cls, kind: str, arguments: Mapping[str, Any]) -> World:
        """Returns the world for the arguments of a `make_...`; checks all of them.

        Raises:
            ConfigError: an argument is out of range.
        """
        names = [field.name for field in dataclasses.fields(cls) if field.name != "kind"]
        world = cls(kind, **{name: arguments[name] for name in names})
        if arguments["num_workers"] < 0:
            raise ConfigError(world._out_of_range("num_workers", arguments["num_workers"], "0 or more"))
        return world

    def __post_init__(self) -> None:
        rules = {
            "num_train": (self.num_train >= 0, "0 or more"),
            "num_val": (self.num_val >= 0, "0 or more"),
            "size_px": (self.size_px >= 16 and self.size_px % 2 == 0, "an even number, 16 or more"),
            "length_s": (0 < self.length_s < float("inf"), "a positive number of seconds"),
            "fps": (self.fps >= 1, "1 or more"),
            "num_classes": (1 <= self.num_classes <= len(CLASSES), f"1..{len(CLASSES)}"),
            "seed": (self.seed >= 0, "0 or more"),
        }
        for name, (is_fine, accepted) in rules.items():
            if not is_fine:
                raise ConfigError(self._out_of_range(name, getattr(self, name), accepted))
        if self.num_train + self.num_val == 0:
            raise ConfigError(f"synth {self.kind}: num_train and num_val are both 0; at least one video is needed")

    def _out_of_range(self, name: str, value: float, accepted: str) -> str:
        return f"synth {self.kind}: {name}={value} is out of range; needs {accepted}"

    @property
    def motions(self) -> tuple[str, ...]:
        """The motions of the videos, as named in scripts."""
        return CLASSES[: self.num_classes]

    @property
    def class_names(self) -> list[str]:
        """The motions in the order of their class folders."""
        return sorted(map(folder_name, self.motions))

    def to_dict(self) -> dict[str, Any]:
        """Returns the arguments for world.json."""
        return {"version": VERSION, **dataclasses.asdict(self)}

    def draws(self, split: Split) -> Iterator[tuple[int, np.random.Generator]]:
        """Yields the number of each video of a split and its own generator; more videos do not change the others."""
        for index in range(self.num_train if split == "train" else self.num_val):
            yield index, np.random.default_rng([self.seed, SPLITS.index(split), index])

    def untrimmed(self, split: Split) -> Iterator[tuple[int, np.random.Generator, Script]]:
        """Yields the scripts of long videos as `draws` does; durations are drawn between 0.7 and 1.3 times `length_s`.

        Raises:
            ConfigError: they are too short for events.
        """
        shortest, longest = 0.7 * self.length_s, 1.3 * self.length_s
        if shortest < _MIN_UNTRIMMED_S:
            raise ConfigError(
                f"synth {self.kind}: a length of {self.length_s} s leaves no room for events; "
                f"needs {_MIN_UNTRIMMED_S / 0.7:.1f} s or more"
            )
        for index, rng in self.draws(split):
            num_frames = round(rng.uniform(shortest, longest) * self.fps)
            script = untrimmed_script(
                rng, motions=self.motions, num_frames=num_frames, fps=self.fps, size_px=self.size_px
            )
            yield index, rng, script

    def texts(self, videos: Sequence[tuple[str, Script]]) -> dict[str, str]:
        """Returns the contents of classes.txt and scripts.jsonl, the scripts of all videos."""
        lines = (f'{{"path": "{path}", "script": {script.to_json()}}}\n' for path, script in videos)
        return {"classes.txt": "".join(f"{name}\n" for name in self.class_names), "scripts.jsonl": "".join(lines)}


def folder_name(motion: str) -> str:
    """Returns the name of a motion in folders and label files."""
    return motion.replace(" ", "_")
