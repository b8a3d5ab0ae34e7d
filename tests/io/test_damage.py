"""Damage that a decoder conceals is counted; in strict mode it is an error; whole files have none."""

from __future__ import annotations

import random
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tests.io.drawing import draw
from videozoo.errors import DecodeError
from videozoo.io.decode import open_video
from videozoo.predict.frames import SlidingReader

CODECS = {
    "h264.mkv": "libx264",
    "mpeg4.avi": "mpeg4",
    "mpeg2.ts": "mpeg2video",
    "vp8.webm": "libvpx",
    "x.mp4": "libx264",
}
CONCEAL = ("h264.mkv", "mpeg4.avi", "mpeg2.ts")  # these decoders say so


def moving(path: Path, codec: str) -> list[bytes]:
    """Writes 30 frames of moving noise, and returns its packets."""
    scene = np.random.default_rng(0).integers(0, 128, (300, 400, 3), dtype=np.uint8)
    packets = []
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10, options={"g": "10", "threads": "1"})
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for number in range(30):
            picture = np.ascontiguousarray(scene[number : number + 240, number : number + 320])
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 10)
            packets += stream.encode(frame)
        packets += stream.encode(None)
        contents = [bytes(packet) for packet in packets]
        for packet in packets:
            container.mux(packet)
    return contents


def spoiled(path: Path, codec: str) -> Path:
    """The same with some bytes in the middle of a frame overwritten."""
    content = moving(path, codec)[12]
    data = bytearray(path.read_bytes())
    place = len(content) // 2
    start = data.find(content[place : place + 100])
    assert start > 0
    data[start : start + 12] = random.Random(0).randbytes(12)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(("name", "codec"), CODECS.items())
def test_whole_files_have_none(tmp_path, name, codec, monkeypatch):
    monkeypatch.setenv("VIDEOZOO_STRICT", "1")
    moving(tmp_path / name, codec)
    with open_video(tmp_path / name) as video:
        for time_s in (2.5, 0.0, 1.7, 0.3, 2.9):  # seeks, also back
            video.frames_at([time_s])
        assert len(list(video.stream(start_s=1.5))) == 15
        assert len(list(video.stream())) == 30
        assert video.damaged_frames == 0


@pytest.mark.parametrize("name", CONCEAL)
def test_concealed_damage_is_counted_once(tmp_path, name):
    path = spoiled(tmp_path / name, CODECS[name])
    with open_video(path) as video:
        assert video.damaged_frames == 0
        assert len(list(video.stream())) == 30
        counted = video.damaged_frames
        assert 1 <= counted <= 3
        video.frames_at([0.0, 2.9])
        list(video.stream())
        assert video.damaged_frames == counted
    with open_video(path) as video:
        sliding = SlidingReader(video)
        sliding.frames_at([0.0])
        assert sliding.damaged_frames == 0
        sliding.frames_at([2.9])
        assert sliding.damaged_frames == counted


@pytest.mark.parametrize("name", CONCEAL)
def test_strict_makes_it_an_error(tmp_path, name, monkeypatch):
    path = spoiled(tmp_path / name, CODECS[name])
    monkeypatch.setenv("VIDEOZOO_STRICT", "1")
    with open_video(path) as video:
        assert len(video.frames_at([0.3])) == 1
        with pytest.raises(DecodeError, match=rf"{name}: the frame at 1\.\d\d s cannot be decoded \(.*\)"):
            list(video.stream())
        with pytest.raises(DecodeError, match="cannot be decoded"):
            video.frames_at([1.0, 1.1, 1.2, 1.3, 1.4, 1.5])
        assert len(video.frames_at([2.5])) == 1


def test_a_recording_that_begins_inside_a_gop_is_not_damaged(tmp_path):
    """Its first pictures refer to frames that were never recorded; they are left out, not guessed."""
    draw(tmp_path / "whole.ts", gop=20)
    with av.open(str(tmp_path / "whole.ts")) as source, av.open(str(tmp_path / "tail.ts"), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(source.demux(video=0)):
            if packet.dts is not None and number >= 7:
                packet.stream = stream
                target.mux(packet)
    with open_video(tmp_path / "tail.ts") as video:
        assert len(list(video.stream())) > 30
        assert video.damaged_frames == 0
