"""Which process owns a lock or an unfinished file, and whether it still runs."""

from __future__ import annotations

import dataclasses
import os
import platform
import re
import sys
from pathlib import Path

__all__ = ["ProcessMark", "num_cores"]

INITIAL_NAMESPACE = "4026531836"  # Linux gives the pid namespace outside all containers this number
UNKNOWN = "0"  # the start of a process where /proc does not tell it


def num_cores() -> int:
    """Returns the number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


@dataclasses.dataclass(frozen=True)
class ProcessMark:
    """A process, also after its pid has been given to another one.

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
        """Reads what `str` wrote; None for any other text."""
        match = re.fullmatch(r"([\w-]+)\.(\d{1,9})\.([0-9a-f]+)", text, re.ASCII)
        return cls(match[1], int(match[2]), match[3]) if match else None

    def __str__(self) -> str:
        return f"{self.host}.{self.pid}.{self.started}"

    @property
    def is_here(self) -> bool:
        """Whether the process runs, or ran, where this one can see it."""
        return self.host == _host()

    @property
    def is_dead(self) -> bool:
        """Whether the process has certainly ended; False where another machine would have to tell."""
        return self.is_here and _started(self.pid) not in (self.started, UNKNOWN)


def _host() -> str:
    name = re.sub(r"[^\w-]", "_", platform.node(), flags=re.ASCII)[:32] or "host"
    try:
        namespace = re.sub(r"\D", "", os.readlink("/proc/self/ns/pid"))  # noqa: PTH115
    except OSError:
        return name
    return name if namespace == INITIAL_NAMESPACE else f"{name}-{namespace}"


def _started(pid: int) -> str | None:
    """The boot and the start of a running process in hexadecimal; None if there is none."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()[:8]
    except (OSError, ValueError):
        return UNKNOWN if _answers(pid) else None
    return None if state in "ZX" else f"{boot}{int(fields[18]):x}"


def _answers(pid: int) -> bool:
    """Whether a pid is in use, where /proc is missing or hides the processes of other users."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True
