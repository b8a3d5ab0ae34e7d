"""Downloads against a local server: resumed, shared, checked, mirrored, and explained when they fail."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import json
import socketserver
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from videozoo.errors import WeightsError
from videozoo.weights import download
from videozoo.weights.download import cache_dir, fetch

CONTENT = bytes(range(256)) * 2000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    """Serves `content` at every path but /missing; `cuts` first answers break off half-way, after `resume` is set."""

    content = CONTENT
    cuts = 0
    knows_ranges = True
    knows_if_range = True
    span = "bytes {start}-{last}/{all}"  # Content-Range
    longest = len(CONTENT)  # that a range may be

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[tuple[str, str | None]] = []
        self.headers = {"ETag": '"one"'}
        self.half_way, self.resume = threading.Event(), threading.Event()
        self.resume.set()

    def url(self, name="w.bin"):
        return f"http://127.0.0.1:{self.server_port}/{name}"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        ask, server = self.headers.get("Range"), self.server
        server.asked.append((self.path, ask))
        if self.path == "/missing":
            self.send_error(404)
            return
        start = int(ask.removeprefix("bytes=").rstrip("-")) if ask and server.knows_ranges else 0
        condition = self.headers.get("If-Range")
        if server.knows_if_range and condition not in (None, *server.headers.values()):
            start = 0
        if start >= len(server.content):
            self.send_error(416)
            return
        body = server.content[start:][: server.longest if start else None]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        if start and server.span:
            span = server.span.format(start=start, last=start + len(body) - 1, all=len(server.content))
            self.send_header("Content-Range", span)
        for name, value in server.headers.items():
            self.send_header(name, value)
        self.end_headers()
        half = len(body) // 2
        self.wfile.write(body[:half])
        server.half_way.set()
        server.resume.wait()
        if server.cuts:
            server.cuts -= 1
        else:
            self.wfile.write(body[half:])

    def log_message(self, *args):
        pass


class RawServer(socketserver.ThreadingTCPServer):
    """Answers every request with `answer`, byte for byte, in pieces of `piece_bytes` every `pause_s`."""

    daemon_threads, block_on_close = True, False
    answer, piece_bytes, pause_s = b"", 1 << 20, 0.0

    def __init__(self):
        super().__init__(("127.0.0.1", 0), RawHandler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}/w"


class RawHandler(socketserver.BaseRequestHandler):
    def handle(self):
        self.request.recv(1 << 16)
        server = self.server
        with contextlib.suppress(OSError):  # the other side has had enough
            for start in range(0, len(server.answer), server.piece_bytes):
                self.request.sendall(server.answer[start:][: server.piece_bytes])
                time.sleep(server.pause_s)


@pytest.fixture
def raw():
    with RawServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def answer(*headers, body=CONTENT, status="200 OK"):
    return "\r\n".join([f"HTTP/1.1 {status}", *headers, "", ""]).encode("latin1") + body


LENGTH = f"Content-Length: {len(CONTENT)}"


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (answer("Content-Length: 0", body=b""), "the answer is empty"),
        (answer(body=b""), "the server does not state the file's length"),
        (answer(), "the server does not state the file's length, so that a cut cannot be seen"),
        (answer("Content-Length: abc"), "the server states a length of 'abc'"),
        (answer("Content-Length: -5"), "the server states a length of '-5'"),
        (answer(f"Content-Length: {'9' * 5000}"), "the server states a length of '9+"),
        (answer(LENGTH, "Content-Encoding: gzip"), "the server compresses the file ..gzip.. without being asked to"),
        (answer(LENGTH, "Content-Type: application/json"), "text came instead of the file"),
        (answer("Content-Length: 17", body=b'{"error": "none"}'), "text came instead of the file: .*error"),
        (answer("Content-Length: 13", "Content-Type: text/plain", body=b"Access denied"), "text came .*Access denied"),
        (answer("Content-Length: 7", body=b"a\x1b[31mb"), "text came instead of the file"),
        (answer("Transfer-Encoding: chunked", body=b"5\r\n\0\1\2\3\4\r\n"), "the connection was cut|IncompleteRead"),
        (answer(LENGTH, status="206 Partial Content"), "an unrequested range"),
        (answer(status="404 Not\x1b[31m Found", body=b""), "HTTP 404 Not.x1b.31m Found"),
        (answer("Location: /w", "Content-Length: 0", status="302 Found", body=b""), "HTTP 302 .*infinite loop"),
        (answer("Location: file:///etc/passwd", "Content-Length: 0", status="302 Found", body=b""), "HTTP 302"),
        (answer("Location: gopher://x", "Content-Length: 0", status="302 Found", body=b""), "HTTP 302"),
        (answer("Location: http://[::1", "Content-Length: 0", status="302 Found", body=b""), "cannot be downloaded"),
        (b"", "cannot be downloaded"),
        (b"\x1b[31m\n\n", "cannot be downloaded"),
        (b"HTTP/1.1 abc\r\n\r\n", "cannot be downloaded"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: " + b"x" * 70_000, "cannot be downloaded"),
    ],
    ids=range(22),
)
def test_answers_that_are_no_file(raw, tmp_path, sent, said):
    raw.answer = sent
    with pytest.raises(WeightsError, match=said) as caught:
        fetch([raw.url], "w", folder=tmp_path, timeout_s=5.0)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 700
    assert not (tmp_path / "w").exists() and not (tmp_path / "sha256.json").exists()


def test_a_known_hash_proves_a_file_without_a_length(raw, tmp_path):
    raw.answer = answer()
    assert fetch([raw.url], "w", folder=tmp_path, sha256=SHA256).read_bytes() == CONTENT


def test_chunks_that_come_whole_are_taken(raw, tmp_path):
    body = f"{len(CONTENT):x}\r\n".encode() + CONTENT + b"\r\n0\r\n\r\n"
    raw.answer = answer("Transfer-Encoding: chunked", body=body)
    assert fetch([raw.url], "w", folder=tmp_path).read_bytes() == CONTENT


def test_a_drip_is_given_up_and_its_part_kept(raw, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "SLOW_S", 0.3)
    monkeypatch.setattr(download, "SLOWEST_BYTES_PER_S", 10**9)
    raw.answer, raw.piece_bytes, raw.pause_s = answer(LENGTH, 'ETag: "one"'), 10_000, 0.05
    with pytest.raises(WeightsError, match=r"it came at \d+ bytes a second for .* s, which is too slow; run it again"):
        fetch([raw.url], "w", folder=tmp_path)
    (part,) = tmp_path.glob("*.part")
    assert CONTENT.startswith(part.read_bytes())


def test_refresh_replaces_the_file_and_its_hash(server, tmp_path):
    path = tmp_path / "w"
    path.write_bytes(b"bad")
    assert fetch([server.url()], "w", folder=tmp_path) == path and not server.asked
    server.content = b"<html>"
    with pytest.raises(WeightsError, match="a web page came"):
        fetch([server.url()], "w", folder=tmp_path, refresh=True)
    assert path.read_bytes() == b"bad"  # until there is a better one
    server.content = CONTENT
    assert fetch([server.url()], "w", folder=tmp_path, refresh=True).read_bytes() == CONTENT
    assert json.loads((tmp_path / "sha256.json").read_text()) == {"w": SHA256}


@pytest.mark.parametrize("text", ["[" * 100_000, "[1]", '{"w": 5}', "{"])
def test_hashes_that_cannot_be_read(tmp_path, text):
    (tmp_path / "w").write_bytes(CONTENT)
    (tmp_path / "sha256.json").write_text(text)
    with pytest.raises(WeightsError, match=r"sha256\.json.*; delete it, hashes are then stored again"):
        fetch(["http://127.0.0.1:9/w"], "w", folder=tmp_path)


@pytest.fixture
def server():
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield server
        server.resume.set()
        server.shutdown()
        thread.join()


def test_fetched_once_with_progress_and_its_hash_noted(server, tmp_path):
    seen = []
    path = fetch([server.url()], "w", folder=tmp_path, progress=lambda done, total: seen.append((done, total)))
    assert path.read_bytes() == CONTENT and seen[-1] == (len(CONTENT), len(CONTENT))
    assert json.loads((tmp_path / "sha256.json").read_text()) == {"w": SHA256}
    assert fetch([server.url()], "w", folder=tmp_path) == path
    assert len(server.asked) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["sha256.json", "w"]


def test_a_cut_connection_goes_on_where_it_stopped(server, tmp_path):
    server.cuts = 1
    assert fetch([server.url()], "w", folder=tmp_path, sha256=SHA256).read_bytes() == CONTENT
    assert [ask for _, ask in server.asked] == [None, f"bytes={len(CONTENT) // 2}-"]


def test_a_later_call_goes_on_too(server, tmp_path):
    server.cuts = 3
    with pytest.raises(WeightsError, match=r"the connection was cut, \d+ bytes are missing; run it again to go on"):
        fetch([server.url()], "w", folder=tmp_path)
    assert fetch([server.url()], "w", folder=tmp_path, sha256=SHA256).read_bytes() == CONTENT
    assert server.asked[-1][1] == f"bytes={len(CONTENT) - len(CONTENT) // 8}-"


def test_a_server_without_ranges_sends_all_again(server, tmp_path):
    server.cuts, server.knows_ranges = 1, False
    assert fetch([server.url()], "w", folder=tmp_path, sha256=SHA256).read_bytes() == CONTENT


def test_a_part_that_is_too_long_is_thrown_away(server, tmp_path):
    server.cuts = 3
    with pytest.raises(WeightsError):
        fetch([server.url()], "w", folder=tmp_path)
    (part,) = tmp_path.glob("*.part")
    part.write_bytes(CONTENT + b"more")
    assert fetch([server.url()], "w", folder=tmp_path, sha256=SHA256).read_bytes() == CONTENT


@pytest.mark.parametrize(
    "span",
    ["", "bytes 0-{last}/{all}", "bytes */{all}", "items {start}-{last}/{all}"],
    ids=["none", "another start", "no start", "another unit"],
)
def test_a_piece_that_does_not_go_on_where_the_part_ends_is_not_added(server, tmp_path, span):
    server.cuts, server.span = 1, span
    assert fetch([server.url()], "w", folder=tmp_path).read_bytes() == CONTENT
    assert [ask for _, ask in server.asked] == [None, f"bytes={len(CONTENT) // 2}-", None]


@pytest.mark.parametrize("knows_if_range", [True, False])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"ETag": '"one"'}, {"ETag": '"two"'}),
        ({"ETag": 'W/"one"', "Last-Modified": "Mon, 06 Jan 2020 00:00:00 GMT"}, {"ETag": 'W/"two"'}),
        ({"Last-Modified": "Mon, 06 Jan 2020 00:00:00 GMT"}, {"Last-Modified": "Tue, 07 Jan 2020 00:00:00 GMT"}),
        ({"ETag": '"one"'}, {}),
    ],
    ids=["etag", "weak etag", "date", "no version"],
)
def test_a_part_of_another_version_begins_again(server, tmp_path, before, after, knows_if_range):
    server.cuts, server.headers, server.knows_if_range = 3, before, knows_if_range
    with pytest.raises(WeightsError, match="the connection was cut"):
        fetch([server.url()], "w", folder=tmp_path)
    server.content, server.headers = CONTENT[::-1], after
    assert fetch([server.url()], "w", folder=tmp_path).read_bytes() == CONTENT[::-1]


def test_a_date_is_enough_to_go_on(server, tmp_path):
    server.cuts, server.headers = 1, {"ETag": 'W/"one"', "Last-Modified": "Mon, 06 Jan 2020 00:00:00 GMT"}
    assert fetch([server.url()], "w", folder=tmp_path).read_bytes() == CONTENT
    assert [ask for _, ask in server.asked] == [None, f"bytes={len(CONTENT) // 2}-"]


@pytest.mark.parametrize("headers", [{}, {"ETag": 'W/"one"'}])
def test_without_a_version_a_cut_transfer_begins_again(server, tmp_path, headers):
    server.cuts, server.headers = 2, headers
    with pytest.raises(WeightsError, match="the connection was cut"):
        fetch([server.url()], "w", folder=tmp_path)
    server.content = CONTENT[::-1]  # the server cannot say so
    assert fetch([server.url()], "w", folder=tmp_path).read_bytes() == CONTENT[::-1]
    assert {ask for _, ask in server.asked} == {None}


def test_a_range_that_ends_before_the_file_does_is_incomplete(server, tmp_path):
    server.cuts, server.longest = 1, len(CONTENT) // 4
    seen = []
    path = fetch([server.url()], "w", folder=tmp_path, progress=lambda done, total: seen.append((done, total)))
    assert path.read_bytes() == CONTENT and {total for _, total in seen} == {len(CONTENT)}
    assert server.asked[-1][1] == f"bytes={len(CONTENT) * 3 // 4}-"


def test_threads_that_want_the_same_file_fetch_it_once(server, tmp_path):
    server.resume.clear()
    with ThreadPoolExecutor(8) as pool:
        paths = [pool.submit(fetch, [server.url()], "w", folder=tmp_path) for _ in range(8)]
        assert server.half_way.wait(10)
        server.resume.set()
        assert {path.result().read_bytes() for path in paths} == {CONTENT}
    assert len(server.asked) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["sha256.json", "w"]


def test_threads_that_want_different_files_note_every_hash(server, tmp_path):
    names = [f"w{index}" for index in range(16)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: fetch([server.url()], name, folder=tmp_path), names))
    assert json.loads((tmp_path / "sha256.json").read_text()) == dict.fromkeys(names, SHA256)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([*names, "sha256.json"])


def test_the_next_one_goes_on_where_the_first_was_cut(server, tmp_path):
    server.cuts = 3
    server.resume.clear()
    with ThreadPoolExecutor(2) as pool:
        results = [pool.submit(fetch, [server.url()], "w", folder=tmp_path) for _ in range(2)]
        assert server.half_way.wait(10)
        server.resume.set()
        errors = [result.exception() for result in results]
    assert sorted(type(error).__name__ for error in errors) == ["NoneType", "WeightsError"]
    assert (tmp_path / "w").read_bytes() == CONTENT
    assert server.asked[-1][1] == f"bytes={len(CONTENT) - len(CONTENT) // 8}-"


def test_a_killed_process_leaves_its_part_and_no_lock(server, tmp_path):
    server.resume.clear()
    code = """
