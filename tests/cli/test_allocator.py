"""Freed memory stays with the process, unless the user wants it otherwise."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from videozoo.cli.allocator import OFF, USERS_OWN

PROGRAM = """
import numpy as np
from videozoo.cli.allocator import keep_freed_memory

def resident_mb():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 2**20

is_set, before = keep_freed_memory(), resident_mb()
tensors = [np.ones(8 << 20) for _ in range(3)]
held = resident_mb() - before
del tensors
print(is_set, held > 150, resident_mb() - before > 150)
"""


def is_glibc():
    return sys.platform == "linux" and "glibc" in (os.confstr("CS_GNU_LIBC_VERSION") or "")


@pytest.mark.skipif(not is_glibc(), reason="the allocator is not glibc's")
@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ({}, "True True True"),
        ({OFF: "0"}, "False True False"),
        ({"MALLOC_MMAP_MAX_": "1000"}, "False True False"),
        ({"GLIBC_TUNABLES": "glibc.malloc.mmap_max=1000"}, "False True False"),
    ],
    ids=["default", "off", "variable", "tunable"],
)
def test_freed_memory_is_kept_unless_the_user_sets_the_allocator(setting, expected):
    own = {OFF, "GLIBC_TUNABLES", *USERS_OWN}
    environment = {name: value for name, value in os.environ.items() if name not in own} | setting
    found = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == expected
