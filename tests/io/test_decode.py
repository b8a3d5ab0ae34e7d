"""Decoding: the right frame, upright and in the right colour, or an error that gives file and reason."""

from __future__ import annotations

import multiprocessing
import threading
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tests.io.drawing import draw, numbers
from videozoo.errors import ConfigError, DataError, DecodeError, MissingPackageError
from videozoo.io.decode import Frames, open_video, probe
from videozoo.io.encode import write_video

UNEVEN = np.cumsum(np.random.default_rng(1).integers(1, 6, 60)) - 1
OPEN_GOP = {"x264-params": "open-gop=1:bframes=3:b-adapt=0"}

SHAPES = {
    "constant.mp4": {},
    "variable.mp4": {"times": UNEVEN},
    "variable.mkv": {"times": UNEVEN},
    "late_start.mp4": {"times": range(90, 150)},
    "late_start.mkv": {"times": range(90, 150)},
    "late_start.ts": {"times": range(90, 150)},
    "fragments.mp4": {"container_options": {"movflags": "frag_keyframe+empty_moov"}},
    "no_index.ts": {},
    "no_index.mkv": {"container_options": {"live": "1"}},
    "no_b_frames.avi": {"options": {"bf": "0"}},
    "b_frames.avi": {},
    "open_gop.mp4": {"options": OPEN_GOP},
    "open_gop.ts": {"options": OPEN_GOP},
    "no_key_frames.mp4": {"options": {"x264-params": "intra-refresh=1"}},
    "one_gop.mp4": {"gop": 1000},
    "odd_444.mp4": {"pixel_format": "yuv444p", "width": 33, "height": 35},
    "ten_bits.mp4": {"pixel_format": "yuv420p10le"},
    "motion_jpeg.avi": {"codec": "mjpeg", "pixel_format": "yuvj420p"},
    "uneven.gif": {"codec": "gif", "pixel_format": "gray", "times": UNEVEN * 3},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clips")


@pytest.fixture(scope="module", params=list(SHAPES))
def shape(request: pytest.FixtureRequest, folder: Path) -> tuple[Path, np.ndarray]:
    """A file of 60 frames and the times at which they start."""
    made = SHAPES[request.param]
    ticks = np.asarray(made.get("times", range(60)))
    return draw(folder / request.param, **made), (ticks - ticks[0]) / 30


@pytest.fixture(scope="module")
def plain(folder: Path) -> Path:
    return draw(folder / "plain.mp4")


def test_sequential_reading_gives_every_frame_in_order(shape):
    path, times = shape
    with open_video(path) as video:
        read = list(video.stream())
        assert video.num_frames == 60
        assert video.info.fps > 0
    assert numbers(np.stack([frame for _, frame in read])) == list(range(60))
    assert [t for t, _ in read] == pytest.approx(times, abs=1e-3)


def test_frames_by_index_equal_sequential_reading_to_the_bit(shape):
    path, _ = shape
    with open_video(path) as video:
        read = np.stack([frame for _, frame in video.stream()])
        order = np.random.default_rng(0).permutation(60).tolist()
        assert np.array_equal(video.frames_by_index([*order, 7, 7]).data, read[[*order, 7, 7]])
        for index in order[:6]:
            assert np.array_equal(video.frames_by_index([index]).data[0], read[index])


def test_frames_at_gives_the_frame_on_screen(shape):
    path, times = shape
    asked = np.random.default_rng(2).uniform(-0.5, times[-1] + 0.5, 40)
    asked = asked[np.abs(asked[:, None] - times[None]).min(1) > 2e-3]  # not where rounding to ms decides
    on_screen = np.maximum(np.searchsorted(times, asked, side="right") - 1, 0)
    with open_video(path) as video:
        frames = video.frames_at(asked.tolist())
        assert numbers(frames.data) == on_screen.tolist()
        assert frames.times_s == pytest.approx(times[on_screen], abs=1e-3)
        # the times that come back name the same frames again
        assert np.array_equal(video.frames_at(frames.times_s).data, frames.data)


@pytest.mark.parametrize(("codec", "pixel_format"), [("cinepak", "rgb24"), ("msvideo1", "rgb555le")])
def test_codecs_whose_key_frames_are_not_to_be_trusted_are_decoded_from_the_start(folder, codec, pixel_format):
    """Old AVI files flag every frame as a key frame; the pictures of these lean on earlier ones all the same."""
    path = draw(folder / f"{codec}.avi", times=range(30), gop=1000, codec=codec, pixel_format=pixel_format, noisy=True)
    data = bytearray(path.read_bytes())
    index = data.index(b"idx1") + 8
    for entry in range(index, len(data), 16):
        data[entry + 4] |= 0x10
    path.write_bytes(data)
    with open_video(path) as video:
        read = np.stack([frame for _, frame in video.stream()])
        assert len(read) == video.num_frames == 30
        for i in (20, 3, 29):
            assert np.array_equal(video.frames_by_index([i]).data[0], read[i])
            assert np.array_equal(next(video.stream(start_s=i / 30))[1], read[i])


def test_frames_that_are_never_shown_do_not_count(folder):
    """VP8 keeps pictures for others to refer to; here every fourth loses the bit that says to show it."""
    source = draw(folder / "all_shown.webm", codec="libvpx", times=range(40))
    path = folder / "some_hidden.webm"
    with av.open(str(source)) as container, av.open(str(path), "w") as out:
        stream = out.add_stream_from_template(container.streams.video[0])
        for number, packet in enumerate(p for p in container.demux(video=0) if p.size):
            data = bytearray(bytes(packet))
            if number % 4 == 3 and not packet.is_keyframe:
                data[0] &= ~0x10
            copy = av.Packet(bytes(data))
            copy.pts, copy.dts, copy.time_base = packet.pts, packet.dts, packet.time_base
            copy.is_keyframe, copy.stream = packet.is_keyframe, stream
            out.mux(copy)
    with open_video(path) as video:
        read = [(time_s, frame) for time_s, frame in video.stream()]
        assert video.num_frames == len(read) < 35
        for i in (20, 3, len(read) - 1):
            frames = video.frames_by_index([i])
            assert frames.times_s == (read[i][0],)
            assert np.array_equal(frames.data[0], read[i][1])


def test_each_gop_is_decoded_once_and_the_others_not_at_all(folder, monkeypatch):
    path = draw(folder / "long.mp4", times=range(600), gop=10, options={"bf": "0"})
    decoded = []
    with open_video(path) as video:
        decode = type(video._track)._decode
        monkeypatch.setattr(
            type(video._track),
            "_decode",
            lambda self, packet: (decoded.append(packet.pts), decode(self, packet)),
        )
        video.frames_at([15.0, 5.0, 5.1, 5.2, 15.2])
    assert len(decoded) == len(set(decoded)) <= 24  # two GOPs of ten, and the frames that prove the GOP's end


def test_times_mean_the_same_in_millisecond_containers(folder):
    with open_video(draw(folder / "ms.mkv")) as video:  # frame 2 is stored at 67 ms, due at 66.67
        assert numbers(video.frames_at([i / 30 for i in range(60)]).data) == list(range(60))


def test_probe_describes_the_upright_video(folder):
    info = probe(draw(folder / "probe.mp4", times=range(30, 60), width=48, height=32))
    assert (info.width_px, info.height_px, info.rotation_deg) == (48, 32, 0)
    assert (info.fps, info.num_frames, info.codec, info.pixel_format) == (30, 30, "h264", "yuv420p")
    assert info.duration_s == pytest.approx(1.0)
    assert info.start_s == pytest.approx(1.0)
    assert info.size_bytes == (folder / "probe.mp4").stat().st_size
    assert not info.has_audio


@pytest.mark.parametrize("suffix", ["mkv", "mov"])
def test_tags_that_are_not_utf8_stop_nothing(folder, suffix):
    path = folder / f"tags.{suffix}"
    with av.open(str(draw(folder / f"untagged.{suffix}"))) as source, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        if suffix == "mkv":
            stream.metadata["timecode"] = "long time"
        target.metadata["title"] = "long title"
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                target.mux(packet)
    data = path.read_bytes()
    assert b"long title" in data
    path.write_bytes(data.replace(b"long", b"l\xf6\xffg"))
    with open_video(path) as video:
        assert numbers(video.frames_at([1.0]).data) == [30]
        assert video.info.timecode == ("l\ufffd\ufffdg time" if suffix == "mkv" else None)


@pytest.mark.parametrize(("rotation_deg", "corner"), [(0, (0, 0)), (90, (0, -1)), (180, (-1, -1)), (270, (-1, 0))])
def test_rotated_pictures_come_out_upright(folder, rotation_deg, corner):
    """The dark square lies top left in the stored picture; a clockwise quarter turn takes it right."""
    path = draw(folder / f"turned{rotation_deg}.mp4", rotation_deg=rotation_deg, width=64, height=32)
    with open_video(path) as video:
        frame = video.frames_by_index([50]).data[0]
        sizes = (64, 32) if rotation_deg in (0, 180) else (32, 64)
        assert (video.info.width_px, video.info.height_px) == sizes
        assert (frame.shape[1], frame.shape[0]) == sizes
        assert video.info.rotation_deg == rotation_deg
    y, x = corner
    corners = {(j, i): float(frame[j, i].mean()) for j in (0, -1) for i in (0, -1)}
    assert min(corners, key=corners.__getitem__) == (y, x)


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv444p", "yuv420p10le", "yuv444p12le"])
@pytest.mark.parametrize(("space", "kr", "kb"), [(6, 0.299, 0.114), (1, 0.2126, 0.0722), (9, 0.2627, 0.0593)])
@pytest.mark.parametrize("full_range", [False, True])
def test_colours_follow_the_files_matrix_and_range(folder, pixel_format, space, kr, kb, full_range):
    """Against the formula: R = Y + 2 (1 - kr) Cr, B = Y + 2 (1 - kb) Cb, G from Y = kr R + kg G + kb B."""
    bits = int(pixel_format[7:9] if pixel_format.endswith("le") else 8)
    levels = np.array([120, 100, 150]) << (bits - 8)
    path = folder / f"colour_{pixel_format}_{space}_{full_range}.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.width = stream.height = 32
        stream.pix_fmt = pixel_format
        stream.codec_context.colorspace, stream.codec_context.color_range = space, 2 if full_range else 1
        frame = av.VideoFrame(32, 32, pixel_format)
        for plane, level in zip(frame.planes, levels, strict=True):
            dtype = np.dtype("u1" if bits == 8 else "<u2")
            plane.update(np.full(plane.buffer_size // dtype.itemsize, level, dtype).tobytes())
        frame.colorspace, frame.color_range = space, 2 if full_range else 1
        frame.pts, frame.time_base = 0, Fraction(1, 10)
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    scale = 1 << (bits - 8)
    if full_range:
        y, cb, cr = levels / (256 * scale - 1) - np.array([0, 0.5, 0.5]) * 256 * scale / (256 * scale - 1)
    else:
        y, cb, cr = (levels / scale - [16, 128, 128]) / [219, 224, 224]
    red, blue = y + 2 * (1 - kr) * cr, y + 2 * (1 - kb) * cb
    green = (y - kr * red - kb * blue) / (1 - kr - kb)
    with open_video(path) as video:
        seen = video.frames_at([0]).data[0, 16, 16].tolist()
    assert seen == pytest.approx([255 * red, 255 * green, 255 * blue], abs=2)


def test_windows_cover_the_video_and_stop_at_its_end(plain):
    with open_video(plain) as video:  # two seconds at 30 Hz
        windows = [numbers(w.data) for w in video.windows(window_s=1.0, stride_s=0.5)]
        assert windows == [list(range(30)), list(range(15, 45)), list(range(30, 60))]
        sparse = [numbers(w.data) for w in video.windows(window_s=0.8, stride_s=0.8, fps=5)]
        assert sparse == [[0, 6, 12, 18], [24, 30, 36, 42], [48, 54]]
        apart = [numbers(w.data) for w in video.windows(window_s=0.1, stride_s=1.0)]
        assert apart == [[0, 1, 2], [30, 31, 32]]


def test_windows_decode_each_frame_once(plain, monkeypatch):
    from videozoo.io.pyav import PyAVReader

    taken = []
    sequence = PyAVReader.sources

    def counted(self, start_s):
        for item in sequence(self, start_s):
            taken.append(item[0])
            yield item

    monkeypatch.setattr(PyAVReader, "sources", counted)
    with open_video(plain) as video:
        list(video.windows(window_s=1.0, stride_s=0.1))
    assert len(taken) == len(set(taken)) == 60


def test_stream_takes_the_frames_that_start_in_the_span_and_may_be_mixed_with_other_reads(plain):
    with open_video(plain) as video:
        read = []
        for _, frame in video.stream(start_s=0.5, end_s=1.0):
            read.append(frame)
            assert numbers(video.frames_at([1.5]).data) == [45]
        assert numbers(np.stack(read)) == list(range(15, 30))


def test_no_frames_asked_for_give_an_empty_batch_of_the_right_size(plain):
    with open_video(plain) as video:
        assert video.frames_at([]).data.shape == (0, 32, 32, 3)
        assert video.frames_by_index([]).times_s == ()


def test_threads_change_nothing(plain):
    with open_video(plain) as one, open_video(plain, num_threads=3) as three:
        times = np.linspace(0, 2, 9).tolist()
        assert np.array_equal(one.frames_at(times).data, three.frames_at(times).data)


@pytest.mark.parametrize("indices", [[60], [-1], [3, 99]])
def test_indices_outside_the_video_are_refused(plain, indices):
    with (
        open_video(plain) as video,
        pytest.raises(DataError, match=rf"plain\.mp4: frame {indices[-1]} is outside.* 60 frames, 0\.\.59"),
    ):
        video.frames_by_index(indices)


def test_times_that_are_no_numbers_are_refused(plain):
    with open_video(plain) as video, pytest.raises(DataError, match="cannot look up the time nan"):
        video.frames_at([float("nan")])


def test_unknown_settings_are_refused(plain):
    with pytest.raises(ConfigError, match=r"there is no 'opencv'.*accepted: auto, pyav, torchcodec"):
        open_video(plain, decoder="opencv")
    with pytest.raises(ConfigError, match="num_threads: got 0"):
        open_video(plain, num_threads=0)
    with open_video(plain) as video, pytest.raises(DataError, match="stride_s=0"):
        list(video.windows(window_s=1, stride_s=0))
    with pytest.raises(DataError, match=r"needs uint8 \[t h w 3\]"):
        Frames(np.zeros((2, 4, 4, 3)), (0.0, 1.0))


def test_torchcodec_agrees_or_says_what_to_install(plain):
    try:
        video = open_video(plain, decoder="torchcodec")
    except MissingPackageError as error:
        assert "pip install 'videozoo[gpu-decode]'" in str(error)
        return
    with video, open_video(plain) as ours:
        times = [-1.0, 0.5, 1.99, 0.2, 5.0]
        assert video.num_frames == ours.num_frames
        assert np.array_equal(video.frames_at(times).data, ours.frames_at(times).data)
        assert np.array_equal(video.frames_by_index([59, 3]).data, ours.frames_by_index([59, 3]).data)
        both = [[numbers(w.data) for w in v.windows(window_s=1, stride_s=0.5)] for v in (video, ours)]
        assert both[0] == both[1]


# What cannot be read.


def _text(folder: Path, name: str, text: bytes) -> Path:
    (folder / name).write_bytes(text)
    return folder / name


def _audio_only(folder: Path) -> Path:
    path = folder / "sound.m4a"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda d: d / "missing.mp4", "there is no such file; check the path"),
        (lambda d: d, "it is not a file"),
        (lambda d: _text(d, "empty.mp4", b""), r"the file is empty \(0 bytes\)"),
        (
            lambda d: _text(d, "words.txt", b"these are only words\n" * 50),
            r"it cannot be opened as a video \(it is a text file\)",
        ),
        (
            lambda d: _text(d, "words.mp4", b"these are only words\n" * 50),
            r"it cannot be opened as a video \(it is a text file\)",
        ),
        (lambda d: _text(d, "noise.mp4", bytes(range(256)) * 99), "cannot be opened as a video"),
        (lambda d: _text(d, "head.mp4", draw(d / "w.mp4").read_bytes()[:2000]), "moov atom not found"),
        (_audio_only, r"it has no video stream \(only: audio\)"),
    ],
    ids=["missing", "folder", "empty", "text", "text.mp4", "noise", "no-moov", "audio"],
)
def test_files_without_video_are_refused_with_the_reason(folder, make, reason):
    path = make(folder)
    with pytest.raises(DecodeError, match=reason) as caught:
        open_video(path)
    assert caught.value.path == str(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["cut.mp4", "cut.mkv", "cut.avi"])
