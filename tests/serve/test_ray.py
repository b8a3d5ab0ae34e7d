"""The same app as a deployment on a local Ray."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from pydantic import ValidationError

from tests.contract.made_runs import write_clip, write_run
from tests.slim import blocker
from videozoo.errors import ConfigError, MissingPackageError
from videozoo.export.export import export_network
from videozoo.serve.ray import Options, app

# Ray starts processes of its own, and warns while it does: it runs in a process of this test.
LOCAL = """
import json, sys, httpx2 as httpx, ray
from ray import serve
from concurrent.futures import ThreadPoolExecutor
from videozoo.serve.ray import Options, app

place, clip, port = sys.argv[1:]
ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
serve.start(http_options={"host": "127.0.0.1", "port": int(port)})
serve.run(app(Options(models={"tsn": place}, token="secret", workers=2, cpus=1)), route_prefix="/")
url, headers = f"http://127.0.0.1:{port}", {"Authorization": "Bearer secret"}

def ask(number):
    files = {"file": ("clip.mp4", open(clip, "rb"))}
    return httpx.post(f"{url}/api/predict?top_k=1&window_s=1", files=files, headers=headers, timeout=60)

with ThreadPoolExecutor(4) as threads:
    answers = list(threads.map(ask, range(8)))
broken = httpx.post(f"{url}/api/predict", files={"file": ("a.mp4", b"x")}, headers=headers, timeout=60)
print(json.dumps({
    "statuses": [answer.status_code for answer in answers],
    "texts": sorted({answer.text for answer in answers}),
    "stranger": httpx.get(f"{url}/api/models").status_code,
    "models": httpx.get(f"{url}/api/models", headers=headers).json()["models"][0]["name"],
    "page": httpx.get(url).status_code,
    "broken": [broken.status_code, broken.json()["error"]["kind"]],
}))
serve.shutdown()
ray.shutdown()
"""


@pytest.mark.long
def test_a_deployment_on_a_local_ray(tmp_path):
    pytest.importorskip("ray", reason="needs Ray; install videozoo[scale]")
    import json
    import socket

    from videozoo.loading import load

    exported = export_network(write_run("tsn", tmp_path / "run"), tmp_path / "exported")
    clip = write_clip(tmp_path / "clip.mp4")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {**blocker.ENVIRONMENT, "RAY_USAGE_STATS_ENABLED": "0"}
    command = [sys.executable, "-c", LOCAL, str(exported), str(clip), str(port)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["statuses"] == [200] * 8
    (text,) = told["texts"]
    wanted = load(exported)(clip, window_s=1.0).windows
    found = json.loads(text)["predictions"][0]["windows"]
    assert [each["labels"][0]["name"] for each in found] == [window.labels.best for window in wanted]
    assert (told["stranger"], told["models"], told["page"]) == (401, "tsn", 200)
    assert told["broken"] == [415, "video"]


def test_models_are_named_by_a_text_too():
    assert Options(models="a=/x,b=/y=z").models == {"a": "/x", "b": "/y=z"}
    for wrong in ("a", "=x", "a=", "a=x,", {}):
        with pytest.raises(ValidationError):
            Options(models=wrong)


def test_options_are_checked_before_replicas_start(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray.serve", object())
    monkeypatch.chdir(tmp_path)
    os.mkdir("here")  # noqa: PTH102
    with pytest.raises(ConfigError, match="root: here is not an absolute path"):
        app(Options(models={"a": "x"}, root="here"))
    with pytest.raises(ConfigError, match="--token: is empty"):
        app(Options(models={"a": "x"}, token=" "))


def test_without_ray(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray.serve", None)
    with pytest.raises(MissingPackageError, match=r"run: pip install 'videozoo\[scale\]'"):
        app(Options(models={"a": "x"}))
