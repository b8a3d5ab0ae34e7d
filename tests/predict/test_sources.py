import os
from pathlib import Path

import pytest
from PIL import Image

from videozoo.errors import DataError
from videozoo.predict.sources import find_videos


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("v/b.mp4", "v/a.MKV", "v/deep/c d.avi", "v/notes.pdf", "v/thumb.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def names(videos):
    return [video.as_posix() for video in videos]


def test_a_folder_means_the_videos_below_it(folder):
    assert names(find_videos(["v"])) == ["v/a.MKV", "v/b.mp4", "v/deep/c d.avi"]


def test_each_video_once_in_the_order_given(folder):
    assert names(find_videos(["v/b.mp4", "v", "v/b.mp4"])) == ["v/b.mp4", "v/a.MKV", "v/deep/c d.avi"]


def test_a_file_of_any_ending_is_a_video(folder):
    assert names(find_videos([Path("v/notes.pdf")])) == ["v/notes.pdf"]


def test_a_list_has_the_path_first_and_may_have_labels(folder):
    Path("lists").mkdir()
    Path("v/list.txt").write_text("# comment\n\nb.mp4 3\ndeep/c d.avi\nv/a.MKV 1 2\n")
    assert names(find_videos(["v/list.txt"])) == ["v/b.mp4", "v/deep/c d.avi", "v/a.MKV"]
    Path("v/list.csv").write_text("b.mp4,jumping\ndeep/c d.avi,running\n")
    assert names(find_videos(["v/list.csv"])) == ["v/b.mp4", "v/deep/c d.avi"]


def test_what_is_missing_is_left_to_the_reader_to_report(folder):
    Path("v/list.txt").write_text("gone.mp4 3\nb.mp4 1\n")
    assert names(find_videos(["v/list.txt", "lost.mp4"])) == ["v/gone.mp4", "v/b.mp4", "lost.mp4"]


def test_a_pattern(folder):
    assert names(find_videos(["v/**/*.avi", "v/?.mp4"])) == ["v/deep/c d.avi", "v/b.mp4"]
    with pytest.raises(DataError, match=r"v/\*\.webm: the pattern matches nothing"):
        find_videos(["v/*.webm"])


def test_a_folder_of_nothing_but_frames_is_one_video(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "img_00001.jpg")
    assert find_videos([tmp_path]) == [tmp_path]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.txt", b"# nothing\n\n", r"empty\.txt: the list is empty; write one path a line"),
        ("binary.txt", b"\xff\xfe\x00\x80", r"binary\.txt: cannot be read as a list of videos"),
    ],
)
def test_lists_that_are_none(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        find_videos([tmp_path / name])


def test_nothing_to_look_at(tmp_path):
    with pytest.raises(DataError, match=r"holds no video file and no frames; video files end in \.3gp"):
        find_videos([tmp_path])
    with pytest.raises(DataError, match=r"sources: no video was named"):
        find_videos([])


@pytest.mark.parametrize(
    "address", ["https://host/a.mp4", "http://host/a.mp4?x=[1]", "rtsp://host/live", "s3://b/a.mp4"]
)
def test_addresses_are_refused_as_they_were_written(folder, address):
    with pytest.raises(DataError) as caught:
        find_videos(["v", address])
    assert str(caught.value).startswith(f"sources: {address} is an address, which is not supported; download")
    Path("v/list.txt").write_text(f"b.mp4 3\n{address} 1\n")
    with pytest.raises(DataError) as caught:
        find_videos(["v/list.txt"])
    assert str(caught.value).startswith(f"v/list.txt:2: {address} is an address")


def test_the_home_folder(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder))
    assert find_videos(["~/v/b.mp4", "~/v/?.mp4"]) == [folder / "v/b.mp4"]
    Path("list.txt").write_text("~/v/a.MKV\n")
    assert find_videos(["list.txt"]) == [folder / "v/a.MKV"]


def test_a_list_of_names_in_another_encoding(folder):
    name = os.fsdecode(b"v/caf\xe9.mp4")
    Path(name).touch()
    Path("list.txt").write_bytes(b"v/caf\xe9.mp4\nv/b.mp4\n")
    assert names(find_videos(["list.txt"])) == [name, "v/b.mp4"]


def test_broken_links_are_left_to_the_reader_to_report(folder):
    Path("v/broken.mp4").symlink_to("nowhere.mp4")
    Path("list.txt").write_text("v/broken.mp4\n")
    assert names(find_videos(["list.txt"])) == ["v/broken.mp4"]
    assert "v/broken.mp4" in names(find_videos(["v"]))
