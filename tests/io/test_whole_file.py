import errno
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from videozoo.errors import DataError, WeightsError
from videozoo.io import whole_file as whole_file_module
from videozoo.io.process import ProcessMark
from videozoo.io.whole_file import is_unfinished, remove_leftovers, whole_file, write_whole_text

KILLED = """
import os, sys
from videozoo.io.whole_file import whole_file
with whole_file(sys.argv[1]) as part:
    part.write_text("half")
    os._exit(9)
"""


def leave_behind(path: Path) -> Path:
    """What a process leaves that ends while it writes `path`."""
    before = set(path.parent.iterdir())
    assert subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False).returncode == 9
    (left,) = set(path.parent.iterdir()) - before
    return left


def test_the_file_appears_at_the_end_under_a_name_with_its_ending(tmp_path):
    path = tmp_path / "new" / "clip.mp4"
    with whole_file(path) as part:
        part.write_bytes(b"1")
        assert part.parent == path.parent and part.suffix == ".mp4" and part.name.startswith(".")
        assert not path.exists()
    assert [p.name for p in path.parent.iterdir()] == ["clip.mp4"]


def test_an_exception_leaves_the_earlier_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("old")
    with pytest.raises(KeyError), whole_file(path) as part:
        part.write_text("new")
        raise KeyError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's device that is always full")
def test_a_full_disk_is_one_line_about_the_file(tmp_path):
    path = tmp_path / "a.json"
    expected = rf"^{path}: cannot be written \(no space left on device\); free some space"
    with pytest.raises(DataError, match=expected), whole_file(path), Path("/dev/full").open("wb", buffering=0) as full:
        full.write(b"1")
    with pytest.raises(WeightsError, match=r"^/dev/full: cannot be written \(no space left"):
        write_whole_text("/dev/full", "text", error=WeightsError)
    assert Path("/dev/full").is_char_device()
    assert not list(tmp_path.iterdir())


def test_what_shows_when_the_file_is_put_on_the_disk_counts(tmp_path, monkeypatch):
    def fsync(descriptor):
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    monkeypatch.setattr(whole_file_module.os, "fsync", fsync)
    with pytest.raises(DataError, match="quota exceeded"):
        write_whole_text(tmp_path / "a", "text")
    assert not list(tmp_path.iterdir())


def test_errors_of_a_library_do_not_name_the_temporary_file(tmp_path):
    path = tmp_path / "a.pt"
    expected = rf"^{path}: cannot be written \(failed to write {path}\)"
    with pytest.raises(DataError, match=expected), whole_file(path, writer_errors=(RuntimeError,)) as part:
        raise RuntimeError(f"Failed to write {part}\nat line 1")


def test_a_missing_input_is_not_called_an_output_that_cannot_be_written(tmp_path):
    with pytest.raises(FileNotFoundError, match="input"), whole_file(tmp_path / "a"):
        (tmp_path / "input").read_bytes()


def test_a_folder_of_that_name_or_a_file_above_is_named(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError, match=r"folder: cannot be written \(is a directory\)"):
        write_whole_text(tmp_path / "folder", "text")
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"file/a/b: cannot be written \(not a directory\)"):
        write_whole_text(tmp_path / "file" / "a" / "b", "text")


def test_the_longest_names_can_be_written(tmp_path):
    for name in ("x" * 251 + ".txt", "ä" * 125 + ".json", "y" * 255):
        write_whole_text(tmp_path / name, name)
        assert (tmp_path / name).read_text() == name


def test_links_to_open_files_are_written_to(tmp_path):
    code = "from videozoo.io.whole_file import write_whole_text as w; w('/dev/stdout', 'text')"
    with (tmp_path / "out").open("wb") as out:
        assert subprocess.run([sys.executable, "-c", code], stdout=out, check=False).returncode == 0
    assert (tmp_path / "out").read_text() == "text"


def test_the_next_process_removes_what_a_dead_one_left(tmp_path):
    left = [leave_behind(tmp_path / "a.mp4"), leave_behind(tmp_path / "b")]
    assert all(is_unfinished(path.name) for path in left)
    living = tmp_path / f".c.{ProcessMark.own()}.0.part.mp4"
    living.touch()
    other = tmp_path / ".d.elsewhere.7.ab.0.part"
    other.touch()
    kept = tmp_path / ".e.part.mp4"  # not ours
    kept.touch()
    remove_leftovers(tmp_path)
    assert set(tmp_path.iterdir()) == {living, other, kept}


def test_leftovers_of_another_host_are_removed_when_they_are_old(tmp_path):
    other = tmp_path / ".d.elsewhere.7.ab.0.part"
    other.touch()
    os.utime(other, (time.time() - 2 * 24 * 3600,) * 2)
    write_whole_text(tmp_path / "a", "")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("name", ["a.part.mp4", "a.mp4.part", "a.temp.mp4", "b.tmp", "c.PARTIAL"])
def test_names_of_unfinished_files(name):
    assert is_unfinished(name)


@pytest.mark.parametrize("name", ["a.mp4", "part.mp4", "apart.mp4", "a.part.1.mp4", "part"])
def test_names_of_other_files(name):
    assert not is_unfinished(name)


def test_a_name_that_is_no_utf8_keeps_its_json_valid(tmp_path):
    name = os.fsdecode(b"bad\xff.mp4")
    write_whole_text(tmp_path / "a.json", json.dumps(["ä", name], ensure_ascii=False))
    assert json.loads((tmp_path / "a.json").read_bytes().decode("utf-8")) == ["ä", name]
