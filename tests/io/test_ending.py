"""The end of a video: its last frame decides, whatever the container states; a file that lost its end is named."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from tests.io.drawing import draw
from videozoo.errors import DecodeError
from videozoo.io.decode import open_video
from videozoo.io.slice import FileSlice
from videozoo.predict.windows import window_times

FASTSTART = {"container_options": {"movflags": "faststart"}}
FRAGMENTS = {"container_options": {"movflags": "frag_keyframe+empty_moov"}}
UNEVEN = np.cumsum(np.random.default_rng(3).integers(1, 9, 40)) - 1
MPEG4: dict[str, Any] = {"codec": "mpeg4", "options": {"bf": "0"}}
MPEG2: dict[str, Any] = {"codec": "mpeg2video", "options": {"bf": "2"}}

# Name of a file and how it is made; each once without and once with sound, which may outlast the pictures.
WHOLE: dict[str, dict[str, Any]] = {
    "behind.mp4": {},
    "before.mp4": FASTSTART,
    "uneven.mp4": {**FASTSTART, "times": UNEVEN},
    "negative.mp4": {**FASTSTART, "times": range(-7, 33)},
    "late.mp4": {**FASTSTART, "times": range(100, 140)},
    "fragments.mp4": FRAGMENTS,
    "each_frame.mp4": {"container_options": {"movflags": "frag_every_frame+empty_moov"}},
    "dash.mp4": {"container_options": {"movflags": "frag_keyframe+empty_moov+default_base_moof+global_sidx"}},
    "plain.mov": {},
    "plain.3gp": MPEG4,
    "plain.mkv": {},
    "uneven.mkv": {"times": UNEVEN},
    "late.mkv": {"times": range(100, 140)},
    "vp8.webm": {"codec": "libvpx", "sound_codec": "libopus"},
    "vp9.webm": {"codec": "libvpx-vp9", "sound_codec": "libopus"},
    "plain.avi": {**MPEG4, "sound_codec": "mp2"},
    "b_frames.avi": {"sound_codec": "mp2"},
    "plain.flv": {"options": {"bf": "0"}},
    "plain.asf": {"codec": "msmpeg4", "options": {"bf": "0"}, "sound_codec": "mp2"},
    "plain.ts": {},
    "uneven.ts": {"times": UNEVEN},
    "plain.mpg": {**MPEG2, "sound_codec": "mp2", "rate": 25},
}


FRAGMENTED = ("fragments.mp4", "each_frame.mp4", "dash.mp4")


def looks_whole(data: bytes, length: int) -> bool:
    """Returns whether the first `length` bytes of an MP4 file are complete boxes, perhaps padded with zeros."""
    end = 0
    while (after := end + int.from_bytes(data[end : end + 4], "big")) <= length:
        end = after
        if end == len(data):
            break
    return not any(data[end:length])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ends")


def make(folder: Path, name: str, sound_s: float) -> Path:
    path = folder / f"{sound_s:g}_{name}"
    return path if path.exists() else draw(path, **{"times": range(40), "sound_s": sound_s, **WHOLE[name]})


def read(path: Path | str) -> tuple[list[float], str]:
    """The times of the frames that come, and the error that ends them."""
    times: list[float] = []
    try:
        with open_video(path) as video:
            times.extend(time_s for time_s, _ in video.sources(0.0))
    except DecodeError as error:
        return times, str(error)
    return times, ""


@pytest.mark.parametrize("sound_s", [0.0, 1.2, 3.0])
@pytest.mark.parametrize("name", WHOLE)
def test_whole_files_end_with_their_last_frame(folder, name, sound_s):
    path = make(folder, name, sound_s)
    times, error = read(path)
    assert not error
    with av.open(str(path)) as container:
        assert len(times) == len(list(container.decode(video=0)))
    with open_video(path) as video:
        assert video.info.last_frame_s == pytest.approx(times[-1], abs=2e-3)
        assert times[-1] < video.info.duration_s < times[-1] + 0.5
        assert video.frames_at([video.info.duration_s + 1]).times_s == (times[-1],)


@pytest.mark.parametrize("sound_s", [0.0, 1.2, 3.0])
@pytest.mark.parametrize("name", WHOLE)
def test_every_cut_that_costs_frames_is_named(folder, name, sound_s):
    path = make(folder, name, sound_s)
    whole, _ = read(path)
    data = path.read_bytes()
    generator = np.random.default_rng(len(name))
    for at in (*generator.integers(len(data) // 4, len(data), 8).tolist(), len(data) - 30):
        if (name.endswith(".ts") and at % 188 == 0) or (name in FRAGMENTED and looks_whole(data, at)):
            continue  # no header states a length, and nothing is incomplete
        cut = folder / f"cut_{path.name}"
        cut.write_bytes(data[:at])
        times, error = read(cut)
        assert error or len(times) == len(whole), f"{at} of {len(data)} bytes: {len(times)} frames and no error"
        assert error.count("\n") == 0
        if times and error:
            assert "the file ends at" in error or "the file is cut off after" in error


def test_a_cut_says_where_the_file_ends_and_where_it_should(folder):
    whole = make(folder, "before.mp4", 1.2)
    path = folder / "part.mp4"
    path.write_bytes(whole.read_bytes()[: whole.stat().st_size * 3 // 4])
    times, error = read(path)
    assert f"the file ends at {len(times) / 30:.2f} s of 1.33 s" in error
    with open_video(path) as video:
        assert video.info.duration_s == pytest.approx(40 / 30)
        assert video.frames_at([times[-1]]).times_s == pytest.approx([times[-1]])
        with pytest.raises(DecodeError, match=r"the file ends at .* of 1\.33 s"):
            video.frames_at([1.3])


def test_clips_inside_a_tar_file_end_where_they_end(folder):
    """The bytes of the next clip follow, which the cut one must not take for its own."""
    data = make(folder, "before.mp4", 1.2).read_bytes()
    with tarfile.open(folder / "clips.tar", "w") as tar:
        for name, content in (("whole.mp4", data), ("cut.mp4", data[: len(data) * 2 // 3]), ("next.mp4", data)):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    with tarfile.open(folder / "clips.tar") as tar:
        members = {m.name: FileSlice(folder / "clips.tar", m.offset_data, m.size, m.name).address for m in tar}
    assert read(members["whole.mp4"])[1] == read(members["next.mp4"])[1] == ""
    assert "the file ends at" in read(members["cut.mp4"])[1]


def test_what_a_container_states_of_its_length_is_not_believed(folder):
    """A Matroska file whose tag says years: what comes is read, and the first frame beyond is an error."""
    data = make(folder, "plain.mkv", 1.2).read_bytes()
    tag = b"00:00:01.333000000"
    assert tag in data or b"DURATION" in data
    at = data.index(b"DURATION") + len(b"DURATION")
    at = data.index(b"00:00:", at)
    path = folder / "years.mkv"
    path.write_bytes(data[:at] + b"99999999:00:00.000" + data[at + 18 :])
    with open_video(path) as video:
        assert video.info.duration_s > 3e11
        assert video.frames_at([1.0]).times_s == pytest.approx([1.0], abs=1e-3)
        with pytest.raises(DecodeError, match=r"the file ends at 1\.33 s of 3599"):
            video.frames_at([2.0])
        times = window_times(video.info, 1.0, 0.5)
        assert len(times) > 7e11
        assert times[1] == (0.5, 1.5)
        assert next(iter(times)) == (0.0, 1.0)


def kinds(generator: np.random.Generator) -> dict[str, Any]:
    """A rate, the times of frames and a start, drawn at random."""
    num = int(generator.choice([1, 2, 3, 17, 40]))
    steps = np.ones(num, int) if generator.random() < 0.4 else generator.integers(1, 12, num)
    if generator.random() < 0.3:
        steps[-1] = 40  # the last picture comes late
    return {
        "rate": int(generator.choice([1, 2, 12, 25, 30])),
        "times": np.cumsum(steps) - steps[0] + int(generator.choice([-3, 0, 0, 50] if num > 3 else [0, 50])),
    }


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("suffix", ["mp4", "fragments.mp4", "mkv", "webm", "mov", "avi", "ts", "mpg"])
def test_every_frame_lies_in_some_window(folder, suffix, seed):
    generator = np.random.default_rng(seed)
    made = kinds(generator)
    if suffix in ("avi", "webm", "mpg"):  # begin at zero
        made["times"] = made["times"] - min(made["times"])
    if suffix == "mpg":
        made |= {**MPEG2, "rate": 25}
    if suffix == "webm":
        made |= {"codec": "libvpx"}
    if suffix == "fragments.mp4":
        made |= FRAGMENTS
    path = draw(folder / f"w{seed}.{suffix}", **made)
    times, error = read(path)
    assert not error
    with open_video(path) as video:
        info = video.info
        assert info.last_frame_s == pytest.approx(times[-1], abs=2e-3)
        assert info.duration_s > times[-1]
        for window_s in (0.1, 0.5, 1.0, 7.0, 1000.0):
            found = window_times(info, window_s, window_s * generator.choice([0.25, 0.5, 1.0]))
            starts, ends = np.array(found).T
            assert (starts >= 0).all() and (starts < ends).all() and (ends <= info.duration_s + 1e-9).all()
            lies = (starts[None] <= np.array(times)[:, None] + 1e-9) & (np.array(times)[:, None] < ends[None])
            assert lies.any(1).all()
        seen = {t for window in video.windows(window_s=0.5, stride_s=0.5) for t in window.times_s}
        assert seen == set(times)
