"""Odd files: what the binding does not know, names that mean something to FFmpeg, text that names other files."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from tests.io.drawing import draw
from videozoo.errors import ConfigError, DecodeError
from videozoo.io.audio import read_audio
from videozoo.io.cut import copy_cut, cut
from videozoo.io.decode import open_video
from videozoo.io.encode import write_video
from videozoo.io.key_frames import key_frame_distance
from videozoo.io.pyav import Orientation, PyAVReader, decoding
from videozoo.io.remux import add_sound

ORIENTATION = 0x0112
COLORS = [(200, 30, 30), (30, 200, 30), (30, 30, 200), (200, 200, 30)]  # top left, top right, bottom left, bottom right


def picture() -> np.ndarray:
    corners = np.array(COLORS, np.uint8).reshape(2, 2, 3)
    return np.kron(corners, np.ones((16, 24, 1), np.uint8))


def motion_jpeg(path: Path, *, orientation: int, num_frames: int = 10) -> Path:
    """Writes JPEG pictures with an Exif block, as cameras do."""
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    exif[0x010F] = "a maker of cameras"
    data = io.BytesIO()
    Image.fromarray(picture()).save(data, "jpeg", exif=exif, quality=95)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=10)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuvj420p"
        for number in range(num_frames):
            packet = av.Packet(data.getvalue())
            packet.stream, packet.pts, packet.dts, packet.time_base = stream, number, number, Fraction(1, 10)
            packet.is_keyframe = True
            container.mux(packet)
    return path


def corners(frame: np.ndarray) -> list[int]:
    """The numbers in COLORS of the four corners."""
    height, width = frame.shape[:2]
    places = [(4, 4), (4, width - 5), (height - 5, 4), (height - 5, width - 5)]
    return [int(np.abs(np.array(COLORS) - frame[y, x]).sum(axis=1).argmin()) for y, x in places]


@pytest.mark.parametrize("suffix", ["avi", "mov", "mkv"])
@pytest.mark.parametrize(
    ("orientation", "seen"), [(1, [0, 1, 2, 3]), (3, [3, 2, 1, 0]), (6, [2, 0, 3, 1]), (8, [1, 3, 0, 2])]
)
def test_frames_with_exif_are_answered_upright(tmp_path, suffix, orientation, seen):
    path = motion_jpeg(tmp_path / f"camera.{suffix}", orientation=orientation)
    with open_video(path) as video:
        frames = video.frames_by_index([0, 9])
        assert video.num_frames == 10
    assert corners(frames.data[1]) == seen


@pytest.mark.parametrize("rotation_deg", [0, 90, 180, 270])
def test_the_angle_alone_gives_the_same_turn_as_the_matrix(tmp_path, rotation_deg):
    path = draw(tmp_path / "turned.mp4", rotation_deg=rotation_deg)
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))

    class Unknown:
        rotation = frame.rotation

        @property
        def side_data(self):
            raise ValueError("31 is not a valid Type")

    assert Orientation.of(Unknown()) == Orientation.of(frame)


@pytest.mark.parametrize(
    "kind", [ValueError, RuntimeError, TypeError, MemoryError, OverflowError, IndexError, KeyError]
)
@pytest.mark.parametrize("place", ["pull", "picture", "seek", "index"])
def test_whatever_the_binding_raises_is_the_files_error(tmp_path, monkeypatch, kind, place):
    path = draw(tmp_path / "odd.mp4")

    def fail(*_: object, **__: object) -> None:
        raise kind("an odd value")

    uses = {
        "pull": [lambda v: v.frames_at([0.5]), lambda v: list(v.stream())],
        "picture": [
            lambda v: v.frames_at([0.5]),
            lambda v: list(v.stream()),
            lambda v: list(v.windows(window_s=1, stride_s=1)),
        ],
        "seek": [lambda v: v.frames_at([1.5])],
        "index": [lambda v: v.num_frames, lambda v: v.frames_by_index([3])],
    }
    for use in uses[place]:
        with open_video(path) as video:
            target = {
                "pull": "videozoo.io.pyav._Track.pull",
                "picture": "videozoo.io.pyav._color_arguments",
                "seek": "videozoo.io.pyav._Track.seek",
                "index": "videozoo.io.pyav._Track.constant_rate_times",
            }[place]
            with monkeypatch.context() as patch:
                patch.setattr(target, fail)
                with pytest.raises(DecodeError, match=r"odd\.mp4: .*an odd value.*; remove it"):
                    use(video)
    with monkeypatch.context() as patch, pytest.raises(DecodeError, match=r"odd\.mp4: .*an odd value"):
        patch.setattr("videozoo.io.pyav._Track.rewind", fail)
        open_video(path)


def test_an_error_without_words_is_named_and_our_own_errors_pass():
    with pytest.raises(DecodeError, match=r"a\.mp4: it cannot be decoded \(memoryerror\)"), decoding("a.mp4"):
        raise MemoryError
    with pytest.raises(ConfigError, match="ours"), decoding("a.mp4"):
        raise ConfigError("ours")


NAMES = [
    "rec-12:30.mp4",
    "http:clip.mp4",
    "concat:a.mp4|b.mp4",
    "img%03d.mp4",
    "two\nlines.mp4",
    "subfile,,start,0,end,9,,:x.mp4",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_means_itself(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    frames = np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)
    sound = np.zeros(16000, np.float32)
    write_video(name, frames, fps=10, audio=sound, audio_rate_hz=8000, gop_frames=5)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    with open_video(name) as video:
        assert video.num_frames == 20
        cut(video, f"cut-{name}", start_s=0.5, end_s=1.0)
    assert len(read_audio(name)) > 30000
    assert key_frame_distance(name) == 4
    copy_cut(name, f"copied-{name}", start_s=0.5, end_s=1.0)
    add_sound(f"cut-{name}", name, f"heard-{name}")
    with open_video(f"heard-{name}") as video:
        assert video.info.has_audio


PLAYLISTS = {
    "list.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:3,\nsecret.ts\n#EXT-X-ENDLIST\n",
    "list.ts": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:3,\nsecret.ts\n#EXT-X-ENDLIST\n",
    "list.ffconcat": "ffconcat version 1.0\nfile secret.ts\n",
    "list.mp4": "ffconcat version 1.0\nfile secret.ts\n",
    "list.txt": "ffconcat version 1.0\nfile secret.ts\n",
    "list.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
    "list.mpd": '<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" profiles="x:isoff-on-demand:2011" '
    'type="static" mediaPresentationDuration="PT3S"><Period><AdaptationSet mimeType="video/mp4"><Representation '
    'id="1" bandwidth="9"><BaseURL>secret.ts</BaseURL></Representation></AdaptationSet></Period></MPD>',
}


@pytest.mark.parametrize(("name", "text"), PLAYLISTS.items(), ids=PLAYLISTS)
def test_text_that_names_other_files_opens_none_of_them(tmp_path, monkeypatch, name, text):
    monkeypatch.chdir(tmp_path)
    draw(tmp_path / "secret.ts")
    (tmp_path / name).write_text(text)
    with pytest.raises(DecodeError, match=rf"{name}: it cannot be opened as a video \(it is a text file\)"):
        open_video(name)
    inside = tmp_path / "clips.tar"
    inside.write_bytes(b"\0" * 512 + text.encode())
    with pytest.raises(DecodeError, match=rf"{name}: it cannot be opened as a video \(it is a text file\)"):
        open_video(f"clips.tar@512+{len(text)}/{name}")


@pytest.mark.parametrize(
    "name", ["concat:secret.ts", "subfile,,start,0,end,0,,:secret.ts", "file:secret.ts", "fd:", "pipe:0"]
)
def test_a_protocol_is_no_file(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    draw(tmp_path / "secret.ts")
    with pytest.raises(DecodeError, match="there is no such file"):
        PyAVReader(name)


def test_a_pattern_of_images_is_one_image(tmp_path):
    for name in ("img000.png", "img001.png", "img%03d.png"):
        Image.fromarray(picture()).save(tmp_path / name)
    with open_video(tmp_path / "img%03d.png") as video:
        assert video.num_frames == 1
