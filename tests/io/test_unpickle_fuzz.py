"""No random pickle crashes its reader, hangs it, takes much memory, or changes how the next one is read."""

import json
import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("first", "count"), [(0, 500), *(pytest.param(n, 500, marks=pytest.mark.long) for n in range(500, 10_000, 500))]
)
def test_random_pickles_are_read_or_refused(first, count):
    child = subprocess.run(
        [sys.executable, "-m", "tests.io.fuzz_unpickle", str(first), str(count)],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert child.returncode == 0, f"seed {child.stderr[-2000:]}"
    answers = json.loads(child.stdout)
    assert answers.pop("grown_mib") < 128
    assert sum(answers.values()) == count and min(answers.values()) > 20 and len(answers) == 3, answers
