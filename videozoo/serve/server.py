"""Runs a service as a server of its own: the socket, the log, and the stop."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import sys
import time
from types import FrameType
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from videozoo.errors import ConfigError
from videozoo.serve.app import create_app
from videozoo.serve.service import Service

__all__ = ["JsonLines", "bound_socket", "log_as_json", "run_server"]

HEADERS_S = 10.0  # for the head of a request to arrive
MAX_CONNECTIONS = 512

log = logging.getLogger("videozoo.serve")


def bound_socket(host: str, port: int) -> socket.socket:
    """Returns a socket at an address; port 0 takes a free one.

    Raises:
        ConfigError: the address cannot be used.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except (OSError, OverflowError) as error:
        bound.close()
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"{host}:{port}: cannot be used ({reason.lower()}); give another --host or --port") from error
    return bound


def url_of(bound: socket.socket) -> str:
    """Returns the URL of a server at a socket."""
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def run_server(service: Service, bound: socket.socket) -> None:
    """Serves until SIGTERM or Ctrl-C; requests in progress are finished, new ones are refused."""
    config = uvicorn.Config(
        create_app(service),
        http=_Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=5,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_graceful_shutdown=10,
    )
    _Server(config, service).run(sockets=[bound])
    log.info("stopped")


class _Server(uvicorn.Server):
    """Answers 503 from the signal on, and ends when no request is in progress; a second signal ends it at once."""

    def __init__(self, config: uvicorn.Config, service: Service):
        super().__init__(config)
        self._service = service
        self._ends_s = float("inf")

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._service.is_stopping:
            self.should_exit = self.force_exit = True
            return
        self._service.is_stopping = True
        self._ends_s = time.monotonic() + 2 * self._service.settings.limits.time_s

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for bound in sockets or ():
            fields = {"url": url_of(bound), "models": list(self._service.models)}
            log.info("ready", extra={"fields": fields})

    async def on_tick(self, counter: int) -> bool:
        if self._service.is_stopping and (not self._service.num_active or time.monotonic() > self._ends_s):
            self.should_exit = True
        return await super().on_tick(counter)


class _Protocol(H11Protocol):
    """HTTP/1.1 that ends connections whose request does not begin in time."""

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_watching()
        super().connection_lost(exc)

    def _watch(self) -> None:
        if self.conn.their_state is not h11.IDLE:
            self._stop_watching()
        elif self._timer is None:
            self._timer = self.loop.call_later(HEADERS_S, self._give_up)

    def _give_up(self) -> None:
        self._timer = None
        if self.conn.their_state is h11.IDLE and not self.transport.is_closing():
            self.transport.close()

    def _stop_watching(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class JsonLines(logging.Formatter):
    """Formats records as one JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            fields["error"] = self.formatException(record.exc_info)
        return json.dumps(fields, ensure_ascii=True, default=str)


def log_as_json(level: int = logging.INFO) -> None:
    """Writes the log to stderr as JSON lines."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.getLogger("videozoo.serve").setLevel(level)
    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # of a damaged form, its client hears
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    logging.captureWarnings(True)
