"""Runs that are exported once for all tests here: a clip classifier, and a localizer that carries its extractor."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.contract.made_runs import write_clip, write_run
from videozoo.export.export import export_network
from videozoo.loading import load_extractor
from videozoo.weights import checkpoint


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clip") / "clip.mp4")


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run("tsn", tmp_path_factory.mktemp("tsn") / "run")


@pytest.fixture(scope="session")
def exported(run: Path) -> Path:
    return export_network(run, run.parent / "exported")


@pytest.fixture(scope="session")
def localizer(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BMN run on features of the classifier, whose weights it holds, too."""
    extractor = load_extractor(run, device="cpu", window_s=0.5, stride_s=0.25)
    folder = tmp_path_factory.mktemp("bmn") / "run"
    inner = checkpoint.extractor_payload(checkpoint.read(run))
    return write_run("bmn", folder, beside={"extractor": inner}, features=extractor.recipe.to_dict())


@pytest.fixture(scope="session")
def exported_localizer(localizer: Path) -> Path:
    return export_network(localizer, localizer.parent / "exported")
