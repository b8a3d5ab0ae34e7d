"""Sources from the network, from pipes and cameras: connections that break off, times, errors in words."""

from __future__ import annotations

import contextlib
import http.server
import os
import threading

import numpy as np
import pytest

from tests.stream.conftest import FPS, of_kind, streamed
from videozoo.errors import ConfigError, DecodeError
from videozoo.io.encode import write_video
from videozoo.io.live import open_pipe
from videozoo.stream import source as sources
from videozoo.stream.messages import Answered, Reconnected
from videozoo.stream.source import LiveSource, open_source


class Server(http.server.ThreadingHTTPServer):
    """Serves one video; each answer is one of `parts`, in their order, after which there is nothing."""

    daemon_threads = True

    def __init__(self, parts, *, states_length=False):
        super().__init__(("127.0.0.1", 0), Handler)
        self.parts, self.states_length, self.num_requests = list(parts), states_length, 0

    @property
    def url(self):
        return f"http://user:secret@127.0.0.1:{self.server_port}/video.ts"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.num_requests += 1
        if not self.server.parts:
            self.send_error(503)
            return
        part, length = self.server.parts.pop(0), None
        if self.server.states_length:
            part, length = part
        self.send_response(200)
        self.send_header("Content-Type", "video/mp2t")
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.wfile.write(part)

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def serving(parts, **options):
    server = Server(parts, **options)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def transport_stream(gray_video):
    """Four seconds, with a key frame each second, in a format that can be cut anywhere."""
    return gray_video("a.ts", [0, 1, 2, 3], gop_frames=FPS).read_bytes()


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(sources, "FIRST_WAIT_S", 0.02)


def test_a_connection_that_breaks_off_is_made_again(transport_stream, counting):
    half = len(transport_stream) // 2 // 188 * 188
    with serving([transport_stream[:half], transport_stream]) as server:
        source = open_source(server.url, fast=True, retry_s=0.5)
        with pytest.raises(DecodeError) as raised:
            messages = []
            from videozoo.stream.session import Settings, StreamSession

            StreamSession(counting, source, Settings()).run(messages.append)
        assert server.num_requests >= 4  # two with a video, and more before it gave up
    assert "no frame came for 0.5 s" in str(raised.value)
    assert "secret" not in str(raised.value)
    assert messages[0].source == f"http://127.0.0.1:{server.server_port}/video.ts"
    (again,) = of_kind(messages, Reconnected)
    answered = of_kind(messages, Answered)
    before = [m for m in answered if m.time_s < again.time_s]
    assert 10 <= len(before) < 40
    assert len(answered) - len(before) == 40  # the second connection has the whole video
    assert again.gap_s >= 1 / FPS
    times_s = [m.time_s for m in answered]
    assert times_s == sorted(times_s)
    assert messages[-1].num_reconnects == 1


def test_a_video_of_known_length_goes_on_where_it_broke_off(tmp_path, counting):
    noise = np.random.default_rng(0).integers(0, 256, (40, 64, 64, 3), np.uint8)  # larger than the network's buffers
    write_video(tmp_path / "a.mp4", noise, fps=FPS)
    whole = (tmp_path / "a.mp4").read_bytes()
    cut = (whole.index(b"mdat") + len(whole)) // 2  # half of the packets
    parts = [(whole[:cut], len(whole)), (whole, len(whole))]
    with serving(parts, states_length=True) as server:
        messages, summary = streamed(counting, open_source(server.url, fast=True, retry_s=5.0))
    found = [round(m.time_s * FPS) for m in of_kind(messages, Answered)]
    assert found == list(range(40))  # no frame twice, none missing, and the end is the end
    assert summary.num_reconnects == 1


def test_a_first_connection_that_fails_is_an_error_at_once():
    with (
        serving([]) as server,
        pytest.raises(DecodeError, match=r"video.ts: it cannot be opened as a stream") as raised,
    ):
        open_source(server.url)
    assert "secret" not in str(raised.value)


def test_waits_grow_and_end_when_the_stream_is_stopped(transport_stream, monkeypatch):
    waits = []

    class Stop(threading.Event):
        def wait(self, timeout=None):
            waits.append(timeout)
            return len(waits) == 6

    monkeypatch.setattr(sources, "LONGEST_WAIT_S", 0.1)
    with serving([transport_stream]) as server:
        source = open_source(server.url, fast=True, retry_s=1000.0)
        assert len(list(source.frames(Stop()))) == 40
    assert waits == pytest.approx([0.02, 0.04, 0.08, 0.1, 0.1, 0.1])


def test_a_pipe(transport_stream, counting):
    reading, writing = os.pipe()

    def write():
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(transport_stream)

    thread = threading.Thread(target=write)
    thread.start()
    with os.fdopen(reading, "rb") as pipe:
        messages, summary = streamed(counting, LiveSource(lambda: open_pipe(pipe), drops=False))
    thread.join()
    assert [round(m.time_s * FPS) for m in of_kind(messages, Answered)] == list(range(40))
    assert summary.dropped_frames == 0


def test_a_pipe_without_video():
    reading, writing = os.pipe()
    os.write(writing, b"no video at all")
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe, pytest.raises(DecodeError, match=r"-: it cannot be opened as a stream"):
        open_pipe(pipe)


def test_a_playlist_from_a_pipe_opens_nothing(gray_video):
    video = gray_video("a.ts", [0])
    reading, writing = os.pipe()
    os.write(writing, f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{video}\n#EXT-X-ENDLIST\n".encode())
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe, pytest.raises(DecodeError):
        open_pipe(pipe)


@pytest.mark.parametrize("name", ["webcam:63", "/dev/video63"])
def test_a_missing_camera(name):
    with pytest.raises(DecodeError, match=f"{name}: it cannot be opened as a stream of video"):
        open_source(name)


def test_a_scheme_that_is_not_known():
    with pytest.raises(ConfigError, match=r"file:///etc/passwd: there is no stream of 'file'; use one of http, https"):
        open_source("file:///etc/passwd")
