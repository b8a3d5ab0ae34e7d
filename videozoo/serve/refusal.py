"""A request that gets no answer: its status, and one line for the client."""

from __future__ import annotations

from collections.abc import Mapping

from videozoo.errors import DataError, DecodeError, VideoZooError
from videozoo.io.limits import LimitError
from videozoo.terminal import escaped

__all__ = ["Refusal", "refusal_of"]


class Refusal(Exception):
    """The reason why a request gets no answer.

    Attributes:
        status: the HTTP status.
        kind: a word for programs, e.g. "size" or "model".
        message: one line for people. It names no path of the server.
        headers: further headers of the response.
    """

    def __init__(self, status: int, kind: str, message: str, headers: Mapping[str, str] | None = None):
        super().__init__(status, kind, message, headers)
        self.status, self.kind, self.headers = status, kind, dict(headers or {})
        self.message = escaped(message)

    def to_dict(self) -> dict[str, dict[str, str]]:
        """Returns the body of the response."""
        return {"error": {"kind": self.kind, "message": self.message}}


def refusal_of(error: VideoZooError, *, path: str, name: str) -> Refusal:
    """Returns the refusal for an error about the file at `path`, which the client knows as `name`."""
    if isinstance(error, LimitError):
        return Refusal(422, "limit", f"{name}: {error.reason}; send a smaller video".replace(path, name))
    if isinstance(error, DecodeError):
        return Refusal(415, "video", f"{name}: {error.reason}; send another file".replace(path, name))
    kind = "data" if isinstance(error, DataError) else "request"
    return Refusal(422, kind, str(error).replace(path, name))
