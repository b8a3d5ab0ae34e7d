"""A file inside another, e.g. a clip in a tar archive: its bytes lie there as they are, and are read where they lie."""

from __future__ import annotations

import dataclasses
import os
import re
from pathlib import Path

__all__ = ["FileSlice"]

_ADDRESS = re.compile(r"(?P<path>.+?)@(?P<offset>\d+)\+(?P<size>\d+)/(?P<name>.+)", re.DOTALL)


@dataclasses.dataclass(frozen=True)
class FileSlice:
    """`size_bytes` of `path` from `offset` on, under a name of their own.

    Its address, `clips.tar@1536+20480/run.mp4`, goes wherever the path of a video goes.
    """

    path: Path
    offset: int
    size_bytes: int
    name: str

    @property
    def address(self) -> str:
        return f"{self.path}@{self.offset}+{self.size_bytes}/{self.name}"

    @property
    def url(self) -> str:
        """FFmpeg's name of these bytes in a file that it gets as an open descriptor."""
        return f"subfile,,start,{self.offset},end,{self.offset + self.size_bytes},,:fd:"

    @classmethod
    def find(cls, path: str | os.PathLike[str]) -> FileSlice | None:
        """The slice whose address `path` is; None where it is a file, or no address."""
        match = _ADDRESS.fullmatch(os.fspath(path))
        if match is None or os.path.exists(path):  # noqa: PTH110
            return None
        return cls(Path(match["path"]), int(match["offset"]), int(match["size"]), match["name"])

    def read(self) -> bytes:
        """Its bytes; fewer where the outer file ends before it."""
        with self.path.open("rb") as file:
            file.seek(self.offset)
            return file.read(self.size_bytes)
