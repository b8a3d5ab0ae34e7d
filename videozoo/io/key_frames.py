"""Measures the distance of a video's key frames, which is the cost of a seek."""

from __future__ import annotations

import os

from videozoo.errors import DecodeError
from videozoo.io.pyav import decoding, open_container

__all__ = ["key_frame_distance"]


def key_frame_distance(path: str | os.PathLike[str], *, num_frames: int = 1000) -> float:
    """Returns the average distance of key frames in the first `num_frames` frames, without decoding.

    Raises:
        DecodeError: the file cannot be opened, or has no video.
    """
    with open_container(os.fspath(path)) as container:
        if not container.streams.video:
            raise DecodeError(path, "it has no video stream")
        num_seen = num_keys = 0
        with decoding(path):
            for packet in container.demux(container.streams.video[0]):
                if packet.size == 0 or num_seen == num_frames:
                    break
                num_seen += 1
                num_keys += packet.is_keyframe
    return num_seen / max(num_keys, 1)
