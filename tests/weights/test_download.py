"""Downloads against a local server: resumed, checked, mirrored, and explained when they fail."""

from __future__ import annotations

import hashlib
import http.server
import json
import threading

import pytest

from videozoo.errors import WeightsError
from videozoo.weights.download import cache_dir, fetch

CONTENT = bytes(range(256)) * 2000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    """Serves CONTENT at every path but /missing; `cuts` first answers break off half-way."""

    cuts = 0
    knows_ranges = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[tuple[str, str | None]] = []

    def url(self, name="w.bin"):
        return f"http://127.0.0.1:{self.server_port}/{name}"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        ask = self.headers.get("Range")
        self.server.asked.append((self.path, ask))
        if self.path == "/missing":
            self.send_error(404)
            return
        start = int(ask.removeprefix("bytes=").rstrip("-")) if ask and self.server.knows_ranges else 0
        if start >= len(CONTENT):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.send_header("ETag", '"one"')
        self.end_headers()
        body = CONTENT[start:]
        if self.server.cuts:
            self.server.cuts -= 1
            body = body[: len(body) // 2]
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield server
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
    with pytest.raises(WeightsError, match=r"w: has sha256 .*, .*sha256.json says " + SHA256):
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
