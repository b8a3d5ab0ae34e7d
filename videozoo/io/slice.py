"""A file stored uncompressed inside another, e.g. a clip in a tar archive, and read in place."""

from __future__ import annotations

import dataclasses
import os
import re
from pathlib import Path

__all__ = ["FileSlice"]

_ADDRESS = re.compile(r"(?P<path>.+?)@(?P<offset>\d+)\+(?P<size>\d+)/(?P<name>.+)", re.DOTALL)


@dataclasses.dataclass(frozen=True)
class FileSlice:
    """A named range of `size_bytes` bytes of `path` from `offset`.

    Its address, `clips.tar@1536+20480/run.mp4`, is valid wherever the path of a video is.
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
        """FFmpeg's URL of these bytes within an open file descriptor."""
        return f"subfile,,start,{self.offset},end,{self.offset + self.size_bytes},,:fd:"

    @classmethod
    def find(cls, path: str | os.PathLike[str]) -> FileSlice | None:
        """Returns the slice with the address `path`; None for an existing file, or if it is not an address."""
        match = _ADDRESS.fullmatch(os.fspath(path))
        if match is None or os.path.exists(path):  # noqa: PTH110
            return None
        return cls(Path(match["path"]), int(match["offset"]), int(match["size"]), match["name"])

    def read(self) -> bytes:
        """Returns the bytes; fewer if the outer file ends earlier."""
        with self.path.open("rb") as file:
            file.seek(self.offset)
            return file.read(self.size_bytes)
