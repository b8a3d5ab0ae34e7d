"""Locks of output folders and files: a second writer is refused, and the lock of a dead process is removed."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from videozoo.errors import ConfigError
from videozoo.io.process import ProcessMark

__all__ = ["LOCK_NAME", "lock_of", "locked"]

LOCK_NAME = ".lock"
WRITING_S = 10.0  # a lock file that stays empty for longer belongs to a process that died while writing it


def lock_of(place: Path, *, is_folder: bool) -> Path:
    """Returns the lock file of a folder (inside it) or of a file (next to it)."""
    return place / LOCK_NAME if is_folder else place.with_name(f".{place.name}{LOCK_NAME}")


@contextlib.contextmanager
def locked(place: str | os.PathLike[str], *, is_folder: bool = True) -> Iterator[None]:
    """Holds the lock of an output folder, which is created if necessary, or of an output file.

    The lock file names host and process. The lock of a dead process of this host is taken over. Locks of other hosts
    are respected, because this host cannot check their processes.

    Raises:
        ConfigError: another process, or another thread of this one, holds it.
        OSError: the lock cannot be written.
    """
    place = Path(place)
    lock = lock_of(place, is_folder=is_folder)
    made = not lock.parent.exists()
    lock.parent.mkdir(parents=True, exist_ok=True)
    own = str(ProcessMark.own())
    try:
        while not _create(lock, own):
            _refuse_living(lock, place)
            _remove_dead(lock)
        try:
            yield
        finally:
            if _read(lock) == own:  # not a new one, created after ours was removed by hand
                lock.unlink(missing_ok=True)
    finally:
        if made:
            with contextlib.suppress(OSError):  # the folder is not empty
                lock.parent.rmdir()


def _create(lock: Path, text: str) -> bool:
    """Creates the lock file; returns False if it exists."""
    try:
        with lock.open("x", encoding="ascii") as file:
            file.write(text)
    except FileExistsError:
        return False
    except OSError as error:
        lock.unlink(missing_ok=True)  # a full disk leaves an empty file
        raise OSError(error.errno, error.strerror, os.fspath(lock)) from error
    return True


def _refuse_living(lock: Path, place: Path) -> None:
    text = _read(lock)
    if text is None or _is_dead(lock, text):
        return
    owner = ProcessMark.parse(text)
    if owner is None:
        who, hint = "another process", f"; if none is running, remove {lock}"
    elif owner.is_here:
        who, hint = f"process {owner.pid}", ""
    else:
        who = f"process {owner.pid} on {owner.host}"
        hint = f"; if it is not running, remove {lock}"
    raise ConfigError(f"{place}: {who} is writing to it; wait for it to end, or give another --out{hint}")


def _remove_dead(lock: Path) -> None:
    """Removes a dead process's lock, unless another process has replaced it in the meantime."""
    taken = lock.with_name(f"{lock.name}.{ProcessMark.own()}")
    try:
        lock.rename(taken)
    except FileNotFoundError:
        return
    text = _read(taken)
    if text is not None and not _is_dead(taken, text):
        with contextlib.suppress(OSError):
            os.link(taken, lock)
    taken.unlink(missing_ok=True)


def _is_dead(lock: Path, text: str) -> bool:
    owner = ProcessMark.parse(text)
    if owner is not None:
        return owner.is_dead
    with contextlib.suppress(OSError):
        return time.time() - lock.stat().st_mtime > WRITING_S
    return True  # the lock file was removed in the meantime


def _read(lock: Path) -> str | None:
    try:
        return lock.read_bytes()[:200].decode("ascii", "replace")
    except FileNotFoundError:
        return None
