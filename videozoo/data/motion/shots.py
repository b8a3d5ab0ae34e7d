"""A world of films: shots of different motions, joined by cuts, dissolves and wipes."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from videozoo.data.motion.folder import Progress, write_world
from videozoo.data.motion.render import render
from videozoo.data.motion.script import Script, clip_script
from videozoo.data.motion.world import SPLITS, World

__all__ = ["FilmScript", "make_shots", "render_film"]

KINDS = ("cut", "dissolve", "wipe")
SHARES = (0.5, 0.25, 0.25)  # of the kinds
SHOT_FRAMES = (10, 41)  # pure frames of a shot
BLEND_FRAMES = (4, 13)  # frames of a dissolve or a wipe


@dataclasses.dataclass(frozen=True)
class FilmScript:
    """Shots and the transitions between them.

    Attributes:
        shots: each with the frames of the transitions at its ends.
        kinds: of the transitions: "cut", "dissolve" or "wipe".
        blends: number of frames in which both shots are on screen, for each transition; 0 for cuts.
    """

    shots: tuple[Script, ...]
    kinds: tuple[str, ...]
    blends: tuple[int, ...]

    @property
    def fps(self) -> int:
        return self.shots[0].fps

    @property
    def transitions(self) -> list[tuple[int, int]]:
        """The last frame of each shot and the first one of the next, without both shots' frames."""
        found, end = [], 0
        for shot, blend in zip(self.shots[:-1], self.blends, strict=True):
            end += shot.num_frames - blend
            found.append((end - 1, end + blend))
        return found

    @property
    def num_frames(self) -> int:
        return sum(shot.num_frames for shot in self.shots) - sum(self.blends)

    def to_dict(self) -> dict[str, object]:
        """Returns plain values for scripts.jsonl."""
        return {
            "shots": [dataclasses.asdict(shot) for shot in self.shots],
            "kinds": list(self.kinds),
            "blends": list(self.blends),
        }


def make_shots(
    out_dir: Path | str,
    *,
    num_train: int = 120,
    num_val: int = 40,
    size_px: int = 64,
    length_s: float = 20.0,
    fps: int = 12,
    num_classes: int = 8,
    seed: int = 0,
    num_workers: int = 0,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> None:
    """Writes films to videos/, and their transitions to train.json and val.json, in the form of ClipShots.

    A film ends with the first shot that reaches `length_s`. Arguments and errors as in `make_clips`.
    """
    world = World.asked_for("shots", locals())
    videos: list[tuple[str, FilmScript]] = []
    texts: dict[str, str] = {}
    for split in SPLITS:
        entries = {}
        for index, rng in world.draws(split):
            film = _film(rng, world)
            path = f"videos/{split}_{index:05d}.mp4"
            videos.append((path, film))
            entries[path] = {"transitions": film.transitions, "frame_num": film.num_frames}
        texts[f"{split}.json"] = json.dumps(entries, indent=1) + "\n"
    texts["scripts.jsonl"] = "".join(
        json.dumps({"path": path, "script": film.to_dict()}) + "\n" for path, film in videos
    )
    write_world(
        out_dir,
        world.to_dict(),
        videos,
        texts,
        num_workers=num_workers,
        overwrite=overwrite,
        progress=progress,
        write_one=_write_film,
    )


def render_film(film: FilmScript) -> Iterator[np.ndarray]:
    """Draws the frames, uint8 [h w 3]; in a transition both shots move on."""
    held: list[np.ndarray] = []  # the last frames of the shot before
    for number, shot in enumerate(film.shots):
        frames = list(render(shot))
        for step, before in enumerate(held, start=1):
            kind, share = film.kinds[number - 1], step / (len(held) + 1)
            yield _mixed(before, frames[step - 1], kind, share)
        blend = film.blends[number] if number < len(film.blends) else 0
        yield from frames[len(held) : len(frames) - blend]
        held = frames[len(frames) - blend :] if blend else []


def _mixed(before: np.ndarray, after: np.ndarray, kind: str, share: float) -> np.ndarray:
    """Returns a frame of a transition: faded, or split at a vertical edge that moves from left to right."""
    if kind == "dissolve":
        return ((1 - share) * before + share * after + 0.5).astype(np.uint8)
    edge = round(share * before.shape[1])
    return np.concatenate([after[:, :edge], before[:, edge:]], axis=1)


def _film(rng: np.random.Generator, world: World) -> FilmScript:
    lengths, kinds, blends = [int(rng.integers(*SHOT_FRAMES))], [], []
    while sum(lengths) < world.length_s * world.fps:
        kind = str(rng.choice(KINDS, p=SHARES))
        kinds.append(kind)
        blends.append(0 if kind == "cut" else int(rng.integers(*BLEND_FRAMES)))
        lengths.append(int(rng.integers(*SHOT_FRAMES)))
    shown = [pure + left + right for pure, left, right in zip(lengths, [0, *blends], [*blends, 0], strict=True)]
    shots = [
        clip_script(
            rng,
            motion=world.motions[int(rng.integers(len(world.motions)))],
            num_frames=num_frames,
            fps=world.fps,
            size_px=world.size_px,
        )
        for num_frames in shown
    ]
    return FilmScript(tuple(shots), tuple(kinds), tuple(blends))


def _write_film(path: Path, film: FilmScript) -> None:
    from videozoo.io.encode import write_video

    write_video(path, render_film(film), fps=film.fps)
