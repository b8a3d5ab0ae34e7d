"""The settings of a server, and the limits on one request."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from videozoo.errors import ConfigError

__all__ = ["Limits", "Settings"]


@dataclasses.dataclass(frozen=True)
class Limits:
    """The limits on one request.

    Attributes:
        size_bytes: of a file.
        duration_s: of a video.
        pixels: of a frame.
        time_s: from the first byte of the request to its answer; the upload may take as long again.
    """

    size_bytes: int = 512 << 20
    duration_s: float = 3600.0
    pixels: int = 4096 * 2304
    time_s: float = 60.0

    def __post_init__(self) -> None:
        for name, value in dataclasses.asdict(self).items():
            if not 0 < value < float("inf"):
                raise ConfigError(f"limit {name}: is {value}; give a number above 0")


@dataclasses.dataclass(frozen=True)
class Settings:
    """The settings of a server.

    Attributes:
        root: the folder whose files may be named by path; None takes uploads only.
        token: a secret that requests must carry; None lets everyone in.
        num_workers: processes that decode, each one request at a time.
        queue: requests that wait for a worker; the next one is refused.
        batch: samples that go through a network together, from one request or several.
        gather_s: longest time that a sample waits for samples of other requests.
    """

    limits: Limits = Limits()
    root: Path | None = None
    token: str | None = dataclasses.field(default=None, repr=False)
    num_workers: int = 8
    queue: int = 32
    batch: int = 8
    gather_s: float = 0.005

    def __post_init__(self) -> None:
        for name, least in (("num_workers", 1), ("queue", 0), ("batch", 1), ("gather_s", 0)):
            if getattr(self, name) < least:
                raise ConfigError(f"server {name}: is {getattr(self, name)}; it must be at least {least}")
        if self.root is not None and not self.root.is_dir():
            raise ConfigError(f"--root: {self.root} is not a folder; give one that exists")
        if self.token is not None and not self.token.strip():
            raise ConfigError("--token: is empty; give a secret, or leave it out")
