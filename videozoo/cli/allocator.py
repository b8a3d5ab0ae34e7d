"""The allocator of the command line: glibc keeps freed memory for the next tensors."""

from __future__ import annotations

import ctypes
import os

__all__ = ["OFF", "keep_freed_memory"]

OFF = "VIDEOZOO_KEEP_FREED_MEMORY"  # 0 leaves the allocator as it is
USERS_OWN = ("MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_", "LD_PRELOAD")
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of malloc.h
NEVER = -1


def keep_freed_memory() -> bool:
    """Makes glibc reuse the memory of freed tensors instead of returning it to the system; returns whether it does.

    By default most large tensors get fresh pages, which the system fills with zeros first: a quarter to a third of the
    time of small networks. The memory of the process then stays at its peak. A user's own setting of the allocator is
    kept.
    """
    if os.environ.get(OFF) == "0" or any(map(os.environ.get, USERS_OWN)):
        return False
    if "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", "") or not _is_glibc():
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(M_MMAP_MAX, 0) and mallopt(M_TRIM_THRESHOLD, NEVER))


def _is_glibc() -> bool:
    try:
        return "glibc" in (os.confstr("CS_GNU_LIBC_VERSION") or "")
    except (AttributeError, ValueError):
        return False
