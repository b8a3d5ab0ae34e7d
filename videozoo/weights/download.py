"""Downloads files once into a cache, completely or not at all, and verifies them at every use.

A transfer that breaks off continues where it stopped. Every file is compared with its known SHA-256, or with the hash
stored at its first download. If several processes want the same file, one downloads it and the others wait.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import re
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from email.message import Message
from pathlib import Path
from typing import IO

from videozoo.errors import WeightsError
from videozoo.structured import checked, read_json, reason, shown

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["cache_dir", "fetch", "sha256_of"]

HASHES = "sha256.json"
CHUNK_BYTES = 1 << 20
TRIES = 3  # of one URL, as long as each yields new bytes
PAGE = re.compile(rb"(\xef\xbb\xbf)?\s*<[!?a-z]", re.IGNORECASE)  # "<" alone may be the length of a safetensors header
UNPRINTABLE = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")  # absent from text, present in all weights
WEB_PAGE = "a web page came instead of the file, perhaps from a login or a proxy"
HEAD_BYTES = 1024
SLOW_S, SLOWEST_BYTES_PER_S = 30.0, 1024  # a transfer slower than this for so long is given up
SPAN = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")  # Content-Range: first byte, last byte, bytes in all

Progress = Callable[[int, int | None], None]  # bytes so far, bytes in all where the server says so


def cache_dir() -> Path:
    """Returns the folder of downloads: $VIDEOZOO_HOME, else $XDG_CACHE_HOME/videozoo, else ~/.cache/videozoo."""
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
    refresh: bool = False,
) -> Path:
    """Returns the file `name` in the cache; downloads it from the first of `urls` that answers if it is missing.

    With VIDEOZOO_OFFLINE=1 nothing is downloaded.

    Args:
        refresh: downloads the file even if the cache has it; a complete new file replaces the old one.

    Raises:
        WeightsError: no URL has the file, or its hash differs from the expected one.
    """
    folder = cache_dir() if folder is None else folder
    path = folder / name
    if refresh or not path.is_file():
        if os.environ.get("VIDEOZOO_OFFLINE", "0") not in ("", "0"):
            missing = "would be downloaded again" if refresh else f"is not in {folder}"
            raise WeightsError(f"{name}: VIDEOZOO_OFFLINE is set and the file {missing}; {_by_hand(urls, path)}")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with _locked(path) as parts:
                if refresh or not path.is_file():  # no other process has fetched it meanwhile
                    _fetch_any(urls, path, parts, sha256=sha256, timeout_s=timeout_s, progress=progress)
        except OSError as error:
            raise WeightsError(
                f"{folder}: cannot be written ({error.strerror or error}); set VIDEOZOO_HOME to a folder"
            ) from error
    _check(path, sha256, is_new=refresh)
    return path


def sha256_of(path: Path) -> str:
    """Returns the SHA-256 of a file's content, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[Path]:
    """Waits until no other process or thread holds `path`, then yields the folder for unfinished files.

    The lock ends with its process. On a file system without locks the folder is new and private.
    """
    lock = path.with_name(f".{path.name}.lock")
    while fcntl:
        with lock.open("ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX)
            except OSError:  # a file system without locks
                lock.unlink(missing_ok=True)
                break
            if not _is_at(lock, file):  # its last holder has removed it: later ones lock a new file
                continue
            try:
                yield path.parent
            finally:
                lock.unlink(missing_ok=True)
                fcntl.flock(file, fcntl.LOCK_UN)  # closing does not if a fork has the file open, too
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
            _fetch_one(url, part, is_known=sha256 is not None, timeout_s=timeout_s, progress=progress)
        except (OSError, http.client.HTTPException, ValueError) as error:  # URLError and timeouts are OSErrors
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


class _Useless(OSError):
    """A response that a retry would not improve."""


def _fetch_one(url: str, part: Path, *, is_known: bool, timeout_s: float, progress: Progress | None) -> None:
    """Downloads to `part`, resumes after its last byte, and retries after a cut as long as there is progress."""
    for left in reversed(range(TRIES)):
        before = _size(part)
        try:
            _transfer(url, part, is_known=is_known, timeout_s=timeout_s, progress=progress)
            return
        except (urllib.error.HTTPError, _Useless):
            raise
        except (OSError, http.client.HTTPException):
            if not left or _size(part) <= before:
                raise


def _transfer(url: str, part: Path, *, is_known: bool, timeout_s: float, progress: Progress | None) -> None:
    """Downloads to `part`; resumes after its last byte only if the server proves that the version is the same."""
    marker = part.with_name(f"{part.name}.etag")  # version of the part; empty if the server names none
    version = marker.read_text(encoding="utf-8") if marker.is_file() else ""
    start = _size(part) if version else 0
    request = urllib.request.Request(urllib.parse.quote(url, safe=":/?&=%"))
    if start:
        request.add_header("Range", f"bytes={start}-")
        request.add_header("If-Range", version)  # if the file has changed, the server sends all of it
    try:
        answer = urllib.request.urlopen(request, timeout=timeout_s)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code != 416 or not start:
            raise
        part.unlink()  # the server's file is shorter: begin again
        return _transfer(url, part, is_known=is_known, timeout_s=timeout_s, progress=progress)
    with answer:
        span = SPAN.fullmatch(answer.headers.get("Content-Range", "")) if answer.status == 206 else None
        if answer.status == 206 and not start:
            raise _Useless("the server sends an unrequested range")
        if answer.status == 206 and (not span or int(span[1]) != start or _version(answer.headers) != version):
            answer.close()
            part.unlink()  # the range may not continue the part: begin again
            return _transfer(url, part, is_known=is_known, timeout_s=timeout_s, progress=progress)
        if answer.headers.get_content_type() == "text/html":
            raise _Useless(WEB_PAGE)
        start = start if answer.status == 206 else 0  # else it has no ranges, or the file has changed
        length = _length(answer.headers, is_known=is_known)
        total = int(span[2]) if span and span[2] != "*" else start + length if length is not None else None
        done = start
        for chunk in _chunks(answer, is_whole=start == 0):
            with part.open("ab" if done else "wb") as file:
                if done == start:
                    marker.write_text(_version(answer.headers), encoding="utf-8")  # after the old content is gone
                file.write(chunk)
            done += len(chunk)
            if progress is not None:
                progress(done, total)
    if total is not None and done < total:
        raise http.client.IncompleteRead(b"", total - done)
    if total is not None and done > total:
        part.unlink()
        raise _Useless(f"{done} bytes arrived, but the server stated {total}")
    marker.unlink(missing_ok=True)


def _chunks(answer: http.client.HTTPResponse, *, is_whole: bool) -> Iterator[bytes]:
    """Yields the body as it comes.

    Raises:
        OSError: it arrives too slowly, or is empty or text (checked from the first byte), not weights.
    """
    head, since, num_bytes = b"", time.monotonic(), 0
    while chunk := answer.read1(CHUNK_BYTES):
        num_bytes += len(chunk)
        elapsed_s = time.monotonic() - since
        if elapsed_s > SLOW_S:
            if num_bytes < SLOWEST_BYTES_PER_S * elapsed_s:
                rate = f"{num_bytes / elapsed_s:.0f} bytes a second for {elapsed_s:.0f} s"
                raise _Useless(f"it came at {rate}, which is too slow; run it again to go on")
            since, num_bytes = time.monotonic(), 0
        if is_whole:
            head += chunk
            if len(head) < HEAD_BYTES:
                continue
            _refuse_text(head, answer.headers)
            chunk, is_whole = head, False
        yield chunk
    if is_whole:
        _refuse_text(head, answer.headers)
        yield head


def _refuse_text(head: bytes, headers: Message) -> None:
    kind = headers.get_content_type()
    if not head:
        raise _Useless("the answer is empty")
    if PAGE.match(head):
        raise _Useless(WEB_PAGE)
    if kind.endswith("json") or not UNPRINTABLE.search(head[:HEAD_BYTES]):
        raise _Useless(f"text came instead of the file: {shown(head[:60].decode('utf-8', 'replace'))}")


def _length(headers: Message, *, is_known: bool) -> int | None:
    """Returns the stated length of the body; None if the transfer marks its own end.

    Raises:
        OSError: the length is unknown, so that a cut would go unnoticed, or the body is compressed.
    """
    encoding = headers.get("Content-Encoding", "identity")
    if encoding.strip().lower() not in ("", "identity"):
        raise _Useless(f"the server compresses the file ({shown(encoding)}) without being asked to")
    stated = headers.get("Content-Length")
    if stated is None:
        if headers.get("Transfer-Encoding", "").lower() != "chunked" and not is_known:
            raise _Useless("the server does not state the file's length, so that a cut cannot be seen")
        return None
    if not (stated.isascii() and stated.isdigit() and len(stated) < 16):
        raise _Useless(f"the server states a length of {shown(stated)}")
    return int(stated)


def _version(headers: Message) -> str:
    """Returns the value for If-Range: the ETag unless it is weak, else the date, else an empty text."""
    etag = headers.get("ETag", "")
    return etag if etag and not etag.startswith("W/") else headers.get("Last-Modified", "")


def _check(path: Path, sha256: str | None, *, is_new: bool) -> None:
    """Compares with the known hash, or with the hash of the first use, which is stored in the same folder."""
    notes = path.parent / HASHES
    noted = _read_notes(notes)
    found = sha256_of(path)
    expected = sha256 or (None if is_new else noted.get(path.name))
    if expected is not None and found != expected:
        said = "expected" if sha256 else f"{notes} has"
        raise WeightsError(f"{path}: has sha256 {found}, {said} {expected}; fetch it again with --refresh")
    if noted.get(path.name) != found:
        with contextlib.suppress(OSError), _locked(notes) as unfinished:  # OSError: a read-only cache
            noted = {**_read_notes(notes), path.name: found}  # other processes may have added theirs
            temporary = unfinished / f".{HASHES}.tmp"
            temporary.write_text(json.dumps(noted, indent=1, sort_keys=True), encoding="utf-8")
            os.replace(temporary, notes)  # noqa: PTH105


def _read_notes(path: Path) -> Mapping[str, str]:
    if not path.exists():
        return {}
    advice = "delete it, hashes are then stored again"
    found = read_json(path, kind="list of hashes", advice=advice, error=WeightsError)
    return checked(found, dict[str, str], where=path, advice=advice, error=WeightsError)


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _by_hand(urls: Sequence[str], path: Path) -> str:
    return f"fetch {' or '.join(urls)} on a machine with a network and put it at {path}"


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP {error.code} {reason(Exception(error.reason))}"
    if isinstance(error, http.client.IncompleteRead):
        return f"the connection was cut, {error.expected} bytes are missing; run it again to go on"
    inner = getattr(error, "reason", None)
    return reason(inner if isinstance(inner, BaseException) else error)
