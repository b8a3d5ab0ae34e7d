"""Identifies the process that owns a lock or an unfinished file, and whether it is still running."""

from __future__ import annotations

import dataclasses
import os
import platform
import re
import sys
from pathlib import Path

__all__ = ["ProcessMark", "num_cores"]

INITIAL_NAMESPACE = "4026531836"  # number of the pid namespace outside containers (Linux)
UNKNOWN = "0"  # start of a process, if /proc does not state it


def num_cores() -> int:
    """Returns the number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


@dataclasses.dataclass(frozen=True)
class ProcessMark:
    """Identifies a process even after its pid has been reused.

    Attributes:
        host: name of the machine and, in a container, its pid namespace; letters, digits, `-` and `_` only.
        started: boot of the machine and start of the process within it.
    """

    host: str
    pid: int
    started: str

    @classmethod
    def own(cls) -> ProcessMark:
        """Returns the mark of this process."""
        return cls(_host(), os.getpid(), _started(os.getpid()) or UNKNOWN)

    @classmethod
    def parse(cls, text: str) -> ProcessMark | None:
        """Parses the output of `str`; returns None for any other text."""
        match = re.fullmatch(r"([\w-]+)\.(\d{1,9})\.([0-9a-f]+)", text, re.ASCII)
        return cls(match[1], int(match[2]), match[3]) if match else None

    def __str__(self) -> str:
        return f"{self.host}.{self.pid}.{self.started}"

    @property
    def is_here(self) -> bool:
        """Returns whether the process belongs to this host and pid namespace."""
        return self.host == _host()

    @property
    def is_dead(self) -> bool:
        """Returns whether the process has certainly ended; False for a process of another host."""
        return self.is_here and _started(self.pid) not in (self.started, UNKNOWN)


def _host() -> str:
    name = re.sub(r"[^\w-]", "_", platform.node(), flags=re.ASCII)[:32] or "host"
    try:
        namespace = re.sub(r"\D", "", os.readlink("/proc/self/ns/pid"))  # noqa: PTH115
    except OSError:
        return name
    return name if namespace == INITIAL_NAMESPACE else f"{name}-{namespace}"


def _started(pid: int) -> str | None:
    """Returns boot id and start time of a running process in hexadecimal, or None if it does not run."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()[:8]
    except (OSError, ValueError):
        return UNKNOWN if _answers(pid) else None
    return None if state in "ZX" else f"{boot}{int(fields[18]):x}"


def _answers(pid: int) -> bool:
    """Returns whether a pid is in use, for systems where /proc is missing or hides other users' processes."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True
