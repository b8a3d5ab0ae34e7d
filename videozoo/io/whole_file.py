"""Atomic writing of files, and removal of unfinished files of dead processes."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

from videozoo.errors import DataError, VideoZooError
from videozoo.io.process import ProcessMark

__all__ = ["is_unfinished", "remove_leftovers", "whole_file", "write_whole_text"]

LEFT_S = 24 * 3600.0  # age without changes at which an unfinished file of another host counts as a leftover
LONGEST_NAME_BYTES = 255
PARTIAL_ENDINGS = frozenset({".part", ".partial", ".temp", ".tmp"})  # `a.part.mp4`, also used by downloaders

_numbers = itertools.count()


@contextlib.contextmanager
def whole_file(
    path: str | os.PathLike[str],
    *,
    error: type[VideoZooError] = DataError,
    writer_errors: tuple[type[Exception], ...] = (),
) -> Iterator[Path]:
    """Yields a temporary path next to `path` for writing; at the end the file is flushed to the disk and renamed.

    An exception leaves `path` unchanged. The temporary name is hidden, keeps the suffix, and contains host and process,
    so that a later process removes it if this one is killed. Parent folders are created. Devices and pipes, such as
    /dev/stdout, are written to directly.

    Args:
        error: class of the exception for a file that cannot be written.
        writer_errors: exception classes, in addition to OSError, that a library raises if it cannot write.

    Raises:
        VideoZooError: of the class `error`: no space, no permission, or a folder with that name.
    """
    path = Path(path)
    if _is_stream(path):
        with _named(path, path, error, writer_errors):
            yield path
        return
    part: Path | None = None
    try:
        with _named(path, path, error, writer_errors):
            path.parent.mkdir(parents=True, exist_ok=True)
            remove_leftovers(path.parent)
            part = _part_of(path)
        with _named(path, part, error, writer_errors):
            yield part
            _flush(part)
            part.replace(path)
    finally:
        if part is not None:
            with contextlib.suppress(OSError):
                part.unlink()


def write_whole_text(path: str | os.PathLike[str], text: str, *, error: type[VideoZooError] = DataError) -> Path:
    r"""Writes UTF-8 text atomically, with unchanged newlines.

    Bytes of file names that are not UTF-8 become backslash escapes, `bad\udcff.mp4`: the file remains valid text, and
    in JSON the escape decodes to the name.

    Raises:
        VideoZooError: of the class `error`: the file cannot be written.
    """
    with whole_file(path, error=error) as part:
        part.write_text(text, encoding="utf-8", errors="backslashreplace", newline="")
    return Path(path)


def is_unfinished(name: str) -> bool:
    """Returns whether a file name marks an unfinished file, of this package or of a downloader (`a.part.mp4`)."""
    return not PARTIAL_ENDINGS.isdisjoint(suffix.lower() for suffix in Path(name).suffixes[-2:])


def remove_leftovers(folder: Path) -> None:
    """Removes the unfinished files of dead processes from `folder`, once per process."""
    _remove_leftovers(os.path.abspath(folder), os.getpid())  # noqa: PTH100 (links are not resolved)


@functools.lru_cache(maxsize=1024)
def _remove_leftovers(folder: str, pid: int) -> None:
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            match = _LEFTOVER.fullmatch(entry.name)
            owner = ProcessMark.parse(match[1]) if match else None
            if owner is None:
                continue
            with contextlib.suppress(OSError):
                age_s = time.time() - entry.stat(follow_symlinks=False).st_mtime
                if owner.is_dead or (not owner.is_here and age_s > LEFT_S):
                    Path(entry.path).unlink()


_LEFTOVER = re.compile(r"\..*\.([\w-]+\.\d+\.[0-9a-f]+)\.\d+\.part(\.\w+)?", re.ASCII | re.DOTALL)


def _part_of(path: Path) -> Path:
    """Returns `.NAME.HOST.PID.START.NUMBER.part.ENDING`, shortened to the limit of file systems."""
    suffix = path.suffix if re.fullmatch(r"\.\w{1,16}", path.suffix, re.ASCII) else ""
    ending = f".{ProcessMark.own()}.{next(_numbers)}.part{suffix}"
    stem = os.fsencode(path.name.removesuffix(suffix))[: LONGEST_NAME_BYTES - len(ending) - 1]
    return path.with_name(f".{os.fsdecode(stem)}{ending}")


def _is_stream(path: Path) -> bool:
    """Returns whether a path is a device, a pipe or a link to an open file; renaming would replace it."""
    return (path.exists() and not path.is_file()) or (path.is_symlink() and path.is_relative_to("/dev"))


def _flush(part: Path) -> None:
    """Flushes a file to the disk, which reveals a quota or a lack of space."""
    descriptor = os.open(part, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _named(
    path: Path, part: Path, error: type[VideoZooError], writer_errors: tuple[type[Exception], ...]
) -> Iterator[None]:
    """Turns failures to write `part` into one line about `path`; errors about other files pass unchanged."""
    expected: tuple[type[Exception], ...] = (OSError, *writer_errors)
    try:
        yield
    except expected as problem:
        named = getattr(problem, "filename", None)
        ours = (os.fspath(path), os.fspath(part), *_above(path))
        if named is not None and os.fspath(named).removeprefix("file:") not in ours:  # prefix of FFmpeg's URLs
            raise
        reason = (getattr(problem, "strerror", None) or str(problem).partition("\n")[0]).replace(str(part), str(path))
        raise error(
            f"{path}: cannot be written ({reason[:1].lower()}{reason[1:]}); free some space, check the folder's "
            "permissions, or give another path"
        ) from problem


def _above(path: Path) -> list[str]:
    return [os.fspath(folder) for folder in path.parents]
