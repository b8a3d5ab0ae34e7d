"""The motion world: real, encoded videos of moving shapes, with every kind of label, for everyone.

    script.py   what happens: events drawn at random, told without pixels
    shapes.py   the shapes and colours that take part
    labels.py   what a script says in each task's terms: class, tags, segments, caption, boxes
    render.py   its pixels and its sound
    world.py    folders of videos and labels
    features.py shards of frame features, as YouTube-8M has them

A further kind of world (captions, queries, features) is one more `make_...` in world.py, entered in its
`KINDS`.
"""

from __future__ import annotations

from videozoo.data.motion import world
from videozoo.data.motion.features import make_yt8m
from videozoo.data.motion.labels import TAGS, boxes, caption, segments, tags
from videozoo.data.motion.render import render, sound
from videozoo.data.motion.script import CLASSES, PAUSE, Event, Script, State, clip_script, untrimmed_script
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
    "make_clips",
    "make_untrimmed",
    "make_yt8m",
    "render",
    "segments",
    "sound",
    "tags",
    "untrimmed_script",
]

KINDS = {**world.KINDS, "yt8m": make_yt8m}
