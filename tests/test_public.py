"""The public surface: what is in it, and that it costs nothing until used."""

import subprocess
import sys

import videozoo


def test_public_names():
    assert sorted(videozoo.__all__) == [
        "Labels",
        "Span",
        "VideoInfo",
        "__version__",
        "create_model",
        "list_models",
        "load",
    ]


def test_every_public_name_is_there():
    for name in videozoo.__all__:
        assert getattr(videozoo, name) is not None


def test_import_does_not_load_torch():
    code = "import sys, videozoo; videozoo.list_models(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
