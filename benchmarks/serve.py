"""Load on `videozoo serve`: clients on loopback, and what shared batches gain.

    python benchmarks/serve.py [--seconds 60] [--clients 8] [--models tsm lstm nextvlad] [--format onnx|run]

Two servers of the same networks run, one with --batch 8 and one with --batch 1; the clients ask them in turn, in rounds
of a few seconds, for SECONDS in all each. Networks have the sizes of the recipes motion/tsm, youtube8m/attention_lstm
and youtube8m/nextvlad, and random weights. Clips of 64 px are uploaded; files of features (60 rows of 1152) are named
by path. A status other than 200 is an error. Prints requests per second, the median and the 95th percentile of seconds,
samples per run of the network, the server's memory at the beginning and at the end, and the ratio of both servers: per
second, and per processor time, which other programs on the machine disturb less.
Targets: no error, and a ratio of at least 2.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from videozoo.contracts.features import Features
from videozoo.export.export import export_network
from videozoo.io.encode import write_video
from videozoo.io.features import write_features
from videozoo.models import create_model
from videozoo.weights import checkpoint

RECIPES = {"tsm": "motion/tsm", "lstm": "youtube8m/attention_lstm", "nextvlad": "youtube8m/nextvlad"}
CONFIGS = Path(__file__).parent.parent / "configs"
ROUND_S = 5.0
ROWS, DIM = 60, 1152


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--models", nargs="+", default=list(RECIPES), choices=list(RECIPES))
    parser.add_argument("--format", default="run", choices=["run", "onnx"])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        places = {name: _network(name, folder, options.format) for name in options.models}
        clip = _inputs(folder)
        with _server(places, folder, 8) as shared, _server(places, folder, 1) as alone:
            for name in options.models:
                body, kind = _request(name, clip)
                servers = {"batch 8": Load(shared, name, body, kind), "batch 1": Load(alone, name, body, kind)}
                for load in servers.values():
                    load.run(options.clients, 1.0)  # warms up
                    load.reset()
                for _ in range(max(1, round(options.seconds / ROUND_S))):
                    for load in servers.values():
                        load.run(options.clients, min(ROUND_S, options.seconds))
                for label, load in servers.items():
                    print(f"{name}, {label}: {load.report()}", flush=True)
                rates = [load.rate for load in servers.values()]
                cpu_s = [load.cpu_s for load in servers.values()]
                ratios = f"answers per second {rates[0] / rates[1]:.2f}, per processor time {cpu_s[1] / cpu_s[0]:.2f}"
                print(f"{name}: batch 8 / batch 1: {ratios}", flush=True)


class Load:
    """What clients have measured at a server so far."""

    def __init__(self, server: Server, model: str, body: bytes, kind: str):
        self._server, self._model, self._body, self._kind = server, model, body, kind
        self.reset()

    def reset(self) -> None:
        self._times_s: list[float] = []
        self._errors: list[str] = []
        self._seconds = 0.0
        self._cpu_s = 0.0
        self._first, self._memory_mb = self._server.samples(self._model), self._server.memory_mb()

    def run(self, num_clients: int, seconds: float) -> None:
        before_s = self._server.cpu_s()
        began_s = time.perf_counter()
        clients = [threading.Thread(target=self._ask, args=(began_s + seconds,)) for _ in range(num_clients)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        self._seconds += time.perf_counter() - began_s
        self._cpu_s += self._server.cpu_s() - before_s

    @property
    def cpu_s(self) -> float:
        """The processor time of the server and its workers for an answer."""
        return self._cpu_s / len(self._times_s)

    @property
    def rate(self) -> float:
        return len(self._times_s) / self._seconds

    def report(self) -> str:
        runs, samples = (b - a for a, b in zip(self._first, self._server.samples(self._model), strict=True))
        middle, slow = np.percentile(self._times_s, [50, 95])
        return (
            f"{len(self._times_s)} answers in {self._seconds:.0f} s, {self.rate:.1f}/s, {len(self._errors)} errors "
            f"{self._errors[:3] or ''}, median {middle:.3f} s, 95 % {slow:.3f} s, "
            f"{samples / max(runs, 1):.1f} samples a run, {1000 * self.cpu_s:.0f} ms of processor time an answer, "
            f"memory {self._memory_mb:.0f} to {self._server.memory_mb():.0f} MB"
        )

    def _ask(self, ends_s: float) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._server.port, timeout=120)
        while (began_s := time.perf_counter()) < ends_s:
            headers = {"Content-Type": self._kind}
            connection.request("POST", f"/api/predict?top_k=1&model={self._model}", self._body, headers)
            answer = connection.getresponse()
            text = answer.read()
            self._times_s.append(time.perf_counter() - began_s)
            if answer.status != 200:
                self._errors.append(f"{answer.status} {text[:200]!r}")
        connection.close()


class Server:
    """A running server."""

    def __init__(self, process: subprocess.Popen[str]):
        assert process.stderr is not None
        self._pid = process.pid
        line = next(line for line in process.stderr if '"ready"' in line)
        self.port = int(json.loads(line)["url"].rpartition(":")[2])
        threading.Thread(target=process.stderr.read, daemon=True).start()

    def samples(self, model: str) -> tuple[float, float]:
        """Returns (runs, samples) of a network so far."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
        found = {
            line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in text.splitlines() if line[0] != "#"
        }
        key = f'{{model="{model}/main"}}'
        return found[f"videozoo_network_samples_count{key}"], found[f"videozoo_network_samples_sum{key}"]

    def cpu_s(self) -> float:
        """Returns the processor time of the server and its workers so far."""
        return sum(_cpu_s(pid) for pid in _family(self._pid))

    def memory_mb(self) -> float:
        """Returns the memory of the server and its workers; shared pages count once for each."""
        return sum(_resident_bytes(pid) for pid in _family(self._pid)) / 1e6


