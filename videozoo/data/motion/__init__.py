"""The motion world: real, encoded videos of moving shapes, with every kind of label, for everyone.

    script.py   the events of a video, drawn at random, without pixels
    shapes.py   the shapes and colours that take part
    labels.py   the labels of a script for each task: class, tags, segments, caption, boxes
    render.py   the pixels and the sound of a script
    world.py    the arguments of a world, and the draws of its videos
    folder.py   writes a world's folder, which can be stopped and completed

One file a kind of world:

    clips.py     short videos with one motion each, with classes and tags
    untrimmed.py long videos with segments and pauses between them
    captions.py  short stories of two events, with sentences
    queries.py   long videos with sentences that each describe one moment
    shots.py     films of several shots, with their cuts, dissolves and wipes
    features.py  shards of frame features, as YouTube-8M has them

In each folder of videos lie classes.txt and scripts.jsonl (the script of each video: the truth), and in every world
world.json, which holds the arguments and whether the world is complete. The same arguments give the same bytes,
whatever the number of workers. A further kind is one more `make_...`, entered in `KINDS`.
"""

from __future__ import annotations

from collections.abc import Callable

from videozoo.data.motion.captions import make_captions
from videozoo.data.motion.clips import make_clips
from videozoo.data.motion.features import make_yt8m
from videozoo.data.motion.labels import TAGS, boxes, caption, segments, tags
from videozoo.data.motion.queries import make_queries, query_spans
from videozoo.data.motion.render import render, sound
from videozoo.data.motion.script import (
    CLASSES,
    PAUSE,
    Event,
    Script,
    State,
    clip_script,
    story_script,
    untrimmed_script,
)
from videozoo.data.motion.shots import FilmScript, make_shots, render_film
from videozoo.data.motion.untrimmed import make_untrimmed

__all__ = [
    "CLASSES",
    "KINDS",
    "PAUSE",
    "TAGS",
    "Event",
    "FilmScript",
    "Script",
    "State",
    "boxes",
    "caption",
    "clip_script",
    "make_captions",
    "make_clips",
    "make_queries",
    "make_shots",
    "make_untrimmed",
    "make_yt8m",
    "query_spans",
    "render",
    "render_film",
    "segments",
    "sound",
    "story_script",
    "tags",
    "untrimmed_script",
]

KINDS: dict[str, Callable[..., None]] = {
    "clips": make_clips,
    "untrimmed": make_untrimmed,
    "captions": make_captions,
    "queries": make_queries,
    "shots": make_shots,
    "yt8m": make_yt8m,
}
