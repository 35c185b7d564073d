"""What every request passes first: who may ask, how much is taken on, what is logged, and headers for browsers."""

import hmac
import json
import logging
import re
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from act2sal.serve.metrics import Metrics
from act2sal.serve.problems import ProblemError, busy
from act2sal.serve.settings import Settings

logger = logging.getLogger("act2sal.serve")

CLIENT_GONE = 499
"""Logged in place of a status where nobody waits for the answer any more."""

OPEN = ("/v1/health", "/v1/openapi.json")
"""What needs no token, beside the pages themselves, which hold nothing of anybody."""

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
"""Of the content that pages may load: scripts and styles of the package alone."""

SECURE = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cross-Origin-Opener-Policy": "same-origin",
}

_REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass
class _Passage:
    """One request on its way: its id, when it began, and what was answered."""

    id: str
    began: float = field(default_factory=time.perf_counter)
    status: int = 0
    sent: int = 0


class Gate:
    """ASGI middleware.

    Args:
        app: behind it.
        settings: hosts, token, origins and limits.
        metrics: counts.
    """

    def __init__(self, app: ASGIApp, settings: Settings, metrics: Metrics) -> None:
        self.app, self.settings, self.metrics = app, settings, metrics
        self.held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let one request pass, or answer it with a problem."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        told = headers.get("x-request-id", "")
        passage = _Passage(told if _REQUEST_ID.fullmatch(told) else uuid.uuid4().hex)
        scope.setdefault("state", {})["request_id"] = passage.id
        send = self._sending(scope, headers, send, passage)
        try:
            await self._pass(scope, headers, receive, send)
        except ProblemError as problem:
            await problem.response(passage.id)(scope, receive, send)
        except ClientDisconnect:
            passage.status = passage.status or CLIENT_GONE
        except Exception:  # a fault of ours ends this request, and not the service
            logger.exception("request %s failed", passage.id)
            if not passage.status:
                fault = ProblemError(500, "the service made a mistake; its log names the request")
                await fault.response(passage.id)(scope, receive, send)
        finally:
            self._note(scope, passage)

    async def _pass(self, scope: Scope, headers: Headers, receive: Receive, send: Send) -> None:
        self._refuse_host(headers)
        self._refuse_origin(scope, headers)
        if scope["method"] == "OPTIONS" and self.settings.origins:
            await self.app(scope, receive, send)
            return
        self._refuse_stranger(scope, headers)
        if scope["method"] != "POST":
            await self.app(scope, receive, send)
            return
        if self.held >= self.settings.limits.queue:
            raise busy(f"{self.held} requests are held already; come back in a moment")
        self.held += 1
        self.metrics.held.set(self.held)
        try:
            await self.app(scope, receive, send)
        finally:
            self.held -= 1
            self.metrics.held.set(self.held)

    def _refuse_host(self, headers: Headers) -> None:
        """A page of another site could reach a service of this machine by a name of its own (DNS rebinding)."""
        hosts = self.settings.hosts
        if hosts and host_of(headers.get("host", "")) not in hosts:
            raise ProblemError(421, "this service is not known by that name; --name makes it known")

    def _refuse_origin(self, scope: Scope, headers: Headers) -> None:
        """Pages of other sites may send forms here without asking; the browser tells where they come from."""
        origin = headers.get("origin")
        if origin is None or scope["method"] in ("GET", "HEAD") or origin in self.settings.origins:
            return
        if urlsplit(origin).netloc != headers.get("host"):
            raise ProblemError(403, "pages of other sites may not call this service; --cors lets one do so")

    def _refuse_stranger(self, scope: Scope, headers: Headers) -> None:
        path: str = scope["path"]
        worked = path.startswith(("/v1/", "/v1.0/", "/metrics"))
        if self.settings.token is None or path in OPEN or not worked:
            return
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        given = bearer.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")
        if not hmac.compare_digest(given.encode(), self.settings.token.encode()):
            raise ProblemError(
                401,
                "send the token as Authorization: Bearer TOKEN or X-Api-Key",
                {"WWW-Authenticate": "Bearer"},
            )

    def _sending(self, scope: Scope, headers: Headers, send: Send, passage: _Passage) -> Send:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                passage.status = message["status"]
                self._add_headers(scope, headers, MutableHeaders(scope=message), passage)
            passage.sent += len(message.get("body", b""))
            await send(message)

        return sending

    def _add_headers(self, scope: Scope, asked: Headers, headers: MutableHeaders, passage: _Passage) -> None:
        headers["X-Request-ID"] = passage.id
        headers.update(SECURE)
        if "cache-control" not in headers:
            headers["Cache-Control"] = "no-store" if scope["path"].startswith("/v1") else "no-cache"
        headers["Cross-Origin-Resource-Policy"] = (
            "cross-origin" if asked.get("origin") in self.settings.origins else "same-origin"
        )

    def _note(self, scope: Scope, passage: _Passage) -> None:
        """Count and log a request, by its route: what a client wrote into the address is not logged."""
        seconds = time.perf_counter() - passage.began
        route = getattr(scope.get("route"), "path", "other")
        self.metrics.requests.labels(scope["method"], route, passage.status).inc()
        self.metrics.seconds.labels(route).observe(seconds)
        row = {
            "time": round(time.time(), 3),
            "request": passage.id,
            "method": scope["method"],
            "route": route,
            "status": passage.status,
            "ms": round(1000 * seconds, 1),
            "sent": passage.sent,
        }
        logger.info("%s", json.dumps(row))


def host_of(header: str) -> str:
    """The name in a header `Host`, without its port, in lower case; of IPv6 without brackets."""
    return (urlsplit(f"//{header}").hostname or "") if _is_host(header) else ""


def _is_host(header: str) -> bool:
    try:
        urlsplit(f"//{header}")
    except ValueError:
        return False
    return bool(header) and not set(header) & set("/@?#\\")


def known_hosts(host: str, names: Sequence[str]) -> frozenset[str]:
    """The names by which a service that listens on `host` may be called; empty: any, as a token guards it."""
    if host not in LOOPBACK:
        return frozenset()
    return frozenset({*LOOPBACK, *(name.lower() for name in names)})


LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
"""Names of this machine for itself."""
