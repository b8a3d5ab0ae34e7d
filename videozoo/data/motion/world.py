"""What every kind of world has: the numbers that decide its content, the draws of its videos, the texts beside them."""

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
VERSION = 1  # raise it when the same arguments no longer give the same videos
_MIN_UNTRIMMED_S = 8.0  # room for one event and a pause on both sides, at their longest


@dataclasses.dataclass(frozen=True)
class World:
    """What decides the content of a world, in which videos take `length_s` on average.

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
        """The world that the arguments of a `make_...` describe; its others are checked, too.

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
        """What the videos show, as scripts call it."""
        return CLASSES[: self.num_classes]

    @property
    def class_names(self) -> list[str]:
        """The motions in the order that a folder per class gives them."""
        return sorted(map(folder_name, self.motions))

    def to_dict(self) -> dict[str, Any]:
        """What world.json says was asked for."""
        return {"version": VERSION, **dataclasses.asdict(self)}

    def draws(self, split: Split) -> Iterator[tuple[int, np.random.Generator]]:
        """The number of each video of a split, with its own generator: more videos leave the others as they are."""
        for index in range(self.num_train if split == "train" else self.num_val):
            yield index, np.random.default_rng([self.seed, SPLITS.index(split), index])

    def untrimmed(self, split: Split) -> Iterator[tuple[int, np.random.Generator, Script]]:
        """As `draws`, and what long videos show; their durations are drawn between 0.7 and 1.3 times `length_s`.

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
        """classes.txt and scripts.jsonl, which tells what each video shows."""
        lines = (f'{{"path": "{path}", "script": {script.to_json()}}}\n' for path, script in videos)
        return {"classes.txt": "".join(f"{name}\n" for name in self.class_names), "scripts.jsonl": "".join(lines)}


def folder_name(motion: str) -> str:
    """What folders and label files call a motion."""
    return motion.replace(" ", "_")
