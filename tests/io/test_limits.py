"""Frames with too many pixels are refused before they are decoded."""

from __future__ import annotations

import io
import os
from fractions import Fraction
from pathlib import Path

import av
import pytest
from PIL import Image

from tests.io.drawing import draw
from videozoo.cli.main import app
from videozoo.errors import ConfigError, DataError, DecodeError
from videozoo.io.decode import open_video
from videozoo.io.frame_folder import FrameFolder
from videozoo.io.limits import MAX_PIXELS, is_strict, max_pixels, set_max_pixels


@pytest.fixture
def bound(monkeypatch: pytest.MonkeyPatch):
    def set_bound(count: int) -> None:
        monkeypatch.setenv("VIDEOZOO_MAX_PIXELS", str(count))

    return set_bound


def motion_jpeg(path: Path, sizes: list[tuple[int, int]], stated: tuple[int, int] = (64, 48)) -> Path:
    """Writes JPEG pictures of these sizes, whatever the container states."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=10)
        stream.width, stream.height, stream.pix_fmt = *stated, "yuvj420p"
        for number, size in enumerate(sizes):
            data = io.BytesIO()
            Image.new("RGB", size, (90, 120, 30)).save(data, "jpeg")
            packet = av.Packet(data.getvalue())
            packet.stream, packet.pts, packet.dts, packet.time_base = stream, number, number, Fraction(1, 10)
            packet.is_keyframe = True
            container.mux(packet)
    return path


def test_8k_passes_and_16k_does_not_by_default(monkeypatch):
    monkeypatch.delenv("VIDEOZOO_MAX_PIXELS", raising=False)
    assert 7680 * 4320 <= 8192 * 8192 == max_pixels() == MAX_PIXELS < 16384 * 8192 < 13000 * 13000


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi", "ts", "h264"])
def test_frames_with_too_many_pixels_are_refused_in_one_line(tmp_path, bound, suffix):
    path = draw(tmp_path / f"a.{suffix}", times=range(5), width=96, height=64)
    bound(96 * 64)
    with open_video(path) as video:
        assert video.info.width_px == 96
    bound(96 * 64 - 1)
    reason = r"its frames have 96x64 pixels, more than the 6143 allowed; if you trust the file, give --max-pixels 6144$"
    with pytest.raises(DecodeError, match=reason):
        open_video(path)


@pytest.mark.parametrize("suffix", ["avi", "mov", "mkv"])
@pytest.mark.parametrize("size", [(128, 96), (400, 400)])
def test_a_size_that_the_container_hides_is_refused_all_the_same(tmp_path, bound, suffix, size):
    bound(10000)
    width, height = size
    refusal = rf"its frames have {width}x{height} pixels, more than the 10000 allowed"
    with pytest.raises(DecodeError, match=refusal):
        open_video(motion_jpeg(tmp_path / f"hidden.{suffix}", [size] * 3))
    path = motion_jpeg(tmp_path / f"grows.{suffix}", [(64, 48)] * 5 + [size] * 5)
    with open_video(path) as video:
        assert len(video.frames_at([0.2])) == 1
        with pytest.raises(DecodeError, match=refusal):
            video.frames_at([0.8])


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp"])
def test_images_are_refused_before_they_are_decoded(tmp_path, bound, suffix, monkeypatch):
    Image.new("RGB", (200, 100)).save(tmp_path / f"0.{suffix}")
    bound(10000)

    def fail(*_: object) -> None:
        raise AssertionError("the image was decoded")

    monkeypatch.setattr(Image.Image, "convert", fail)
    with pytest.raises(DataError, match=rf"0\.{suffix}: its frames have 200x100 pixels, more than the 10000 allowed"):
        FrameFolder(tmp_path).frames_by_index([0])


def test_the_bound_is_a_number_of_pixels(bound, monkeypatch):
    set_max_pixels(None)
    for text in ("many", "0", "-5", "1e6", ""):
        monkeypatch.setenv("VIDEOZOO_MAX_PIXELS", text)
        with pytest.raises(ConfigError, match=f"VIDEOZOO_MAX_PIXELS: '{text}' is not a number of pixels; write e.g."):
            max_pixels()


@pytest.mark.parametrize("verb", ["predict", "extract", "index", "eval"])
def test_the_verbs_have_the_option(verb, monkeypatch):
    from typer.testing import CliRunner

    monkeypatch.setenv("VIDEOZOO_MAX_PIXELS", "77")
    wanted = {"predict": [], "extract": ["--out", "x"], "index": ["--run", "x", "--out", "x"], "eval": []}[verb]
    arguments = [verb, "no_such_run", *(["no_such_video"] if verb != "eval" else []), *wanted]
    CliRunner().invoke(app, [*arguments, "--max-pixels", "1234"])
    assert os.environ["VIDEOZOO_MAX_PIXELS"] == "1234"
    if verb != "index":
        monkeypatch.setenv("VIDEOZOO_STRICT", "0")
        CliRunner().invoke(app, arguments)
        assert not is_strict()
        CliRunner().invoke(app, [*arguments, "--strict"])
        assert is_strict()
