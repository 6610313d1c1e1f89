"""What surrounds every request: its identity and span, security headers, and the limit of its body.

Plain ASGI, because Starlette's `BaseHTTPMiddleware` would buffer between the app and streams.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Sequence
from urllib.parse import urlsplit

from opentelemetry import trace
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vitrine_api.errors import BodyTooLarge
from vitrine_api.pages import error_response
from vitrine_api.rendering import CONTENT_SECURITY_POLICY
from vitrine_api.settings import ApiSettings
from vitrine_common.ids import new_id
from vitrine_common.receipts.dsse import MAX_ENVELOPE_BYTES
from vitrine_common.telemetry import correlation, metrics, span

log = logging.getLogger("vitrine_api.access")

REQUEST_ID = "x-request-id"
_REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{8,64}")

SECURITY_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Share tokens stand in addresses: they must not travel on in a Referer.
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
    "Cache-Control": "no-store",
}
"""Set where the route has not set its own."""


_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Identity:
    """Gives each request an id (taken from, and answered in, `X-Request-Id`), a span and a log line."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get(REQUEST_ID, "")
        request_id = given if _REQUEST_ID.fullmatch(given) else new_id("req")
        parent = {"traceparent": headers["traceparent"]} if "traceparent" in headers else None
        with correlation(request_id), span(scope["method"], parent=parent) as opened:
            await self._app(scope, receive, _Answer(scope, send, request_id, opened))


class _Answer:
    """Sends on, with the request's id in the headers; names the span by the route that was taken."""

    def __init__(self, scope: Scope, send: Send, request_id: str, opened: trace.Span) -> None:
        self._scope = scope
        self._send = send
        self._request_id = request_id
        self._span = opened
        self._started = time.perf_counter()

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message)[REQUEST_ID] = self._request_id
            self._describe(int(message["status"]))
        await self._send(message)

    def _describe(self, status: int) -> None:
        route = getattr(self._scope.get("route"), "path", "no route")
        self._span.update_name(f"{self._scope['method']} {route}")
        self._span.set_attribute("http.response.status_code", status)
        self._span.set_attribute("http.route", route)
        seconds = time.perf_counter() - self._started
        method = self._scope["method"] if self._scope["method"] in _METHODS else "other"
        metrics.observe("vitrine_http_request_seconds", seconds, method=method, status=f"{status // 100}xx")
        if status >= 400:
            milliseconds = round(seconds * 1000, 1)
            facts = {"method": self._scope["method"], "route": route, "status": status, "ms": milliseconds}
            log.info("refused" if status < 500 else "failed", extra=facts)


class OwnAddress:
    """Lets every request be one to the public address, whatever host and scheme it claims for itself.

    What is made of a request's own address (redirects, above all) leads nowhere else then. The headers of
    clients that ask by another name, such as probes, are ignored and not refused.
    """

    def __init__(self, app: ASGIApp, *, public_url: str) -> None:
        self._app = app
        parts = urlsplit(public_url)
        self._scheme, self._host = parts.scheme, parts.netloc.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] == "http" and self._host:
            claimed = {b"host", b"x-forwarded-host", b"forwarded"}
            kept = [pair for pair in scope["headers"] if pair[0] not in claimed]
            scope = {**scope, "scheme": self._scheme, "headers": [*kept, (b"host", self._host)]}
        await self._app(scope, receive, send)


class SecureHeaders:
    """Adds `SECURITY_HEADERS`; browsers that came by https are told to stay there."""

    def __init__(self, app: ASGIApp, *, https: bool) -> None:
        self._app = app
        self._headers = dict(SECURITY_HEADERS)
        if https:
            self._headers["Strict-Transport-Security"] = "max-age=31536000"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""

        async def secured(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
                # Browsers that know `frame-ancestors` ignore the older header; the others must not refuse.
                if "frame-ancestors 'none'" not in headers["Content-Security-Policy"]:
                    del headers["X-Frame-Options"]
            await send(message)

        await self._app(scope, receive, secured if scope["type"] == "http" else send)


def body_limits(settings: ApiSettings) -> Sequence[tuple[re.Pattern[str], int]]:
    """Return the largest bodies by `METHOD path`, the first match deciding."""
    return (
        (re.compile(r"PUT /api/v1/blobs"), settings.max_blob_bytes),
        (re.compile(r"POST /api/v1/(versions|trainings)"), settings.max_manifest_bytes),
        (re.compile(r"POST /api/v1/(versions/[^/]+/[^/]+/[^/]+|links/[^/]+)/runs"), settings.max_run_bytes),
        (re.compile(r"POST /(s/[^/]+|e/[^/]+/[^/]+)/runs"), settings.max_run_bytes),
        (re.compile(r"POST (/v1/models/[^/]+/[^/]+|/s/[^/]+/v1)/runs"), settings.max_run_bytes),
        (re.compile(r"POST /api/v1/datasets"), settings.max_manifest_bytes),
        (
            re.compile(r"POST (/api/v1|/api/v1/links/[^/]+|/s/[^/]+|/e/[^/]+/[^/]+)?/claims/checks"),
            settings.max_run_bytes,
        ),
        (re.compile(r"POST /models/[^/]+/[^/]+/versions/[^/]+/runs"), settings.max_run_bytes),
        (re.compile(r"POST /verify"), settings.max_blob_bytes),
        (re.compile(r"POST /api/v1/receipts/verify"), MAX_ENVELOPE_BYTES),
        (re.compile(r".*", re.DOTALL), settings.max_body_bytes),
    )


class BodyLimit:
    """Refuses bodies over their route's limit: announced ones before a byte is read, others as they grow."""

    def __init__(self, app: ASGIApp, *, settings: ApiSettings) -> None:
        self._app = app
        self._limits = body_limits(settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        target = f"{scope['method']} {scope['path']}"
        limit = next(limit for pattern, limit in self._limits if pattern.fullmatch(target))
        announced = Headers(scope=scope).get("content-length", "0")
        if announced.isascii() and announced.isdigit() and int(announced[:20]) > limit:
            response = await error_response(Request(scope, receive), BodyTooLarge(limit))
            await response(scope, receive, send)
            return
        await self._app(scope, _Counted(receive, limit), send)


class _Counted:
    def __init__(self, receive: Receive, limit: int) -> None:
        self._receive = receive
        self._limit = limit
        self._size = 0

    async def __call__(self) -> Message:
        message = await self._receive()
        self._size += len(message.get("body", b""))
        if self._size > self._limit:
            raise BodyTooLarge(self._limit)
        return message


class Shield:
    """Answers what no route expected with 500 and logs it, inside of what names and secures answers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def noted(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, noted)
        except Exception as error:
            log.exception("a request failed")
            if started:
                raise  # the connection breaks off, so that nobody takes half an answer for a whole one
            response = await error_response(Request(scope, receive), error)
            await response(scope, receive, send)
