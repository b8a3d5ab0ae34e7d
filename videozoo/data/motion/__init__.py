"""The motion world: real, encoded videos of moving shapes, with every kind of label, for everyone.

    script.py   what happens: events drawn at random, told without pixels
    shapes.py   the shapes and colours that take part
    labels.py   what a script says in each task's terms: class, tags, segments, caption, boxes
    render.py   its pixels and its sound
    world.py    folders of videos and labels
    features.py shards of frame features, as YouTube-8M has them
    captions.py short stories of two events, told in sentences
    queries.py  long videos with sentences that each tell of one moment

A further kind of world (captions, queries, features) is one more `make_...` in world.py, entered in its
`KINDS`.
"""

from __future__ import annotations

from videozoo.data.motion import world
from videozoo.data.motion.captions import make_captions
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
from videozoo.data.motion.world import make_clips, make_untrimmed

__all__ = [
    "CLASSES",
    "KINDS",
    "PAUSE",
    "TAGS",
    "Event",
    "Script",
    "State",
    "boxes",
    "caption",
    "clip_script",
    "make_captions",
    "make_clips",
    "make_queries",
    "make_untrimmed",
    "make_yt8m",
    "query_spans",
    "render",
    "segments",
    "sound",
    "story_script",
    "tags",
    "untrimmed_script",
]

KINDS = {**world.KINDS, "captions": make_captions, "queries": make_queries, "yt8m": make_yt8m}