def _resident_bytes(pid: int) -> int:
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def _cpu_s(pid: int) -> float:
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0


def _family(pid: int) -> list[int]:
    found = [pid]
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(path.read_text().rpartition(")")[2].split()[1]) == pid:
                found += _family(int(path.parent.name))
    return found


@contextlib.contextmanager
def _server(places: dict[str, Path], root: Path, batch: int) -> Iterator[Server]:
    names = [argument for name, place in places.items() for argument in ("--name", f"{name}={place}")]
    command = [sys.executable, "-m", "videozoo", "serve", *names, "--port", "0", "--root", str(root)]
    process = subprocess.Popen([*command, "--batch", str(batch)], stderr=subprocess.PIPE, text=True)
    try:
        yield Server(process)
    finally:
        process.terminate()
        process.wait()


def _network(name: str, folder: Path, form: str) -> Path:
    """Writes a run with the sections of a recipe and random weights; returns the run, or its export."""
    recipe: dict[str, Any] = yaml.safe_load((CONFIGS / f"{RECIPES[name]}.yaml").read_text())
    args = {key: value for key, value in recipe["model"].items() if key != "name"}
    args |= {"num_classes": 8} if name == "tsm" else {"num_classes": 3862}
    torch.manual_seed(0)
    model = create_model(recipe["model"]["name"], **args)
    run = folder / name
    run.mkdir()
    record = {"model": {"name": recipe["model"]["name"], **args}, "task": recipe["task"], "input": recipe["input"]}
    names = tuple(f"class {i}" for i in range(args["num_classes"]))
    payload = {"record": record, "class_names": names, "model": model.state_dict(), "step": 1}
    checkpoint.write(run / "best.pt", payload)
    return run if form == "run" else export_network(run, folder / f"{name}-onnx")


def _inputs(folder: Path) -> bytes:
    """Writes a file of features, and returns a clip."""
    rng = np.random.default_rng(0)
    values = rng.standard_normal((ROWS, DIM)).astype(np.float32)
    write_features(folder, "features", Features(values=values, stride_s=1.0, offset_s=0.5, duration_s=float(ROWS)))
    frames = rng.integers(0, 256, (6, 6, 3), np.uint8).repeat(16, 0).repeat(16, 1)
    path = folder / "clip.mp4"
    write_video(path, [np.roll(frames, 4 * i, 1)[:64, :64].copy() for i in range(16)], fps=16)
    return path.read_bytes()


def _request(name: str, clip: bytes) -> tuple[bytes, str]:
    """Returns the body of a request and its type."""
    if name != "tsm":
        return json.dumps({"path": "features.npz"}).encode(), "application/json"
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="clip.mp4"\r\n\r\n'
    return head + clip + b"\r\n--x--\r\n", "multipart/form-data; boundary=x"


if __name__ == "__main__":
    main()
