"""The command as a process: start, stop, slow senders, concurrency, and the answers of real runs."""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import json
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2 as httpx
import pytest
import typer
from typer.testing import CliRunner

from tests.contract.made_runs import write_clip, write_run
from tests.serve import parts
from tests.slim import blocker
from tests.slim.test_commands import WITHOUT
from tests.slim.test_commands import run as run_without_torch
from videozoo.cli.main import app
from videozoo.errors import ConfigError
from videozoo.export.export import export_network
from videozoo.export.served import Server
from videozoo.export.verify import Comparison, compare
from videozoo.serve.files import UploadFolder

PAGE = Path(__file__).parent.parent.parent / "docs" / "serving.md"
SLOW_S = 1.5  # the time limit of the servers here

# a server of the networks of tests.serve.parts, with the socket, log and stop of the command
OF_PARTS = """
import sys
from tests.serve import parts
from videozoo.serve.server import bound_socket, log_as_json, run_server
from videozoo.serve.service import Service
from videozoo.serve.settings import Limits, Settings
import logging, pathlib, videozoo.serve.server as server
if __name__ == "__main__":
    log_as_json()
    server.HEADERS_S = 1.0
    limits = Limits(size_bytes=50_000_000, time_s=float(sys.argv[2]))
    bound = bound_socket("127.0.0.1", 0)
    with Service(parts.networks(), Settings(limits, root=pathlib.Path(sys.argv[1]), num_workers=2, queue=2)) as service:
        logging.getLogger("videozoo.serve").info("folder", extra={"fields": {"folder": str(service.uploads.path)}})
        run_server(service, bound)
"""


@dataclasses.dataclass
class Running:
    """A server process; `lines` are its log so far."""

    process: subprocess.Popen[str]
    lines: list[dict[str, object]] = dataclasses.field(default_factory=list)

    def __post_init__(self) -> None:
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as log:
            for line in log:
                self.lines.append(json.loads(line))

    def wait_for(self, event: str, **fields: object) -> dict[str, object]:
        """Returns the first line of the log with these fields."""
        wanted = {"event": event, **fields}
        while True:
            if has_ended := self.process.poll() is not None:
                self._reader.join()
            for line in self.lines:
                if wanted.items() <= line.items():
                    return line
            assert not has_ended, f"the server ended without {wanted}: {self.lines}"
            time.sleep(0.02)

    @property
    def url(self) -> str:
        return str(self.wait_for("ready")["url"])

    @property
    def folder(self) -> Path:
        """The folder of uploads."""
        return Path(str(self.wait_for("folder")["folder"]))

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", int(self.url.rpartition(":")[2])

    def post(self, name: str, **query: object) -> httpx.Response:
        return httpx.post(f"{self.url}/api/predict", params=query, json={"path": name}, timeout=60)


@contextlib.contextmanager
def started(command: list[str]) -> Iterator[Running]:
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=blocker.ENVIRONMENT)
    server = Running(process)
    try:
        server.wait_for("ready")
        yield server
    finally:
        process.kill()
        process.wait()


def of_parts(root: Path, folder: Path, *, time_s: float) -> contextlib.AbstractContextManager[Running]:
    script = folder / "server.py"
    script.write_text(OF_PARTS)
    return started([sys.executable, str(script), str(root), str(time_s)])


@pytest.fixture(scope="module")
def server(root, tmp_path_factory):
    with of_parts(root, tmp_path_factory.mktemp("server"), time_s=SLOW_S) as running:
        yield running


@pytest.fixture(scope="module")
def patient(root, tmp_path_factory):
    """A server with two workers and two places in the queue, for requests that take long."""
    with of_parts(root, tmp_path_factory.mktemp("patient"), time_s=60) as running:
        yield running


def wait_for_active(server: Running, count: int) -> None:
    while f"videozoo_active_requests {count}.0" not in httpx.get(f"{server.url}/metrics").text:
        time.sleep(0.05)


def sent_slowly(server: Running, *pieces: bytes) -> bytes:
    """What the server says to a client that sends these pieces and then nothing."""
    with socket.create_connection(server.address, timeout=30) as client:
        for piece in pieces:
            client.sendall(piece)
        said = b""
        while piece := client.recv(65536):
            said += piece
        return said


HEAD = b"POST /api/predict HTTP/1.1\r\nHost: localhost\r\n"