def test_a_cut_file_gives_what_it_holds_and_names_what_it_lacks(folder, name):
    options = {"movflags": "faststart"} if name.endswith("mp4") else {}
    whole = draw(folder / f"whole_{name}", container_options=options)
    position, size, _ = _packets(whole)[40]
    path = _text(folder, name, whole.read_bytes()[: position + size // 2])
    with open_video(path) as video:
        assert numbers(video.frames_at([0.0, 0.2]).data) == [0, 6]
        with pytest.raises(DecodeError, match=rf"{name}: the frame at 1\.\d+ s cannot be decoded \(.+\)"):
            video.frames_at([0.1, 1.9])
        assert numbers(video.frames_at([0.2]).data) == [6]
        read = []
        with pytest.raises(DecodeError, match="cannot be decoded"):
            for _, frame in video.stream():
                read.append(frame)
        assert numbers(np.stack(read)) == list(range(len(read)))
        assert 36 <= len(read) <= 40


def _packets(path: Path) -> list[tuple[int, int, bool]]:
    with av.open(str(path)) as container:
        return [(p.pos, p.size, p.is_keyframe) for p in container.demux(video=0) if p.size]


@pytest.mark.parametrize("num_threads", [1, 2])
def test_damage_in_the_middle_costs_the_rest_of_its_gop_and_no_more(folder, num_threads):
    whole = draw(folder / "whole.mp4", gop=20, options={"crf": "1", "bf": "0"})
    data = bytearray(whole.read_bytes())
    position, size, _ = _packets(whole)[25]
    data[position : position + size] = b"\xff" * size
    path = _text(folder, f"damaged{num_threads}.mp4", bytes(data))
    with open_video(path, num_threads=num_threads) as video:
        assert video.num_frames == 60
        assert numbers(video.frames_by_index([0, 20, 24]).data) == [0, 20, 24]
        for index in (25, 26, 39):
            with pytest.raises(DecodeError, match=r"cannot be decoded \(.+\), 25 of 60 frames come before"):
                video.frames_by_index([index])
        assert numbers(video.frames_by_index([59, 40, 24]).data) == [59, 40, 24]
        with pytest.raises(DecodeError, match=r"the frame at 0\.83 s cannot be decoded"):
            list(video.stream())


def test_a_broken_key_frame_is_named_however_one_comes_to_it(folder):
    whole = draw(folder / "whole_keys.webm", codec="libvpx", gop=20)
    position, size, _ = [packet for packet in _packets(whole) if packet[2]][1]
    data = bytearray(whole.read_bytes())
    data[position + 10 : position + size] = b"\xff" * (size - 10)
    path = _text(folder, "broken_key.webm", bytes(data))
    for start_s in (0.0, 0.7, 0.9, 1.2):
        with open_video(path) as video, pytest.raises(DecodeError, match=r"the frame at 0\.\d+ s cannot be decoded \("):
            list(video.stream(start_s=start_s))
    with open_video(path) as video, pytest.raises(DecodeError, match=r"the frame at 0\.\d+ s cannot be decoded \("):
        list(video.windows(window_s=1.0, stride_s=1.0))


def test_reading_survives_a_fork_and_leaves_no_thread(plain):
    before = threading.active_count(), len(list(Path("/proc/self/task").iterdir()))
    with open_video(plain) as video:
        video.frames_at([0.5, 1.5])
    assert (threading.active_count(), len(list(Path("/proc/self/task").iterdir()))) == before
    context = multiprocessing.get_context("fork")
    with context.Pool(1) as pool:
        assert pool.apply_async(_read_in_child, (str(plain),)).get(timeout=30) == [15, 45]


def _read_in_child(path: str) -> list[int]:
    with open_video(path) as video:
        return numbers(video.frames_at([0.5, 1.5]).data)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc to count open files")
def test_files_are_closed_also_after_errors(plain, folder):
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        with open_video(plain) as video:
            next(video.stream())
            list(video.windows(window_s=1, stride_s=1))
        with pytest.raises(DecodeError):
            open_video(_audio_only(folder))
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_written_and_read_again(folder):
    write_video(folder / "again.mp4", (np.full((32, 48, 3), 4 * i, np.uint8) for i in range(20)), fps=10)
    with open_video(folder / "again.mp4") as video:
        assert numbers(video.frames_by_index(range(20)).data) == list(range(20))
