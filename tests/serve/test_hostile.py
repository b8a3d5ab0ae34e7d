"""300 hostile requests end in a refusal, with the server alive and its memory flat."""

from __future__ import annotations

import collections
import concurrent.futures
import io
import json
import os
import random
import re
import socket
import struct
import zipfile
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import httpx2 as httpx
import hypothesis
import numpy as np
import pytest
import schemathesis
from PIL import Image

from tests.serve import parts
from tests.serve.test_server import HEAD, Running, of_parts, sent_slowly
from videozoo.terminal import escaped

pytestmark = pytest.mark.long

WARM = 40  # requests before the memory is measured
TIME_S = 8.0  # the time limit of the server
SETTINGS = hypothesis.settings(
    max_examples=100,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(hypothesis.HealthCheck),
)


class Attack:
    """Sends requests to a server and counts how they end."""

    def __init__(self, server: Running):
        self.server = server
        self.statuses: collections.Counter[int] = collections.Counter()

    def refused(self, status: int, text: str, what: str) -> None:
        """Notes a response, which must be a refusal in the form of errors that names nothing of the server."""
        self.statuses[status] += 1
        assert 400 <= status < 500, (what, status, text)
        error = json.loads(text)["error"]
        assert error["message"] == escaped(error["message"]) and len(error["message"]) < 600, (what, error)
        assert str(self.server.folder) not in text and "Traceback" not in text, (what, text)

    def upload(self, content: bytes, name: str = "a.mp4", **query: object) -> None:
        files = {"file": (name, content)}
        answer = httpx.post(f"{self.server.url}/api/predict", params=query, files=files, timeout=60)
        self.refused(answer.status_code, answer.text, f"{name} {content[:40]!r}")

    def send(self, method: str, path: str, **args: object) -> None:
        answer = httpx.request(method, self.server.url + path, timeout=60, **args)  # type: ignore[arg-type]
        self.refused(answer.status_code, answer.text, f"{method} {path} {args}")

    def memory_mb(self) -> float:
        """The private memory of the server and of its workers."""
        return sum(_private_bytes(pid) for pid in _family(self.server.process.pid)) / 1e6


