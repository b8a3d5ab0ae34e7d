"""Services for all tests here: networks in numpy, and small runs in torch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from tests.serve import parts
from videozoo.serve.app import create_app
from videozoo.serve.service import Service
from videozoo.serve.settings import Limits, Settings

LIMITS = Limits(size_bytes=200_000, duration_s=20.0, pixels=512 * 512, time_s=30.0)
STORY = (0, 3, 1)  # the classes that the clip shows, a second each


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of videos; a file beside it is none of the server's business."""
    folder = tmp_path_factory.mktemp("served") / "root"
    (folder / "inner").mkdir(parents=True)
    clip = parts.gray_video(folder / "inner" / "clip.mp4", STORY)
    for place in ("crash.mp4", "wait.mp4", "slow.mp4", "fault.mp4", "exit.mp4", "memory.mp4", "../secret.mp4"):
        (folder / place).write_bytes(clip.read_bytes())
    (folder / "link.mp4").symlink_to(folder.parent / "secret.mp4")
    (folder / "outside").symlink_to(folder.parent)
    (folder / "circle").symlink_to(folder / "circle")
    return folder


@pytest.fixture(scope="session")
def clip(root: Path) -> Path:
    return root / "inner" / "clip.mp4"


@pytest.fixture(scope="session")
def service(root: Path) -> Iterator[Service]:
    with Service(parts.networks(), Settings(LIMITS, root=root, num_workers=2, queue=4)) as service:
        yield service


def client_of(service: Service, **headers: str) -> TestClient:
    return TestClient(create_app(service), base_url="http://localhost", raise_server_exceptions=False, headers=headers)


@pytest.fixture
def client(service: Service) -> TestClient:
    return client_of(service)
