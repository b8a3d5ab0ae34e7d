"""Records the source file of each video's stored features: an id is a name, and two files may share it."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from videozoo.errors import DataError
from videozoo.io.clip_files import is_passed_over
from videozoo.structured import parse_json

__all__ = ["SOURCES", "FeatureSources", "SourceMark"]

SOURCES = "sources.jsonl"
END_BYTES = 1 << 16  # compared at each end of a file; a video's index lies at one of them
ADVICE = "remove it to extract the videos again"


@dataclasses.dataclass(frozen=True)
class SourceMark:
    """The identity of a video file, or of a folder of frames, at the time of extraction.

    Attributes:
        path: absolute path.
        modified_ns: time of the last change.
        sha256: of the beginning and the end of the file, or of the names and sizes of the frames.
    """

    path: str
    size_bytes: int
    modified_ns: int
    sha256: str

    @classmethod
    def of(cls, video: Path) -> SourceMark:
        """Returns the identity of a file now.

        Raises:
            OSError: the file does not exist.
        """
        return cls(os.path.abspath(video), *_state(video), _digest(video))  # noqa: PTH100 (links are not resolved)

    def is_of(self, video: Path) -> bool:
        """Returns whether a file is this one, or was moved or copied from it; False if it does not exist."""
        try:
            size_bytes, modified_ns = _state(video)
            if size_bytes != self.size_bytes:
                return False
            is_untouched = modified_ns == self.modified_ns and os.path.abspath(video) == self.path  # noqa: PTH100
            return is_untouched or _digest(video) == self.sha256
        except OSError:
            return False


@dataclasses.dataclass(frozen=True)
class _Line:
    """A line of the file; `source` is None for features older than the file."""

    id: str
    source: SourceMark | None
    stored_bytes: int | None = None


class FeatureSources:
    """The entries of sources.jsonl in a folder of features: one line per video, of which the last one counts."""

    def __init__(self, folder: Path):
        self.path = folder / SOURCES
        self._lines = {line.id: line for line in self._read()}
        self._ids = {line.source.path: line.id for line in self._lines.values() if line.source is not None}

    def __contains__(self, id_: object) -> bool:
        return id_ in self._lines

    @property
    def is_there(self) -> bool:
        return self.path.is_file()

    def source(self, id_: str) -> SourceMark | None:
        """Returns the source file of features, or None if it is unknown."""
        line = self._lines.get(id_)
        return line.source if line is not None else None

    def stored_bytes(self, id_: str) -> int | None:
        """Returns the size of the features' file when it was written."""
        line = self._lines.get(id_)
        return line.stored_bytes if line is not None else None

    def may_be(self, id_: str, video: Path) -> bool:
        """Returns whether features may belong to `video`: their source is this video, or unknown."""
        source = self.source(id_)
        return source is None or source.is_of(video)

    def id_at(self, video: Path) -> str | None:
        """Returns the id of the features of the file at this path, even if the file has changed."""
        return self._ids.get(os.path.abspath(video))  # noqa: PTH100

    def find(self, video: Path, ids: Iterable[str]) -> str | None:
        """Returns which of `ids` (those suggested by its name) has the features of `video`, or None."""
        at_path = self.id_at(video)
        return next(
            (i for i in (at_path, *ids) if i is not None and (not video.exists() or self.may_be(i, video))), None
        )

    def add(self, id_: str, source: SourceMark | None, stored_bytes: int | None = None) -> None:
        """Records the source of features, once they are on the disk."""
        line = _Line(id_, source, stored_bytes)
        self._lines[id_] = line
        if source is not None:
            self._ids[source.path] = id_
        with self.path.open("a", encoding="ascii") as file:
            file.write(json.dumps(dataclasses.asdict(line)) + "\n")

    def _read(self) -> Iterator[_Line]:
        with contextlib.suppress(FileNotFoundError), self.path.open(encoding="ascii", errors="replace") as file:
            for number, text in enumerate(file, start=1):
                if not text.endswith("\n"):
                    continue  # an incomplete line
                where = f"{self.path}:{number}"
                found = parse_json(text, where=where, advice=ADVICE)
                try:
                    source = found["source"] and SourceMark(**found["source"])
                    yield _Line(str(found["id"]), source, found["stored_bytes"])
                except (TypeError, KeyError) as error:
                    raise DataError(f"{where}: does not name the source of features; {ADVICE}") from error


def _state(video: Path) -> tuple[int, int]:
    """Returns (bytes, time of the last change in nanoseconds)."""
    if not video.is_dir():
        found = video.stat()
        return found.st_size, found.st_mtime_ns
    found_all = [file.stat() for file in _frames(video)]
    return sum(f.st_size for f in found_all), max((f.st_mtime_ns for f in found_all), default=0)


def _digest(video: Path) -> str:
    digest = hashlib.sha256()
    if video.is_dir():
        for file in _frames(video):
            digest.update(os.fsencode(file.name) + file.stat().st_size.to_bytes(8, "little"))
        return digest.hexdigest()
    with video.open("rb") as opened:
        digest.update(opened.read(END_BYTES))
        opened.seek(max(opened.seek(0, os.SEEK_END) - END_BYTES, 0))
        digest.update(opened.read(END_BYTES))
    return digest.hexdigest()


def _frames(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if not is_passed_over(file.name) and file.is_file())
