"""A world of long videos with sentences: each describes exactly one moment of its video."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from videozoo.contracts.video import Span
from videozoo.data.motion.folder import Progress, write_world
from videozoo.data.motion.script import CLASSES, Event, Script
from videozoo.data.motion.world import SPLITS, World

__all__ = ["make_queries", "query_spans"]

FULL_SHARE = 0.6  # share of sentences with shape and colour


def make_queries(
    out_dir: Path | str,
    *,
    num_train: int = 300,
    num_val: int = 100,
    size_px: int = 64,
    length_s: float = 16.0,
    fps: int = 12,
    num_classes: int = len(CLASSES),
    seed: int = 0,
    num_workers: int = 0,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> None:
    """Writes long videos with pauses to videos/, and their sentences to train.txt and val.txt, in Charades-STA's form.

    Durations are drawn between 0.7 and 1.3 times `length_s`. Arguments and errors as in `make_clips`.
    """
    world = World.asked_for("queries", locals())
    videos: list[tuple[str, Script]] = []
    texts: dict[str, str] = {}
    for split in SPLITS:
        lines = []
        for index, rng, script in world.untrimmed(split):
            name = f"{split}_{index:05d}"
            videos.append((f"videos/{name}.mp4", script))
            lines += [f"{name} {s.start_s:.3f} {s.end_s:.3f}##{s.label}.\n" for s in query_spans(script, rng)]
        texts[f"{split}.txt"] = "".join(lines)
    texts |= world.texts(videos)
    write_world(
        out_dir, world.to_dict(), videos, texts, num_workers=num_workers, overwrite=overwrite, progress=progress
    )


def query_spans(script: Script, rng: np.random.Generator) -> list[Span]:
    """Returns each event that a sentence can identify within its video, with such a sentence as its label.

    Most sentences have colour and shape (`a red ring grows`); others omit one (`a ring grows`, `a red shape grows`).
    """
    events = [event for event in script.events if event.motion in CLASSES]
    descriptions = [_sentences(event) for event in events]
    found = []
    for i, event in enumerate(events):
        others = {sentence for j, sentences in enumerate(descriptions) for sentence in sentences if j != i}
        full, *shorter = (None if sentence in others else sentence for sentence in descriptions[i])
        choices = [sentence for sentence in shorter if sentence is not None]
        draw, place = (
            rng.random(),
            int(rng.integers(2)),
        )  # drawn for every event, so that one choice does not change the others
        if full is None:
            continue
        sentence = full if draw < FULL_SHARE or not choices else choices[place % len(choices)]
        found.append(Span(event.start_s, event.end_s, sentence))
    return found


def _sentences(event: Event) -> tuple[str, str, str]:
    article = "an" if event.colour[0] in "aeiou" else "a"
    return (
        f"{article} {event.colour} {event.shape} {event.motion}",
        f"a {event.shape} {event.motion}",
        f"{article} {event.colour} shape {event.motion}",
    )
