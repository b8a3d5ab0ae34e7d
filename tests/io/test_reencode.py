"""Videos encoded anew for training: the same pictures, smaller, each soon after a key frame."""

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.io.drawing import draw, numbers
from videozoo.cli.prepare import app
from videozoo.data.clip_folder import clip_folder
from videozoo.data.clip_list import clip_list
from videozoo.errors import DataError, DecodeError
from videozoo.io.decode import open_video
from videozoo.io.encode import write_video
from videozoo.io.key_frames import key_frame_distance
from videozoo.io.reencode import reencode


def test_key_frames_come_close_together(tmp_path):
    draw(tmp_path / "long.mp4", gop=60)
    assert key_frame_distance(tmp_path / "long.mp4") == 60
    assert key_frame_distance(tmp_path / "long.mp4", num_frames=20) == 20
    assert reencode(tmp_path / "long.mp4", tmp_path / "new/short.mp4", gop_frames=5, crf=1) is False
    assert key_frame_distance(tmp_path / "new/short.mp4") <= 5
    with open_video(tmp_path / "new/short.mp4") as video:
        assert video.num_frames == 60 and video.info.fps == 30
        shown = numbers(video.frames_by_index([0, 7, 33, 59]).data)  # x264 leaves out the smallest changes
        assert all(abs(a - b) <= 1 for a, b in zip(shown, [0, 7, 33, 59], strict=True))


def test_made_smaller_in_even_numbers_and_never_larger(tmp_path):
    ramp = np.broadcast_to(np.linspace(0, 255, 100).astype(np.uint8)[None, :, None], (70, 100, 3))
    write_video(tmp_path / "a.mp4", [ramp] * 2, fps=10)
    for side, size in ((32, (32, 46)), (256, (70, 100)), (None, (70, 100))):
        reencode(tmp_path / "a.mp4", tmp_path / "b.mp4", short_side_px=side)
        with open_video(tmp_path / "b.mp4") as video:
            assert (video.info.height_px, video.info.width_px) == size
            row = video.frames_by_index([1]).data[0, :, :, 0].mean(0)
        assert np.all(np.diff(row) > -3) and row[0] < 12 and row[-1] > 243


def test_a_variable_rate_becomes_constant(tmp_path):
    draw(tmp_path / "a.mkv", times=(0, 1, 2, 3, 8, 9, 10, 11), rate=10)
    reencode(tmp_path / "a.mkv", tmp_path / "b.mp4", crf=10)
    with open_video(tmp_path / "a.mkv") as before, open_video(tmp_path / "b.mp4") as after:
        fps, times = after.info.fps, [0.05, 0.35, 0.6, 0.85]
        assert fps == pytest.approx(before.info.fps, rel=1e-3)
        theirs = numbers(before.frames_at(times).data)
        ours = numbers(after.frames_at([t + 1 / fps for t in times]).data)
        assert all(abs(a - b) <= 1 for a, b in zip(theirs, ours, strict=True))
        assert after.info.duration_s == pytest.approx(1.1, abs=0.15)


def test_what_was_made_alike_is_kept(tmp_path):
    draw(tmp_path / "a.mp4")
    out = tmp_path / "b.mp4"
    assert reencode(tmp_path / "a.mp4", out) is False
    before = out.stat().st_mtime_ns
    assert reencode(tmp_path / "a.mp4", out) is True and out.stat().st_mtime_ns == before
    assert reencode(tmp_path / "a.mp4", out, gop_frames=5) is False
    out.write_bytes(b"half a vid")
    assert reencode(tmp_path / "a.mp4", out) is False and key_frame_distance(out) <= 10


def test_a_broken_video_leaves_nothing(tmp_path):
    draw(tmp_path / "a.mp4")
    data = (tmp_path / "a.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[:400])
    with pytest.raises(DecodeError, match=r"cut\.mp4: it cannot be opened"):
        reencode(tmp_path / "cut.mp4", tmp_path / "out/b.mp4")
    with pytest.raises(DecodeError, match=r"none\.mp4: there is no such file"):
        reencode(tmp_path / "none.mp4", tmp_path / "out/b.mp4")
    assert not list((tmp_path / "out").iterdir())
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"cannot be written \(.*\); free some space or choose another folder"):
        reencode(tmp_path / "a.mp4", tmp_path / "file/b.mp4")


def test_the_command_keeps_folders_and_lists(tmp_path):
    data = tmp_path / "data"
    for name in ("run/a.mp4", "run/b.avi", "jump/c.mkv"):
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        draw(data / name, times=tuple(range(12)), **({"codec": "mpeg4"} if name.endswith("avi") else {}))
    (data / "jump/bad.mp4").write_bytes(b"no video")
    args = ["reencode", str(data), str(tmp_path / "out"), "--short-side", "16", "--gop", "4", "--workers", "2"]
    result = CliRunner().invoke(app, args)
    assert result.exit_code == 1 and "3 videos written, 0 kept, 1 failed" in result.output
    assert "failed:" in result.output and "bad.mp4" in result.output
    names = ["jump/c.mp4", "run/a.mp4", "run/b.mp4"]
    assert [record.id for record in clip_folder(tmp_path / "out/data")] == names
    found = clip_list(tmp_path / "out/data.txt")
    assert [(r.id, r.labels) for r in found] == [(f"data/{n}", (int(n[0] == "r"),)) for n in names]
    assert found.class_names == ("jump", "run")
    assert all(key_frame_distance(record.path) <= 4 for record in found)
    (data / "jump/bad.mp4").unlink()
    again = CliRunner().invoke(app, args)
    assert again.exit_code == 0 and "0 videos written, 3 kept, 0 failed" in again.output
