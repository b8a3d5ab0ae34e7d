"""The whole path from a file to an answer in a process that cannot import torch."""

import re
import subprocess
import sys
from pathlib import Path

from tests.slim import blocker

CODE = """
import sys, pytest
from tests.slim.blocker import block
block()
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", "tests/slim/test_file_to_answer.py"]))
"""


def test_files_are_answered_without_torch():
    root = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, cwd=root, env=blocker.ENVIRONMENT
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) >= 10


def test_the_blocker_blocks():
    code = "from tests.slim.blocker import block; block(); import torch"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=blocker.ENVIRONMENT)
    assert "ModuleNotFoundError: No module named 'torch'" in done.stderr