import pathlib, sys
from videozoo.weights import download
download.CHUNK_BYTES = 1 << 16
download.fetch(sys.argv[1:2], "w", folder=pathlib.Path(sys.argv[2]), progress=lambda *_: print("some", flush=True))
"""
    command = [sys.executable, "-c", code, server.url(), str(tmp_path)]
    with ThreadPoolExecutor(1) as pool, subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"some\n"
        path = pool.submit(fetch, [server.url()], "w", folder=tmp_path)
        process.kill()
        server.resume.set()
        assert path.result().read_bytes() == CONTENT
    assert [bool(ask) for _, ask in server.asked] == [False, True]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["sha256.json", "w"]


@pytest.mark.parametrize("system", ["no fcntl", "no locks"])
def test_without_locks_each_fetches_its_own(server, tmp_path, monkeypatch, system):
    def flock(*args):
        raise OSError(37, "No locks available")

    if system == "no fcntl":
        monkeypatch.setattr(download, "fcntl", None)
    else:
        monkeypatch.setattr(download.fcntl, "flock", flock)
    server.resume.clear()
    with ThreadPoolExecutor(4) as pool:
        paths = [pool.submit(fetch, [server.url()], "w", folder=tmp_path) for _ in range(4)]
        assert server.half_way.wait(10)
        server.resume.set()
        assert {path.result().read_bytes() for path in paths} == {CONTENT}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["sha256.json", "w"]


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (CONTENT, "text/html; charset=utf-8"),
        (b"<!DOCTYPE html><title>Log in</title>", "application/octet-stream"),
        (b"\xef\xbb\xbf \r\n\t<HTML>", None),
        (b"<?xml version='1.0'?><Error/>", None),
    ],
    ids=["type", "doctype", "after whitespace", "xml"],
)
def test_a_page_instead_of_the_file_is_refused(server, tmp_path, content, kind):
    server.content = content
    server.headers = {"Content-Type": kind} if kind else {}
    url = server.url()
    reason = "a web page came instead of the file, perhaps from a login or a proxy"
    with pytest.raises(WeightsError, match=rf"^w: cannot be downloaded \({url}: {reason}\); fetch {url} .*/w$"):
        fetch([url], "w", folder=tmp_path)
    assert len(server.asked) == 1 and not list(tmp_path.iterdir())
    server.content, server.headers = CONTENT, {}
    assert fetch([url], "w", folder=tmp_path).read_bytes() == CONTENT


def test_a_page_does_not_cost_the_part(server, tmp_path):
    server.cuts = 3
    with pytest.raises(WeightsError, match="the connection was cut"):
        fetch([server.url()], "w", folder=tmp_path)
    server.content, server.headers = b"<html>", {}
    server.knows_ranges = False
    with pytest.raises(WeightsError, match="a web page came"):
        fetch([server.url()], "w", folder=tmp_path)
    server.content, server.headers, server.knows_ranges = CONTENT, {"ETag": '"one"'}, True
    assert fetch([server.url()], "w", folder=tmp_path).read_bytes() == CONTENT
    assert server.asked[-1][1] == f"bytes={len(CONTENT) - len(CONTENT) // 8}-"


def test_a_safetensors_header_may_look_like_a_tag(server, tmp_path):
    server.content = (0x3C20).to_bytes(8, "little") + b"{}"  # " <" and six zeros: its length
    assert fetch([server.url()], "w", folder=tmp_path).read_bytes() == server.content


def test_a_folder_that_cannot_be_written(server, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(WeightsError, match=r"file: cannot be written \(File exists\); set VIDEOZOO_HOME to a folder"):
        fetch([server.url()], "w", folder=tmp_path / "file")


def test_mirrors_are_tried_in_order(server, tmp_path):
    assert fetch([server.url("missing"), server.url()], "w", folder=tmp_path).read_bytes() == CONTENT
    assert [path for path, _ in server.asked] == ["/missing", "/w.bin"]


def test_a_missing_file_says_where_to_put_it_by_hand(server, tmp_path):
    url = server.url("missing")
    with pytest.raises(
        WeightsError, match=rf"w: cannot be downloaded \({url}: HTTP 404 Not Found\); fetch {url} .*/w$"
    ):
        fetch([url], "w", folder=tmp_path)
    assert len(server.asked) == 1


def test_a_wrong_hash_is_not_kept(server, tmp_path):
    with pytest.raises(WeightsError, match=f"has sha256 {SHA256}, expected 00"):
        fetch([server.url()], "w", folder=tmp_path, sha256="00")
    assert not (tmp_path / "w").exists()


def test_a_file_that_changes_is_refused(server, tmp_path):
    path = fetch([server.url()], "w", folder=tmp_path)
    path.write_bytes(b"other")
    with pytest.raises(WeightsError, match=r"w: has sha256 .*, .*sha256.json has " + SHA256):
        fetch([server.url()], "w", folder=tmp_path)


def test_no_network(tmp_path):
    with pytest.raises(WeightsError, match=r"w: cannot be downloaded \(http://127.0.0.1:9/w: .*refused\); fetch http"):
        fetch(["http://127.0.0.1:9/w"], "w", folder=tmp_path)


def test_offline(server, tmp_path, monkeypatch):
    monkeypatch.setenv("VIDEOZOO_OFFLINE", "1")
    with pytest.raises(WeightsError, match=f"w: VIDEOZOO_OFFLINE is set and the file is not in {tmp_path}; fetch http"):
        fetch([server.url()], "w", folder=tmp_path)
    (tmp_path / "w").write_bytes(CONTENT)
    assert fetch([server.url()], "w", folder=tmp_path, sha256=SHA256).is_file()
    assert not server.asked


def test_cache_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("VIDEOZOO_HOME", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_dir() == tmp_path / "videozoo" / "weights"
    monkeypatch.setenv("VIDEOZOO_HOME", str(tmp_path / "home"))
    assert cache_dir() == tmp_path / "home" / "weights"
