"""The files that every verb takes from a folder, links, closed folders and unfinished files among them."""

import os
import pathlib
from pathlib import Path

import pytest

from videozoo.data.clip_folder import clip_folder
from videozoo.errors import DataError
from videozoo.io.clip_files import find_clips
from videozoo.predict.frames import open_source
from videozoo.predict.sources import find_videos


@pytest.fixture
def root(tmp_path):
    """Two class folders: `jump` with videos, a broken link and a linked folder; `run` with frames."""
    for name in (
        "data/jump/a.mp4",
        "data/jump/b.GIF",
        "data/jump/.00158.host.7.ab.0.part.mp4",
        "data/jump/c.part.mp4",
        "data/jump/d.mp4.part",
        "data/jump/.parts/e.mp4",
        "data/run/clip/img_1.jpg",
        "data/run/clip/._img_1.jpg",
        "elsewhere/more/f.mp4",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "data/jump/broken.mp4").symlink_to("nowhere.mp4")
    (tmp_path / "data/jump/more").symlink_to(tmp_path / "elsewhere/more")
    (tmp_path / "data/jump/circle").symlink_to(tmp_path / "data")
    return tmp_path / "data"


FOUND = ["jump/a.mp4", "jump/b.GIF", "jump/broken.mp4", "jump/more/f.mp4", "run/clip"]


def test_training_and_prediction_find_the_same(root):
    (root / "jump/circle").unlink()  # which is the other class, too
    assert [path.relative_to(root).as_posix() for path in find_videos([root])] == FOUND
    assert [record.id for record in clip_folder(root)] == FOUND


def test_links_in_a_circle_end_and_nothing_is_named_twice(root):
    found = find_clips(root)
    assert len(found.videos) == len({path.resolve() for path in found.videos}) == 4


def test_hidden_frames_are_no_frames(root):
    with open_source(root / "run/clip", fps=5) as reader:
        assert [file.name for file in reader.files] == ["img_1.jpg"]


def close(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Closes a folder, also to root."""
    scandir, listdir = os.scandir, os.listdir

    def refusing(real):
        def list_(path="."):
            if os.fspath(path) == os.fspath(folder):
                raise PermissionError(13, "Permission denied", os.fspath(path))
            return real(path)

        return list_

    monkeypatch.setattr(os, "scandir", refusing(scandir))
    monkeypatch.setattr(os, "listdir", refusing(listdir))
    if hasattr(pathlib, "_NormalAccessor"):  # Python 3.10, whose paths hold a listdir of their own
        monkeypatch.setattr(pathlib._NormalAccessor, "listdir", staticmethod(refusing(listdir)))


def test_a_closed_folder_is_one_of_the_videos_and_fails(root, monkeypatch):
    close(root / "jump/more", monkeypatch)
    (root / "jump/more/f.mp4").unlink()
    assert root / "jump/more" in find_videos([root])
    for fps in (None, 5):
        with pytest.raises(DataError, match=r"jump/more: cannot be read \(permission denied\)"):
            open_source(root / "jump/more", fps=fps)


def test_training_refuses_a_closed_folder(root, monkeypatch):
    close(root / "jump/more", monkeypatch)
    with pytest.raises(
        DataError, match=r"jump/more: cannot be read \(permission denied\); give read permission, or move it out"
    ):
        clip_folder(root)


def test_a_link_to_a_folder_that_is_not_there_is_named(root):
    (root / "jump/disk").symlink_to("/unmounted/disk")
    assert root / "jump/disk" in find_videos([root])
    with pytest.raises(DataError, match=r"jump/disk: cannot be read \(it is a link to /unmounted/disk"):
        clip_folder(root)
    (root / "jump/disk").unlink()
    (root / "walk").symlink_to("/unmounted/walk")
    with pytest.raises(DataError, match=r"walk: is a link to /unmounted/walk, which does not exist"):
        clip_folder(root)
