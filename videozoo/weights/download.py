"""Files from the network: fetched once, whole or not at all, and the same the next time.

The standard library does it. A transfer that breaks off goes on where it stopped; what arrives is checked against a
known SHA-256, or against the one that was noted when the file first came. Of several processes that want the same file,
one fetches it and the others wait.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import re
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from email.message import Message
from pathlib import Path
from typing import IO

from videozoo.errors import WeightsError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["cache_dir", "fetch", "sha256_of"]

HASHES = "sha256.json"
CHUNK_BYTES = 1 << 20
TRIES = 3  # of one URL, as long as each brings new bytes
PAGE = re.compile(rb"(\xef\xbb\xbf)?\s*<[!?a-z]", re.IGNORECASE)  # "<" alone may be the length of a safetensors header
SPAN = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")  # Content-Range: first byte, last byte, bytes in all

Progress = Callable[[int, int | None], None]  # bytes so far, bytes in all where the server says so


def cache_dir() -> Path:
    """Where downloads are kept: $VIDEOZOO_HOME, else $XDG_CACHE_HOME/videozoo, else ~/.cache/videozoo."""
    home = os.environ.get("VIDEOZOO_HOME")
    cache = Path(home) if home else Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "videozoo"
    return cache.expanduser() / "weights"


def fetch(
    urls: Sequence[str],
    name: str,
    *,
    sha256: str | None = None,
    folder: Path | None = None,
    timeout_s: float = 30.0,
    progress: Progress | None = None,
) -> Path:
    """The file `name` in the cache, fetched from the first of `urls` that answers unless it is there already.

    With VIDEOZOO_OFFLINE=1 nothing is fetched.

    Raises:
        WeightsError: no URL gives the file, or it is not the one that was expected.
    """
    folder = cache_dir() if folder is None else folder
    path = folder / name
    if not path.is_file():
        if os.environ.get("VIDEOZOO_OFFLINE", "0") not in ("", "0"):
            raise WeightsError(
                f"{name}: VIDEOZOO_OFFLINE is set and the file is not in {folder}; {_by_hand(urls, path)}"
            )
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with _locked(path) as parts:
                if not path.is_file():  # nobody fetched it meanwhile
                    _fetch_any(urls, path, parts, sha256=sha256, timeout_s=timeout_s, progress=progress)
        except OSError as error:
            raise WeightsError(
                f"{folder}: cannot be written ({error.strerror or error}); set VIDEOZOO_HOME to a folder"
            ) from error
    _check(path, sha256)
    return path


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[Path]:
    """Waits until no other process or thread holds `path`, then gives the folder for what is not finished.

    The lock goes with its process. Where there are no locks it is a new folder, which is shared with nobody.
    """
    lock = path.with_name(f".{path.name}.lock")
    while fcntl:
        with lock.open("ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX)
            except OSError:  # a file system without locks
                lock.unlink(missing_ok=True)
                break
            if not _is_at(lock, file):  # the one who held it has removed it: the next ones lock another
                continue
            try:
                yield path.parent
            finally:
                lock.unlink(missing_ok=True)
                fcntl.flock(file, fcntl.LOCK_UN)  # closing does not, when a fork has the file open too
            return
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as own:
        yield Path(own)


def _is_at(path: Path, file: IO[bytes]) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def _fetch_any(
    urls: Sequence[str], path: Path, parts: Path, *, sha256: str | None, timeout_s: float, progress: Progress | None
) -> None:
    reasons = []
    for url in urls:
        part = parts / f"{path.name}.{hashlib.sha256(url.encode()).hexdigest()[:8]}.part"
        try:
            _fetch_one(url, part, timeout_s=timeout_s, progress=progress)
        except (OSError, http.client.HTTPException) as error:  # URLError, timeouts and refused connections are OSErrors
            reasons.append(f"{url}: {_reason(error)}")
            continue
        found = sha256_of(part)
        if sha256 is not None and found != sha256:
            part.unlink()
            reasons.append(f"{url}: has sha256 {found}, expected {sha256}")
            continue
        os.replace(part, path)  # noqa: PTH105
        return
    raise WeightsError(f"{path.name}: cannot be downloaded ({'; '.join(reasons)}); {_by_hand(urls, path)}")


def _fetch_one(url: str, part: Path, *, timeout_s: float, progress: Progress | None) -> None:
    """Downloads to `part`, going on after what it holds, and again after a cut as long as there is progress."""
    for left in reversed(range(TRIES)):
        before = _size(part)
        try:
            _transfer(url, part, timeout_s=timeout_s, progress=progress)
            return
        except urllib.error.HTTPError:
            raise
        except (OSError, http.client.HTTPException):
            if not left or _size(part) <= before:
                raise


def _transfer(url: str, part: Path, *, timeout_s: float, progress: Progress | None) -> None:
    start = _size(part)
    marker = part.with_name(f"{part.name}.etag")  # the version that the part is of, empty where the server names none
    known = marker.read_text(encoding="utf-8") if start and marker.is_file() else ""
    request = urllib.request.Request(urllib.parse.quote(url, safe=":/?&=%"))
    if start:
        request.add_header("Range", f"bytes={start}-")
        if known:  # another file by now: the server sends all of it
            request.add_header("If-Range", known)
    try:
        answer = urllib.request.urlopen(request, timeout=timeout_s)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code != 416 or not start:
            raise
        part.unlink()  # the server has less than that: begin again
        return _transfer(url, part, timeout_s=timeout_s, progress=progress)
    with answer:
        chunk = answer.read(CHUNK_BYTES)
        if answer.headers.get_content_type() == "text/html" or (answer.status != 206 and PAGE.match(chunk)):
            raise OSError("a web page came instead of the file, perhaps from a login or a proxy")
        version, length = _version(answer.headers), answer.headers.get("Content-Length")
        span = SPAN.fullmatch(answer.headers.get("Content-Range", "")) if answer.status == 206 else None
        if answer.status != 206:  # the server knows no ranges, or has another file by now
            start = 0
        elif not start:
            raise OSError("the server sends a piece that was not asked for")
        elif not span or int(span[1]) != start or version != known:
            answer.close()
            part.unlink()  # nothing proves that this goes on where the part ends: begin again
            return _transfer(url, part, timeout_s=timeout_s, progress=progress)
        total = int(span[2]) if span and span[2] != "*" else start + int(length) if length else None
        done = start
        with part.open("ab" if start else "wb") as file:
            marker.write_text(version, encoding="utf-8")  # after the old content is gone
            while chunk:
                file.write(chunk)
                done += len(chunk)
                if progress is not None:
                    progress(done, total)
                chunk = answer.read(CHUNK_BYTES)
    if total is not None and done < total:
        raise http.client.IncompleteRead(b"", total - done)
    marker.unlink(missing_ok=True)


def _version(headers: Message) -> str:
    """What If-Range takes: the ETag unless it is a weak one, else the date, else nothing."""
    etag = headers.get("ETag", "")
    return etag if etag and not etag.startswith("W/") else headers.get("Last-Modified", "")


def _check(path: Path, sha256: str | None) -> None:
    """Compares with the known hash, or with the one of the first use, which is noted beside the file."""
    notes = path.parent / HASHES
    noted = _read_notes(notes)
    found = sha256_of(path)
    expected = sha256 or noted.get(path.name)
    if expected is not None and found != expected:
        said = "expected" if sha256 else f"{notes} says"
        raise WeightsError(
            f"{path}: has sha256 {found}, {said} {expected}; delete the file to fetch it again"
            + ("" if sha256 else ", and its line there if the change is wanted")
        )
    if path.name not in noted:
        with contextlib.suppress(OSError), _locked(notes) as unfinished:  # OSError: a cache that only others can write
            noted = {**_read_notes(notes), path.name: found}  # others may have added theirs
            temporary = unfinished / f".{HASHES}.tmp"
            temporary.write_text(json.dumps(noted, indent=1, sort_keys=True), encoding="utf-8")
            os.replace(temporary, notes)  # noqa: PTH105


def _read_notes(path: Path) -> Mapping[str, str]:
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path}: cannot be read ({error}); delete it, hashes are noted anew") from error
    return found if isinstance(found, dict) else {}


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _by_hand(urls: Sequence[str], path: Path) -> str:
    return f"fetch {' or '.join(urls)} on a machine with a network and put it at {path}"


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP {error.code} {error.reason}"
    if isinstance(error, http.client.IncompleteRead):
        return f"the connection was cut, {error.expected} bytes are missing; run it again to go on"
    return str(getattr(error, "reason", None) or error or type(error).__name__)
