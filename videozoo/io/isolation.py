"""Jobs over many files that survive decoder crashes."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from typing import Any

from videozoo.errors import DecodeError

__all__ = ["Journal", "current_journal", "end_with", "signal_name", "supervise"]

# Signals of decoder crashes; the kernel sends SIGKILL to a process that uses too much memory.
_CRASHES = tuple(
    getattr(signal, name)
    for name in ("SIGSEGV", "SIGABRT", "SIGBUS", "SIGFPE", "SIGILL", "SIGKILL", "SIGTRAP", "SIGSYS")
    if hasattr(signal, name)
)
_FORWARDED = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
_PR_SET_PDEATHSIG = 1


class Journal:
    """A job's notes that survive its process: files being read, files that crashed it, results so far.

    Without `supervise`, nothing is written.

    Attributes:
        results: values passed to `keep` by earlier processes of the job, by file.
    """

    def __init__(self, file: Any = None):
        self.results: dict[str, Any] = {}
        self._file = file  # unbuffered, so that a crash loses nothing
        self._crashed: dict[str, str] = {}
        self._suspects: set[str] = set()
        self._alone, self._writing = threading.Lock(), threading.Lock()

    @contextlib.contextmanager
    def reading(self, path: str | os.PathLike[str]) -> Iterator[None]:
        """Notes that `path` is being read until the block ends; threads may read several files at a time.

        Raises:
            DecodeError: the file crashed an earlier process of the job.
        """
        name = os.fspath(path)
        if name in self._crashed:
            raise DecodeError(name, self._crashed[name])
        # Several files were open at the crash. Reading them one at a time identifies the file at the next crash.
        with self._alone if self._suspects else contextlib.nullcontext():
            self._write("begin", name)
            try:
                yield
            finally:
                self._suspects.discard(name)
                self._write("end", name)

    def keep(self, path: str | os.PathLike[str], result: Any) -> None:
        """Stores the finished result of `path` for later processes of the job."""
        self._write("keep", os.fspath(path), result)

    def _write(self, *record: Any) -> None:
        if self._file is None:
            return
        with self._writing:
            data = memoryview(pickle.dumps(record))
            while data:
                data = data[self._file.write(data) :]

    def take_over(self, signal_number: int) -> bool:
        """Reads the notes of a crashed process; returns whether the next process can skip the file that caused it."""
        being_read = self._notes()
        if len(being_read) == 1:
            self._crashed |= dict.fromkeys(being_read, f"it crashed the decoder ({signal_name(signal_number)})")
        self._suspects = being_read - self._crashed.keys()
        return bool(being_read)

    def _notes(self) -> set[str]:
        """Returns the files that were being read at the end of the notes, and clears them."""
        being_read: set[str] = set()
        self._file.seek(0)
        with contextlib.suppress(EOFError, pickle.UnpicklingError):  # the end, or a note truncated by the crash
            while True:
                kind, name, *result = pickle.load(self._file)
                if kind == "begin":
                    being_read.add(name)
                elif kind == "end":
                    being_read.discard(name)
                else:
                    self.results[name] = result[0]
        self._file.seek(0)
        self._file.truncate()
        return being_read


_journal = Journal()


def current_journal() -> Journal:
    """Returns the journal of this process's job."""
    return _journal


def supervise(job: Callable[[], int]) -> int:
    """Runs `job` in a child process and returns its exit status.

    If a signal such as SIGSEGV ends the child while it reads a file (`Journal.reading`), the job starts again in a
    new child, where reading this file raises a DecodeError. The job itself skips finished work. Call it before threads
    start and before torch is imported. On systems without fork, the job runs in this process.
    """
    global _journal
    if not hasattr(os, "fork"):
        return job()
    journal, parent = Journal(_open_notes()), os.getpid()
    while True:
        sys.stdout.flush()
        sys.stderr.flush()
        child = os.fork()
        if not child:
            _journal = journal
            end_with(parent)
            return job()
        status = _wait(child)
        if status >= 0:
            return status
        if -status not in _CRASHES or not journal.take_over(-status):
            _end_by(-status)


def _wait(child: int) -> int:
    """Returns the child's exit status, negative for a signal; Ctrl-C reaches the child directly."""

    def forward(number: int, _: object) -> None:
        os.kill(child, number)

    handlers = {number: signal.signal(number, forward) for number in _FORWARDED}
    handlers[signal.SIGINT] = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _end_by(number: int) -> None:
    if number != signal.SIGKILL:
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def end_with(parent: int) -> None:
    """Ends this process when `parent` is killed, so that no job continues in the background (Linux only)."""
    if not sys.platform.startswith("linux"):
        return
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
    if os.getppid() != parent:
        os._exit(1)


def _open_notes() -> Any:
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("journal"), "w+b", buffering=0)
    return tempfile.TemporaryFile(buffering=0)


def signal_name(number: int) -> str:
    """Returns the description of a fatal signal for messages, e.g. "signal 11, SIGSEGV"."""
    name = signal.Signals(number).name
    return f"signal {number}, {name}" + (", often a lack of memory" if name == "SIGKILL" else "")
