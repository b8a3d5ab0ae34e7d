"""The door of the app: every request passes it, and it alone decides who enters.

It checks the token and the host, gives each request an id, turns errors into answers, adds security headers, and
records each request in the log and the metrics.
"""

from __future__ import annotations

import hmac
import ipaddress
import json
import logging
import re
import secrets
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import anyio
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect

from videozoo.serve.refusal import Refusal
from videozoo.serve.service import Service

__all__ = ["Door", "is_loopback"]

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

OPEN = ("/healthz", "/readyz", "/", "/page/")  # without a token; the page asks for it
DRAIN_S, DRAIN_BYTES = 3.0, 64 << 20  # read after a refusal, so that the client sees it before the connection ends
SECURITY = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "media-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}

log = logging.getLogger("videozoo.serve")


def is_loopback(host: str) -> bool:
    """Returns whether only programs of this machine can reach a host."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class Door:
    """ASGI middleware; see the module."""

    def __init__(self, app: App, service: Service):
        self._app, self._service = app, service

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        visit = _Visit(scope, receive, send)
        try:
            self._check(scope["path"], visit.headers)
            await self._app(scope, visit.receive, visit.send)
        except Refusal as refusal:
            await visit.refuse(refusal)
        except ClientDisconnect:
            visit.status = 499
        except Exception:  # a fault of this package: the request fails, and the server goes on
            log.exception("request failed", extra={"fields": {"id": visit.id}})
            await visit.refuse(
                Refusal(500, "internal", f"the server failed; its log has the reason, request {visit.id}")
            )
        finally:
            self._record(scope, visit)

    def _check(self, path: str, headers: Headers) -> None:
        """Refuses strangers.

        Raises:
            Refusal: the token is missing or wrong, or the request was made for another host.
        """
        token = self._service.settings.token
        if token is None:  # a page of another site must not reach this server by a name that it controls
            if not is_loopback(re.sub(r":\d*$", "", headers.get("host", ""))):
                raise Refusal(421, "host", "host: this server answers for localhost only; start it with --token")
            if headers.get("sec-fetch-site") == "cross-site" and headers.get("sec-fetch-mode") != "navigate":
                raise Refusal(403, "host", "origin: this server answers no other site; start it with --token")
            return
        if path in OPEN or path.startswith("/page/"):
            return
        kind, _, given = headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), token.encode()):
            raise Refusal(
                401,
                "token",
                "token: is missing or wrong; send the header 'Authorization: Bearer TOKEN'",
                {"WWW-Authenticate": "Bearer"},
            )

    def _record(self, scope: MutableMapping[str, Any], visit: _Visit) -> None:
        took_s = time.monotonic() - visit.began_s
        route = getattr(scope.get("route"), "path", "other")
        method = scope["method"] if scope["method"] in ("GET", "HEAD", "POST") else "other"
        metrics = self._service.metrics
        metrics.requests.labels(route, method, str(visit.status)).inc()
        metrics.request_s.labels(route).observe(took_s)
        metrics.upload_bytes.inc(visit.received_bytes)
        fields = {
            "id": visit.id,
            "method": scope["method"],
            "path": scope["path"],
            "status": visit.status,
            "seconds": round(took_s, 6),
            "received_bytes": visit.received_bytes,
            **scope.get("state", {}).get("fields", {}),
        }
        log.info("request", extra={"fields": fields})


class _Visit:
    """One request on its way through the door."""

    def __init__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send):
        self.id = secrets.token_hex(8)
        self.headers = Headers(scope=scope)
        self.began_s = time.monotonic()
        self.status = 0
        self.received_bytes = 0
        self._receive, self._send = receive, send
        self._has_body = "content-length" in self.headers or "transfer-encoding" in self.headers
        self._is_read = not self._has_body

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self.received_bytes += len(message.get("body", b""))
            self._is_read = not message.get("more_body", False)
        else:
            self._is_read = True
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(raw=message.setdefault("headers", []))
            headers["X-Request-Id"] = self.id
            for name, value in SECURITY.items():
                headers.setdefault(name, value)
            headers.setdefault("Cache-Control", "no-store")
            if self.status >= 400 and not self._is_read:
                if self.status != 408:  # of a sender that is too slow already
                    await self._drain()
                headers["Connection"] = "close"
        await self._send(message)

    async def refuse(self, refusal: Refusal) -> None:
        """Answers with a refusal, unless an answer has begun."""
        if self.status:
            return
        body = json.dumps(refusal.to_dict(), ensure_ascii=False).encode("utf-8", errors="backslashreplace")
        headers = {
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            **refusal.headers,
        }
        raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
        await self.send({"type": "http.response.start", "status": refusal.status, "headers": raw})
        await self.send({"type": "http.response.body", "body": body})

    async def _drain(self) -> None:
        """Reads a part of the rest of the body; a client that still sends would not see the response."""
        if "expect" in self.headers:  # the client waits for the response
            return
        end_bytes = self.received_bytes + DRAIN_BYTES
        with anyio.move_on_after(DRAIN_S):
            while not self._is_read and self.received_bytes < end_bytes:
                await self.receive()
