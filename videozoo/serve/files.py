"""The files of requests: uploads in a private folder, and files below the root by path."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import anyio
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from videozoo.io.process import ProcessMark
from videozoo.serve.refusal import Refusal
from videozoo.terminal import escaped

__all__ = ["SentFile", "UploadFolder", "file_below", "in_time", "too_large"]

PREFIX = "videozoo-serve-"
FIELD = "file"
LEAST_BYTES_PER_S = 250_000  # of a body, after the first seconds
FORM_BYTES = 64 << 10  # of the form around the file
MAX_NAME = 200


@dataclasses.dataclass(frozen=True)
class SentFile:
    """A file to answer for: its path here, and the name that the client gave it."""

    path: Path
    name: str


class UploadFolder:
    """A private folder in which each upload lives until its answer is sent.

    Its name holds the mark of the process, so that the next server deletes what a killed one has left.
    """

    def __init__(self) -> None:
        for left in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
            mark = ProcessMark.parse(left.name.removeprefix(PREFIX).rpartition("-")[0])
            if mark is not None and mark.is_dead:
                shutil.rmtree(left, ignore_errors=True)
        self.path = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{ProcessMark.own()}-"))  # of mode 0700

    def close(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)

    @contextlib.asynccontextmanager
    async def receiving(
        self, chunks: AsyncIterator[bytes], content_type: str, *, size_bytes: int, time_s: float
    ) -> AsyncIterator[SentFile]:
        """Writes the file of a form to the folder while it arrives, and deletes it when the block ends.

        Args:
            time_s: for the first bytes; the rest may take longer, see `in_time`.

        Raises:
            Refusal: the form has no file or two, or is damaged; the file is too large, or too slow.
        """
        place = self.path / secrets.token_hex(16)
        place.mkdir()
        try:
            yield await _received(chunks, _Form(place, content_type, size_bytes), time_s)
        finally:
            shutil.rmtree(place, ignore_errors=True)


async def _received(chunks: AsyncIterator[bytes], form: _Form, time_s: float) -> SentFile:
    try:
        async for chunk in in_time(chunks, time_s):
            form.take(chunk)
    finally:
        form.close()
    return form.finished()


async def in_time(chunks: AsyncIterator[bytes], time_s: float) -> AsyncIterator[bytes]:
    """Yields the pieces of a body; the time that it may take grows with its length.

    Raises:
        Refusal: the sender is too slow.
    """
    iterator, ends_s = aiter(chunks), anyio.current_time() + time_s
    while True:
        try:
            with anyio.fail_after(ends_s - anyio.current_time()):
                chunk = await anext(iterator)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise Refusal(408, "time", "body: arrives too slowly; send it faster, or as a smaller file") from None
        ends_s += len(chunk) / LEAST_BYTES_PER_S
        yield chunk


@contextlib.contextmanager
def _damage_refused() -> Iterator[None]:
    try:
        yield
    except FormParserError as error:
        raise Refusal(400, "form", f"body: is a damaged form ({error}); send multipart/form-data") from None


class _Form:
    """Reads a multipart form piece by piece and writes its one file."""

    def __init__(self, folder: Path, content_type: str, size_bytes: int):
        kind, options = parse_options_header(content_type)
        if kind != b"multipart/form-data" or not options.get(b"boundary"):
            raise Refusal(415, "form", "body: is not a form with a file; send multipart/form-data, or JSON with a path")
        self._folder, self._size_bytes = folder, size_bytes
        self._header, self._headers = b"", dict[bytes, bytes]()
        self._value = b""
        self._part: BinaryIO | None = None
        self._file: SentFile | None = None
        self._num_bytes, self._total = 0, 0
        self._is_whole = False
        callbacks = {
            "on_part_begin": self._begin,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_finished,
            "on_part_data": self._data,
            "on_part_end": self.close,
            "on_end": self._end,
        }
        with _damage_refused():
            self._parser = MultipartParser(options[b"boundary"], callbacks)  # type: ignore[arg-type]

    def take(self, chunk: bytes) -> None:
        """Takes the next piece of the form.

        Raises:
            Refusal: the form is damaged, or its file too large.
        """
        self._total += len(chunk)
        if self._total > self._size_bytes + FORM_BYTES:
            raise too_large(self._size_bytes)
        with _damage_refused():
            self._parser.write(chunk)

    def finished(self) -> SentFile:
        """Returns the file.

        Raises:
            Refusal: there is none, or the form is cut.
        """
        if not self._is_whole:
            raise Refusal(400, "form", "body: the form is cut; send it again")
        if self._file is None:
            raise Refusal(422, "form", f"body: the form has no file; send one in the field '{FIELD}'")
        return self._file

    def close(self) -> None:
        if self._part is not None:
            self._part.close()
            self._part = None

    def _begin(self) -> None:
        self._headers = {}

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        self._headers[self._header.lower()] = self._value
        self._header = self._value = b""

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        if options.get(b"name") != FIELD.encode() or b"filename" not in options:
            return
        if self._file is not None:
            raise Refusal(422, "form", "body: the form has two files; send one a request")
        name = shown_name(options[b"filename"].decode("utf-8", errors="replace"))
        self._file = SentFile(self._folder / f"upload{_safe_suffix(name)}", name)
        self._part = self._file.path.open("xb")

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._part is None:
            return
        self._num_bytes += end - start
        if self._num_bytes > self._size_bytes:
            raise too_large(self._size_bytes)
        self._part.write(memoryview(data)[start:end])

    def _end(self) -> None:
        self._is_whole = True


def too_large(size_bytes: int) -> Refusal:
    """Returns the refusal of a file above the limit."""
    return Refusal(413, "size", f"upload: is larger than the {size_bytes} bytes allowed; send a smaller file")


def shown_name(name: str) -> str:
    """Returns the last part of a file's name, on one line."""
    return escaped(re.split(r"[/\\]", name)[-1])[:MAX_NAME] or "upload"


def _safe_suffix(name: str) -> str:
    """Returns the ending of a name if it is a plain one; decoders and feature files are chosen by it."""
    suffix = Path(name).suffix.lower()
    return suffix if re.fullmatch(r"\.[a-z0-9]{1,10}", suffix) else ""


def file_below(root: Path | None, text: Any) -> SentFile:
    """Returns the file that a client names by its path below the root.

    Raises:
        Refusal: there is no root; or no such file in it, also if a link or `..` leads out of it.
    """
    if root is None:
        raise Refusal(403, "path", "path: this server answers for uploads only; upload the file")
    if not isinstance(text, str) or not text or len(text) > 4096 or "\0" in text:
        raise Refusal(422, "path", 'body: has no path; send {"path": "folder/video.mp4"}')
    missing = Refusal(404, "path", f"{shown_name(text)}: no such file in the server's folder; check its path")
    try:
        home = root.resolve(strict=True)
        found = (home / text).resolve(strict=True)
        if not found.is_relative_to(home) or not found.is_file():
            raise missing
    except (OSError, ValueError, RuntimeError):  # also a circle of links
        raise missing from None
    return SentFile(found, escaped(found.relative_to(home).as_posix()))
