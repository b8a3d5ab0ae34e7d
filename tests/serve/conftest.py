"""A service of small networks for all tests here, and clients of its app."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from tests.contract.made_runs import write_clip, write_run
from videozoo.export.export import export_network
from videozoo.loading import open_network
from videozoo.serve.app import create_app
from videozoo.serve.service import Service
from videozoo.serve.settings import Limits, Settings

LIMITS = Limits(size_bytes=2_000_000, duration_s=60.0, pixels=512 * 512, time_s=20.0)


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of videos; a file beside it is none of the server's business."""
    folder = tmp_path_factory.mktemp("served") / "root"
    (folder / "inner").mkdir(parents=True)
    write_clip(folder / "inner" / "clip.mp4")
    (folder.parent / "secret.mp4").write_bytes((folder / "inner" / "clip.mp4").read_bytes())
    (folder / "link.mp4").symlink_to(folder.parent / "secret.mp4")
    (folder / "outside").symlink_to(folder.parent)
    return folder


@pytest.fixture(scope="session")
def clip(root: Path) -> Path:
    return root / "inner" / "clip.mp4"


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run("tsn", tmp_path_factory.mktemp("tsn") / "run")


@pytest.fixture(scope="session")
def exported(run: Path) -> Path:
    return export_network(run, run.parent / "exported")


@pytest.fixture(scope="session")
def service(run: Path, exported: Path, root: Path) -> Iterator[Service]:
    networks = {"tsn": open_network(exported), "torch": open_network(run, device="cpu")}
    settings = Settings(LIMITS, root=root, num_workers=2, queue=4)
    with Service(networks, settings) as service:
        yield service


@pytest.fixture
def client(service: Service) -> TestClient:
    return TestClient(create_app(service), base_url="http://localhost", raise_server_exceptions=False)