def _private_bytes(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Private_"))


def _family(pid: int) -> list[int]:
    found = [pid]
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if parent == pid:
            found += _family(int(path.parent.name))
    return found


def from_the_document(attack: Attack) -> None:
    """Requests that schemathesis makes of the OpenAPI document: of its form, and of other forms."""
    document = httpx.get(f"{attack.server.url}/openapi.json").json()
    operation = schemathesis.openapi.from_dict(document)["/api/predict"]["POST"]
    for mode in (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE):

        @SETTINGS
        @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
        def send(case: schemathesis.Case) -> None:
            answer = case.call(base_url=attack.server.url, timeout=60)
            if answer.status_code == 200:  # it has made a picture, which is a video of one frame
                attack.statuses[200] += 1
                assert len(answer.json()["predictions"]) == 1
                return
            attack.refused(answer.status_code, answer.text, f"{case.query} {case.media_type} {case.body!r:.200}")

        send()


def broken_files(clip: bytes) -> Iterator[tuple[str, bytes]]:
    """Files of every kind that hold no video, or none that can be decoded."""
    rng = random.Random(0)
    for size in (0, 1, 7, 100, 4096, 150_000):
        yield "zeros.mp4", bytes(size)
        yield "noise.mp4", rng.randbytes(size)
        yield "noise.mkv", b"\x1a\x45\xdf\xa3" + rng.randbytes(size)
        yield "noise.avi", b"RIFF" + rng.randbytes(4) + b"AVI LIST" + rng.randbytes(size)
        yield "noise.ts", b"\x47" + rng.randbytes(size)
        yield "noise.flv", b"FLV\x01\x05\x00\x00\x00\x09" + rng.randbytes(size)
        yield "noise.webm", rng.randbytes(size)
    for length in (8, 24, 40, 100, 200):
        yield "head.mp4", clip[:length]
    for kind in (b"ftyp", b"moov", b"mdat", b"free"):
        yield "box.mp4", struct.pack(">I", 0xFFFFFFFF) + kind + rng.randbytes(64)
        yield "endless.mp4", struct.pack(">IQ", 1, 1 << 62).replace(b"\0\0\0\1", b"\0\0\0\1" + kind, 1)
    nested = b""
    for _ in range(2000):
        nested = struct.pack(">I", len(nested) + 8) + b"moov" + nested
    yield "nested.mp4", nested
    for text in (
        "#EXTM3U\n#EXTINF:1\nfile:///etc/passwd\n",
        "ffconcat version 1.0\nfile /etc/passwd\n",
        "<svg xmlns='http://www.w3.org/2000/svg'/>",
        "http://127.0.0.1/video.mp4",
        "[playlist]\nFile1=/etc/passwd\n",
    ):
        for name in ("list.m3u8", "list.ffconcat", "a.mp4"):
            yield name, text.encode()
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("video.mp4", bytes(10_000_000))
    yield "bomb.zip", archive.getvalue()
    yield "bomb.npz", archive.getvalue()
    for suffix in (".npz", ".npy", ".pkl", ".tfrecord", ".h5", ".parquet", ".csv"):
        yield f"features{suffix}", rng.randbytes(2000)
    yield "evil.pkl", b"cos\nsystem\n(S'touch /tmp/owned'\ntR."


def beyond_the_limits(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Videos with frames that are too large, or that last too long, by their headers or in fact."""
    pictures = written(folder / "pictures.mov", "png", times=(0, 1, 2))
    for width, height in ((60_000, 60_000), (1 << 30, 1), (0, 0), (5000, 5000)):
        yield "wide.mov", re.sub(rb"IHDR.{8}", b"IHDR" + struct.pack(">II", width, height), pictures, flags=re.DOTALL)
    yield "large.mp4", parts.gray_video(folder / "large.mp4", (1,), size_px=(2400, 4200)).read_bytes()
    picture = io.BytesIO()
    Image.fromarray(np.zeros((5000, 5000), np.uint8)).save(picture, "png")
    yield "large.png", picture.getvalue()
    for name, codec, seconds in (
        ("long.mov", "png", 4000),
        ("long.mkv", "ffv1", 10_000_000),
        ("long.mov", "png", 50_000),
    ):
        yield name, written(folder / name, codec, times=(0, 25 * seconds))


def written(path: Path, codec: str, *, times: Sequence[int]) -> bytes:
    """A video of black frames at these times, in 25ths of a second."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream(codec, rate=25)
        stream.width, stream.height, stream.time_base = 64, 48, Fraction(1, 25)
        stream.pix_fmt = "rgb24" if codec == "png" else "yuv420p"
        for pts in times:
            frame = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8))
            frame.pts = pts
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path.read_bytes()


PATHS = [
    "../secret.mp4", "..", "../../../../../../etc/passwd", "/etc/passwd", "/proc/self/mem", "/dev/zero", "link.mp4",
    "outside/secret.mp4", "circle", "inner/../../secret.mp4", "inner/./../../secret.mp4", "..\\secret.mp4", "~/x.mp4",
    "file:///etc/passwd", "http://127.0.0.1/", "inner/clip.mp4\0.txt", "\0", "", " ", ".", "inner", "x" * 5000,
    "a/" * 2000, "%2e%2e/secret.mp4", "clips.tar@0+100/a.mp4", "inner/clip.mp4@0+100/a.mp4", "|ls", "$(id)",
    "concat:a|b",
    "\u2025/secret.mp4", "inner//../..//secret.mp4",
]  # fmt: skip
PAGES = ["/page/../app.py", "/page/%2e%2e/app.py", "/page/..%2fapp.py", "/page//etc/passwd", "/page/%00", "/.env",
         "/docs",
         "/api/predict/../../etc", "/%ff", "/" + "x" * 4000]  # fmt: skip

