import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from videozoo.errors import ConfigError
from videozoo.io.lock import LOCK_NAME, lock_of, locked
from videozoo.io.process import ProcessMark

HOLD = "import sys; from videozoo.io.lock import locked\nwith locked(sys.argv[1]): print('held', flush=True); input()"


def hold(folder: Path) -> "subprocess.Popen[str]":
    child = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None and child.stdout.readline() == "held\n"
    return child


def end(child: "subprocess.Popen[str]") -> None:
    child.kill()
    child.communicate()


def test_a_second_process_is_refused_and_the_first_one_named(tmp_path):
    child = hold(tmp_path / "out")
    try:
        expected = rf"out: process {child.pid} is writing to it; wait for it to end"
        with pytest.raises(ConfigError, match=expected), locked(tmp_path / "out"):
            pass
    finally:
        end(child)


def test_the_lock_of_a_killed_process_is_taken_over(tmp_path):
    end(hold(tmp_path))
    assert (tmp_path / LOCK_NAME).is_file()
    with locked(tmp_path):
        assert (tmp_path / LOCK_NAME).read_text() == str(ProcessMark.own())
    assert not list(tmp_path.iterdir())


def test_a_killed_process_that_its_parent_did_not_wait_for_is_dead(tmp_path):
    child = hold(tmp_path)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # a zombie from here on
    with locked(tmp_path):
        pass
    child.communicate()


def test_a_pid_that_another_process_got_is_no_owner(tmp_path):
    own = ProcessMark.own()
    (tmp_path / LOCK_NAME).write_text(str(ProcessMark(own.host, own.pid, "1" + own.started)))
    with locked(tmp_path):
        pass


def test_a_lock_of_another_host_is_respected_and_its_file_named(tmp_path):
    lock = tmp_path / LOCK_NAME
    lock.write_text("elsewhere.7.ab12")
    with pytest.raises(ConfigError, match=rf"process 7 on elsewhere .*remove {lock}"), locked(tmp_path):
        pass
    assert lock.is_file()


def test_an_empty_lock_is_respected_for_as_long_as_it_may_be_written(tmp_path):
    lock = tmp_path / LOCK_NAME
    lock.touch()
    with pytest.raises(ConfigError, match="another process is writing"), locked(tmp_path):
        pass
    os.utime(lock, (time.time() - 60,) * 2)
    with locked(tmp_path):
        pass


def test_a_file_is_locked_beside_it_and_its_folder_is_free(tmp_path):
    with locked(tmp_path / "a.parquet", is_folder=False), locked(tmp_path / "b.parquet", is_folder=False):
        assert lock_of(tmp_path / "a.parquet", is_folder=False) == tmp_path / ".a.parquet.lock"
        assert len(list(tmp_path.iterdir())) == 2
        with pytest.raises(ConfigError, match=r"a\.parquet: process"), locked(tmp_path / "a.parquet", is_folder=False):
            pass
    assert not list(tmp_path.iterdir())


def test_a_lock_that_cannot_be_written_is_named_and_leaves_nothing(tmp_path, monkeypatch):
    def open_(self, *args, **options):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(Path, "open", open_)
    with (
        pytest.raises(OSError, match=r"\[Errno 28\] No space left on device: '.*out/\.lock'"),
        locked(tmp_path / "out"),
    ):
        pass
    assert not (tmp_path / "out").exists()


def test_a_folder_that_was_made_for_nothing_is_removed(tmp_path):
    with locked(tmp_path / "new" / "out"):
        pass
    assert not (tmp_path / "new" / "out").exists()
    with locked(tmp_path / "out"):
        (tmp_path / "out" / "a").touch()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a"]