def test_a_request_that_does_not_begin_is_ended(server):
    assert sent_slowly(server) == b""
    assert sent_slowly(server, b"GET /healthz HTTP/1.1\r\nHost: ") == b""


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 9999\r\n\r\n--x\r\n",
        b"Content-Type: multipart/form-data; boundary=x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n--x\r\n\r\n",
        b"Content-Type: application/json\r\nContent-Length: 99\r\n\r\n{",
    ],
    ids=["form", "chunked", "json"],
)
def test_a_body_that_stalls_is_ended(server, head):
    said = sent_slowly(server, HEAD + head)
    assert said.startswith(b"HTTP/1.1 408 ") and b'"kind": "time"' in said.replace(b'":"', b'": "')


def asked(server: Running, name: str) -> socket.socket:
    """A client that has asked for an answer and waits."""
    client = socket.create_connection(server.address, timeout=30)
    body = json.dumps({"path": name}).encode()
    client.sendall(HEAD.replace(b"predict", b"predict?model=odd") + b"Content-Type: application/json\r\n")
    client.sendall(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
    return client


def test_a_full_queue_and_clients_that_leave(patient):
    clients = [asked(patient, "wait.mp4") for _ in range(4)]  # 2 run, 2 wait
    wait_for_active(patient, 4)
    refused = patient.post("inner/clip.mp4")
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
    for client in clients:  # their work ends with them
        client.close()
    wait_for_active(patient, 0)
    assert patient.post("inner/clip.mp4").status_code == 200
    patient.wait_for("request", method="POST", status=200)
    assert [line["status"] for line in patient.lines if line.get("model") == "odd"] == [499] * 4


def test_the_time_limit(server):
    answer = server.post("wait.mp4", model="odd")
    assert answer.status_code == 504 and answer.json()["error"]["kind"] == "time"


def test_a_large_upload_is_refused_while_it_arrives(server):
    def endless() -> Iterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.mp4"\r\n\r\n'
        for _ in range(100):
            yield bytes(1 << 20)

    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    answer = httpx.post(f"{server.url}/api/predict", content=endless(), headers=headers, timeout=60)
    assert answer.status_code == 413
    assert not list(server.folder.iterdir())


def test_the_log_has_one_line_for_a_request(server):
    answer = server.post("inner/clip.mp4", model="grays")
    line = server.wait_for("request", id=answer.headers["x-request-id"])
    told = {key: line[key] for key in ("level", "method", "path", "status", "model")}
    assert told == {"level": "info", "method": "POST", "path": "/api/predict", "status": 200, "model": "grays"}


def test_concurrent_requests_have_their_own_answers(patient):
    wanted = {name: patient.post("inner/clip.mp4", top_k=top).content for name, top in (("a", 1), ("b", 2))}

    def ask(number: int) -> bool:
        name, top = (("a", 1), ("b", 2))[number % 2]
        while (answer := patient.post("inner/clip.mp4", top_k=top)).status_code == 429:
            time.sleep(0.01)
        return answer.content == wanted[name]

    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        assert all(threads.map(ask, range(40)))


@pytest.mark.parametrize(("model", "query"), [("moments", "now it is bright"), ("grays", None)])
def test_served_answers_are_compared(patient, clip, model, query):
    network = parts.networks()[model]
    (found,) = compare(network, network, [clip], query=query, server=Server(patient.url, model))
    assert isinstance(found, Comparison) and found.served is not None
    assert found.served.has_same_best and found.served.difference == 0 and found.served.seconds > 0


EXAMPLES = re.findall(r"^curl .*$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
@pytest.mark.parametrize("example", EXAMPLES)
def test_examples_of_the_docs(patient, clip, example):
    replaced = {
        "http://127.0.0.1:8000": patient.url,
        "@video.mp4": f"@{clip}",
        "2026/video.mp4": "inner/clip.mp4",
        "model=search": "model=moments",
    }
    for text, by in replaced.items():
        example = example.replace(text, by)
    done = subprocess.run(shlex.split(example) + ["-sS", "--fail-with-body"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    if "/api/predict" in example:
        (prediction,) = json.loads(done.stdout)["predictions"]
        assert prediction["info"]["duration_s"] == 3.0


def test_sigterm_finishes_the_requests_in_progress(patient):
    answers: list[httpx.Response] = []
    waiting = threading.Thread(target=lambda: answers.append(patient.post("slow.mp4", model="odd")))
    waiting.start()
    wait_for_active(patient, 1)
    patient.process.send_signal(signal.SIGTERM)
    while (ready := httpx.get(f"{patient.url}/readyz")).status_code == 200:
        time.sleep(0.05)
    refused = patient.post("inner/clip.mp4")
    assert (ready.status_code, refused.status_code) == (503, 503)
    assert refused.json()["error"]["kind"] == "stopping"
    waiting.join(60)
    assert answers[0].status_code == 200
    assert patient.process.wait(60) == 0
    assert patient.wait_for("stopped")
    assert not patient.folder.exists()


@pytest.mark.long
def test_nothing_survives_a_killed_server(root, tmp_path):
    with of_parts(root, tmp_path, time_s=60) as server:
        children = _descendants(server.process.pid)
        assert len(children) >= 3  # two workers and the process that starts them
        server.process.kill()
        server.process.wait()
        ends_s = time.monotonic() + 30
        while any(map(_is_running, children)):
            assert time.monotonic() < ends_s, children
        left = server.folder
        assert left.is_dir()
    UploadFolder().close()  # of the next server
    assert not left.exists()


def _descendants(pid: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(path.read_text().rpartition(")")[2].split()[1]) == pid:
                found += [int(path.parent.name), *_descendants(int(path.parent.name))]
    return found


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


# ---- the command -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_run("tsn", tmp_path_factory.mktemp("tsn") / "run")


@pytest.fixture(scope="module")
def exported(run):
    return export_network(run, run.parent / "exported")


@pytest.mark.long
def test_an_exported_folder_without_torch(exported, tmp_path):
    clip = write_clip(tmp_path / "clip.mp4")
    printed = run_without_torch("predict", exported, clip, "--json", "--window", 1)
    command = [sys.executable, "-c", WITHOUT, "serve", str(exported), "--name", f"mine={exported}", "--port", "0"]
    with started([*command, "--workers", "1", "--root", str(tmp_path)]) as server:
        assert server.wait_for("ready")["models"] == ["exported", "mine"]
        found = server.post("clip.mp4", model="mine", window_s=1).json()
        wanted = json.loads(printed.stdout.replace(str(clip), "clip.mp4"))
        assert {**found, "run": wanted["run"]} == wanted
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(30) == 0


def test_every_option_is_described():
    options = typer.main.get_command(app).commands["serve"].params  # type: ignore[attr-defined]
    names = {name for option in options for name in option.opts if name.startswith("--")} - {"--help"}
    assert set(re.findall(r"^\| `(--[\w-]+)`", PAGE.read_text(encoding="utf-8"), re.MULTILINE)) == names


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--host", "0.0.0.0"], "--host 0.0.0.0: other machines can reach it; give --token, or stay on 127.0.0.1"),
        (["--name", "x"], "--name: 'x' is not NAME=PATH; write e.g. tsm=runs/tsm"),
        (["--name", "exported=elsewhere"], "serve: two models have the name 'exported'"),
        (["--root", "nowhere"], "--root: nowhere is not a folder; give one that exists"),
        (["--token", " "], "--token: is empty; give a secret, or leave it out"),
        (["--host", "127.0.0.1", "--port", "PORT"], "cannot be used (address already in use)"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_wrong_options(tmp_path, args, message):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        args = [str(taken.getsockname()[1]) if arg == "PORT" else arg for arg in args]
        done = CliRunner().invoke(app, ["serve", str(tmp_path / "exported"), "--port", "0", *args])
    assert isinstance(done.exception, ConfigError) and message in str(done.exception)


@pytest.mark.long
def test_a_token_opens_other_addresses(exported, monkeypatch):
    command = [sys.executable, "-c", WITHOUT, "serve", str(exported), "--port", "0", "--workers", "1"]
    monkeypatch.setitem(blocker.ENVIRONMENT, "VIDEOZOO_TOKEN", "a secret")
    with started([*command, "--host", "0.0.0.0"]) as server:
        url = f"http://127.0.0.1:{server.address[1]}/api/models"
        assert httpx.get(url).status_code == 401
        assert httpx.get(url, headers={"Authorization": "Bearer a secret"}).status_code == 200