RAW = [
    b"\r\n\r\n\r\n", b"GET\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00", b"GET / HTTP/9.9\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 200_000,
    HEAD + b"Content-Length: -1\r\n\r\n", HEAD + b"Content-Length: x\r\n\r\n",
    HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n", HEAD + b"Content-Length: 99999999999999999999\r\n\r\n",
    HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", HEAD + b"Transfer-Encoding: gzip\r\n\r\n",
    HEAD + b"Content-Length: 999999999999\r\nExpect: 100-continue\r\n\r\n",
]  # fmt: skip
FORM = b"Content-Type: multipart/form-data; boundary=x\r\n"
SLOW = [
    (HEAD[:10],),
    (HEAD,),
    (HEAD + b"X-", b"Y: "),
    (HEAD + FORM + b"Content-Length: 100\r\n\r\n",),
    (HEAD + FORM + b"Content-Length: 1000\r\n\r\n--x\r\n", b"Content-Disp"),
    (HEAD + FORM + b"Transfer-Encoding: chunked\r\n\r\n", b"5\r\n--x"),
    (HEAD + b"Content-Type: application/json\r\nContent-Length: 20\r\n\r\n", b"{"),
]


def ended(server: Running, *pieces: bytes) -> bytes:
    """What the server says before it ends the connection, which may happen while the client still sends."""
    try:
        return sent_slowly(server, *pieces)
    except ConnectionError:
        return b""


def test_hostile_requests(root, tmp_path):
    with of_parts(root, tmp_path, time_s=TIME_S) as server:
        attack = Attack(server)
        clip = (root / "inner" / "clip.mp4").read_bytes()

        def is_alive() -> bool:
            answer = httpx.post(f"{server.url}/api/predict", json={"path": "inner/clip.mp4"}, timeout=60)
            return answer.status_code == 200 and answer.json()["predictions"][0]["info"]["duration_s"] == 3.0

        for number, (name, content) in enumerate(broken_files(clip)):
            attack.upload(content, name)
            if number == WARM:
                before_mb = attack.memory_mb()
        assert is_alive()
        for name, content in beyond_the_limits(tmp_path):
            attack.upload(content, name)
        for path in PATHS:
            attack.send("POST", "/api/predict", json={"path": path})
        for page in PAGES:
            with httpx.stream("GET", server.url + page) as answer:
                attack.statuses[answer.status_code] += 1
                assert 400 <= answer.status_code < 500, page
        from_the_document(attack)
        for name in ("wait.mp4", "crash.mp4", "memory.mp4"):
            answer = httpx.post(f"{server.url}/api/predict?model=odd", json={"path": name}, timeout=60)
            attack.statuses[answer.status_code] += 1
            assert answer.status_code == {"wait.mp4": 504, "crash.mp4": 415, "memory.mp4": 422}[name]
        connections = [*((piece,) for piece in RAW), *SLOW]
        with concurrent.futures.ThreadPoolExecutor(len(connections)) as threads:
            said = list(threads.map(lambda pieces: ended(server, *pieces), connections))
        for pieces, text in zip(connections, said, strict=True):
            status = int(text.split()[1]) if text else 0  # a request that never begins has no answer
            attack.statuses[status] += 1
            assert not text or 400 <= status < 500, (pieces[0][:80], text[:200])
        clients = [socket.create_connection(server.address) for _ in range(100)]  # that say nothing
        assert is_alive()
        for client in clients:
            client.close()
        after_mb = attack.memory_mb()
        counts = dict(sorted(attack.statuses.items()))
        print(f"{attack.statuses.total()} requests {counts}, memory {before_mb:.1f} to {after_mb:.1f} MB")
        assert sum(count for status, count in counts.items() if 400 <= status < 500) >= 300
        assert after_mb < before_mb + 30, (before_mb, after_mb)
        assert not list(server.folder.iterdir())
        assert not os.path.exists("/tmp/owned")  # noqa: PTH110
        faults = [line for line in server.lines if line["level"] == "error" or line.get("status") == 500]
        assert not faults, faults[:3]
