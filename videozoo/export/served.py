"""Asks a server of `videozoo serve` for its answers, to compare them with those of the networks here."""

from __future__ import annotations

import dataclasses
import http.client
import json
import secrets
import time
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from videozoo.errors import ConfigError, DataError
from videozoo.structured import parse_json, reason

__all__ = ["TOP", "Document", "Server", "apart", "best_of"]

TOP = 1000  # entries of an answer that are compared; a server gives no more
CHUNK_BYTES = 1 << 20
TIMEOUT_S = 600.0

Document = Mapping[str, Any]  # a prediction as plain values


@dataclasses.dataclass(frozen=True)
class Server:
    """A running server.

    Attributes:
        url: its address.
        model: the name of the model to ask; None asks the default one.
        token: its secret, if it has one.
    """

    url: str
    model: str | None = None
    token: str | None = dataclasses.field(default=None, repr=False)

    def answer(self, video: Path, *, window_s: float | None, query: str | None) -> tuple[Document, float]:
        """Returns its prediction for a video, and the seconds that it took, transfer included.

        Raises:
            ConfigError: there is no server at the address.
            DataError: it refuses the video, or gives no answer.
        """
        options = {"model": self.model, "window_s": window_s, "query": query}
        wanted = {"top_k": TOP, "threshold": 0, "max_overlap": 1, **options}
        given = {name: value for name, value in wanted.items() if value is not None}
        began_s = time.perf_counter()
        status, body = self._post(f"/api/predict?{urllib.parse.urlencode(given)}", video)
        took_s = time.perf_counter() - began_s
        found = parse_json(body, where=self.url, advice="check that it is a server of videozoo")
        if status == http.client.OK:
            try:
                (prediction,) = found["predictions"]
                return dict(prediction), took_s
            except (KeyError, TypeError, ValueError) as error:
                raise DataError(f"{self.url}: gives no answer of videozoo ({reason(error)}); check the URL") from error
        detail = found.get("error") if isinstance(found, dict) else None
        told = detail.get("message") if isinstance(detail, dict) else None
        raise DataError(f"{video}: {self.url} refuses it with status {status} ({told}); check the server's options")

    def _post(self, page: str, video: Path) -> tuple[int, bytes]:
        """Sends a file in a form."""
        boundary = secrets.token_hex(16)
        name = video.name.replace('"', "_").encode("utf-8", errors="replace")
        head = b'--%s\r\nContent-Disposition: form-data; name="file"; filename="%s"\r\n\r\n' % (boundary.encode(), name)
        tail = b"\r\n--%s--\r\n" % boundary.encode()
        headers = {
            "Content-Type": f"multipart/form-data; boundary={boundary}",
            "Content-Length": str(len(head) + video.stat().st_size + len(tail)),
        }
        if self.token is not None:
            headers["Authorization"] = f"Bearer {self.token}"
        parts = urllib.parse.urlsplit(self.url)
        kinds = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}
        if parts.scheme not in kinds or not parts.hostname:
            raise ConfigError(f"--url: '{self.url}' is not the address of a server; write e.g. http://127.0.0.1:8000")
        connection = kinds[parts.scheme](parts.hostname, parts.port, timeout=TIMEOUT_S)
        try:
            connection.request("POST", parts.path.rstrip("/") + page, _pieces(head, video, tail), headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise ConfigError(f"--url: {self.url} does not answer ({reason(error)}); start `videozoo serve`") from error
        finally:
            connection.close()


def _pieces(head: bytes, video: Path, tail: bytes) -> Iterator[bytes]:
    yield head
    with video.open("rb") as file:
        while piece := file.read(CHUNK_BYTES):
            yield piece
    yield tail


def apart(ours: Any, theirs: Any) -> float:
    """Returns the largest difference of two predictions as plain values; infinite where more than numbers differ.

    The ids and properties of the video do not count. Entries with names are compared by name.
    """
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        first, second = ({k: v for k, v in each.items() if k not in ("id", "info")} for each in (ours, theirs))
        if first.keys() != second.keys():
            return float("inf")
        return max((apart(first[key], second[key]) for key in first), default=0.0)
    if isinstance(ours, list) and isinstance(theirs, list):
        if (named := _by_name(ours)) is not None and (others := _by_name(theirs)) is not None:
            return apart(named, others)
        if len(ours) != len(theirs):
            return float("inf")
        return max((apart(a, b) for a, b in zip(ours, theirs, strict=True)), default=0.0)
    if isinstance(ours, int | float) and isinstance(theirs, int | float):
        return abs(ours - theirs)
    return 0.0 if ours == theirs else float("inf")


def _by_name(entries: Sequence[Any]) -> dict[str, Any] | None:
    """Returns entries by name; None if they have none, or share one."""
    named = {entry["name"]: entry for entry in entries if isinstance(entry, Mapping) and "name" in entry}
    return named if entries and len(named) == len(entries) else None


def best_of(prediction: Document) -> tuple[str, ...]:
    """Returns the words of the best entries of a prediction and of its windows, one text each."""
    answers = [prediction, *prediction.get("windows", ())]
    return tuple(_words(answer) for answer in answers)


def _words(answer: Document) -> str:
    parts = {key: value for key, value in answer.items() if key not in ("id", "info", "windows", "found")}
    best = [value[:1] if isinstance(value, list) else value for value in parts.values() if not _is_number(value)]
    return json.dumps([_without_numbers(value) for value in best], ensure_ascii=False)


def _without_numbers(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_numbers(part) for key, part in value.items() if not _is_number(part)}
    return [_without_numbers(part) for part in value] if isinstance(value, list) else value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)
