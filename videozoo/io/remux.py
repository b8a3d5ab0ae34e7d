"""Combines the video of one file with the audio of another without decoding."""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av
import av.error

from videozoo.errors import DataError
from videozoo.io.pyav import open_container, reason_of, url_to_write
from videozoo.io.whole_file import whole_file

__all__ = ["add_sound"]


def add_sound(
    video_path: str | os.PathLike[str],
    sound_path: str | os.PathLike[str],
    out_path: str | os.PathLike[str],
    *,
    start_s: float = 0.0,
) -> None:
    """Writes the video of one file with the audio of another by copying packets, in bounded memory.

    Args:
        start_s: start of the video on the clock of the audio; earlier audio is left out.

    Raises:
        DataError: there is no audio, or the container of `out_path` does not support its codec.
    """
    pictures, sound = open_container(os.fspath(video_path)), open_container(os.fspath(sound_path))
    try:
        if not sound.streams.audio:
            raise DataError(f"{sound_path}: has no audio stream to add to {out_path}")
        options = {"fflags": "+bitexact"}
        with whole_file(out_path) as part, av.open(url_to_write(part), "w", container_options=options) as out:
            source = sound.streams.best("audio")
            streams = [out.add_stream_from_template(s) for s in (pictures.streams.video[0], source)]
            sounds = _packets(sound, source, streams[1], start_s=start_s)
            video = _packets(pictures, pictures.streams.video[0], streams[0])
            for _, _, packet in heapq.merge(video, sounds, key=lambda item: item[:2]):
                out.mux(packet)
    except (av.error.FFmpegError, ValueError) as error:
        reason = reason_of(error)
        raise DataError(f"{out_path}: cannot copy the audio of {sound_path} ({reason})") from error
    finally:
        pictures.close()
        sound.close()


def _packets(container: Any, source: Any, target: Any, *, start_s: float = 0.0) -> Iterator[tuple[Fraction, int, Any]]:
    """Yields (time, stream, packet) in decoding order, assigned to `target` and shifted back by `start_s`."""
    offset = round(Fraction(start_s) / source.time_base)
    for packet in container.demux(source):
        if packet.dts is None or packet.pts is None or packet.is_corrupt:
            continue
        if offset:
            packet.dts, packet.pts = packet.dts - offset, packet.pts - offset
            if packet.pts < 0:
                continue
        time_s = packet.dts * source.time_base
        packet.stream = target
        yield time_s, target.index, packet
