"""Jobs over files: a file that ends the process is named, the others are read, nothing is done twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from videozoo.errors import DecodeError
from videozoo.io.isolation import Journal, current_journal

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes cannot fork here")

JOB = """
import os, signal, sys, threading, time
from videozoo.errors import DecodeError
from videozoo.io.isolation import current_journal, supervise

def job():
    journal = current_journal()
    for name in {names}:
        if name in journal.results:
            continue
        try:
            with journal.reading(name):
                read(name)
        except DecodeError as error:
            print(error, flush=True)
        else:
            print("answer:", name, flush=True)
            journal.keep(name, len(name))
    print(sorted(journal.results), flush=True)
    return 3
"""


def run(body: str, *, names: list[str] | None = None) -> subprocess.CompletedProcess[str]:
    code = JOB.format(names=names) + textwrap.dedent(body)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("crash", ["os.abort()", "os.kill(os.getpid(), signal.SIGSEGV)", "os.kill(os.getpid(), 9)"])
def test_a_file_that_ends_the_process_is_named_and_the_others_are_read_once(crash):
    done = run(
        f"""
        def read(name):
            if "bad" in name:
                {crash}
        sys.exit(supervise(job))
        """,
        names=["a.mp4", "bad 1.mp4", "b.mp4", "bad\n2.mp4", "c.mp4"],
    )
    lines = done.stdout.splitlines()
    assert done.returncode == 3, done.stderr
    assert [line for line in lines if line.startswith("answer")] == [f"answer: {name}.mp4" for name in "abc"]
    assert "bad 1.mp4: it crashed the decoder (signal " in done.stdout
    assert "2.mp4: it crashed the decoder (signal " in done.stdout
    assert lines[-1] == "['a.mp4', 'b.mp4']"  # kept by the processes before the last one


def test_of_several_files_open_at_the_crash_only_the_culprit_is_named():
    done = run(
        """
        def job():
            journal = current_journal()
            together = threading.Barrier(3)
            alone = bool(journal._suspects)

            def work(name):
                try:
                    with journal.reading(name):
                        if not alone:
                            together.wait()
                        if name == "bad.mp4":
                            time.sleep(0.2)
                            os.abort()
                        if not alone:
                            time.sleep(30)
                    print(f"answer: {name}\\n", end="", flush=True)
                except DecodeError as error:
                    together.abort()
                    print(f"{error}\\n", end="", flush=True)

            alone = alone or "bad.mp4" in journal._crashed
            names = ["a.mp4", "bad.mp4", "b.mp4"]
            threads = [threading.Thread(target=work, args=(name,)) for name in names]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            return 0
        sys.exit(supervise(job))
        """
    )
    assert done.returncode == 0, done.stderr
    lines = set(done.stdout.splitlines())
    assert {"answer: a.mp4", "answer: b.mp4"} <= lines
    assert [line.split(":")[0] for line in lines if "crashed" in line] == ["bad.mp4"]


def test_a_crash_outside_any_file_ends_the_job_the_same_way():
    done = run("supervise(lambda: os.abort())")
    assert done.returncode == -signal.SIGABRT


def test_exit_statuses_and_exceptions_pass():
    assert run("sys.exit(supervise(lambda: 7))").returncode == 7
    assert run("supervise(lambda: sys.exit(5)); print('parent')").returncode == 0
    failed = run("sys.exit(supervise(lambda: 1 / 0))")
    assert failed.returncode == 1
    assert "ZeroDivisionError" in failed.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_job_ends_with_its_supervisor(tmp_path, number):
    code = JOB.format(names=[]) + textwrap.dedent(
        f"""
        def job():
            open({str(tmp_path / "pid")!r} + ".part", "w").write(str(os.getpid()))
            os.rename({str(tmp_path / "pid")!r} + ".part", {str(tmp_path / "pid")!r})
            time.sleep(60)
        sys.exit(supervise(job))
        """
    )
    with subprocess.Popen([sys.executable, "-c", code]) as process:
        child = int(_once_written(tmp_path / "pid"))
        process.send_signal(number)
        assert process.wait(timeout=30) == -number
    if number == signal.SIGTERM or sys.platform.startswith("linux"):
        _wait_for_end(child)


def test_without_a_supervisor_the_journal_lets_everything_pass():
    journal = current_journal()
    with journal.reading("a.mp4"):
        journal.keep("a.mp4", 1)
    assert journal.results == {}


def test_notes_cut_short_by_the_crash_are_left_out(tmp_path):
    with (tmp_path / "notes").open("w+b", buffering=0) as file:
        journal = Journal(file)
        journal.keep("a.mp4", 1)
        with journal.reading("b.mp4"):
            whole = file.tell()
            journal.keep("b.mp4", "x" * 1000)
            file.truncate(whole + 40)
            assert journal.take_over(signal.SIGSEGV)
        assert journal.results == {"a.mp4": 1}
        with pytest.raises(DecodeError, match=r"b\.mp4: it crashed the decoder \(signal 11, SIGSEGV\); remove it"):
            journal.reading("b.mp4").__enter__()


def _once_written(path: Path) -> str:
    deadline_s = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
    return path.read_text()


def _wait_for_end(pid: int) -> None:
    deadline_s = time.monotonic() + 30
    while _is_running(pid):
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")  # a zombie has ended
    return not (stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z")
