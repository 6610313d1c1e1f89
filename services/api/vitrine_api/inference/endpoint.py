"""The Open Inference Protocol over HTTP, in front of everything else that the api serves.

A warm call takes a few milliseconds, so what it passes is short: no router, no dependencies, no pages.
Identity, limits, admission and quotas are the same as elsewhere.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Mapping
from typing import Any

import orjson
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from vitrine_api.errors import BodyTooLarge, as_vitrine_error, headers_of, message_of, status_of
from vitrine_api.inference.addresses import LINK_MODEL, NOWHERE, Address, address_of
from vitrine_api.inference.admission import Admitted
from vitrine_api.inference.calling import NotServed
from vitrine_api.inference.programs import Programs
from vitrine_api.inference.protocol import HEADER_LENGTH, deflated, encode, inflated, parse
from vitrine_api.inference.service import Inference, metadata_of, names_of
from vitrine_api.services import Services
from vitrine_common.errors import Invalid, NotFound, Unauthenticated, VitrineError
from vitrine_common.ids import new_id
from vitrine_common.telemetry import correlation

log = logging.getLogger("vitrine_api.access")

REQUEST_ID = b"x-request-id"
_REQUEST_ID = re.compile(rb"[A-Za-z0-9_-]{8,64}")
_PREFIXES = ("/v2", "/s/")
_JSON = (b"content-type", b"application/json")
_BINARY = (b"content-type", b"application/octet-stream")
_ALWAYS = (
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)
_WORTH_PACKING = 4096
"""Bytes from which on an answer is compressed for clients that ask for it."""
SERVER = {"name": "vitrine", "version": "1", "extensions": ["binary_tensor_data"]}

Headers = Mapping[bytes, bytes]
Answer = tuple[int, bytes, list[tuple[bytes, bytes]]]


class OpenInference:
    """Answers the protocol's addresses; every other request goes on to `app`."""

    def __init__(self, app: ASGIApp, *, services: Services) -> None:
        self._app = app
        self._services = services
        self._inference: Inference = services.inference
        self._limit = services.settings.max_run_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] == "http" and scope["path"].startswith(_PREFIXES):
            raw = scope.get("raw_path") or scope["path"].encode()
            address = address_of(raw.partition(b"?")[0].decode("latin-1"))
            if address is not None:
                await self._answer(scope, receive, send, address)
                return
        await self._app(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, address: Address) -> None:
        began, headers = time.perf_counter(), dict(scope["headers"])
        given = headers.get(REQUEST_ID, b"")
        request_id = given if _REQUEST_ID.fullmatch(given) else new_id("req").encode()
        with correlation(request_id.decode()):
            try:
                status, body, own = await self._carried_out(scope, receive, address, headers)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is answered in the protocol's form
                status, body, own = _refusal(error)
            if status >= 400:
                milliseconds = round((time.perf_counter() - began) * 1000, 1)
                facts = {"verb": address.verb, "status": status, "ms": milliseconds}
                log.info("refused" if status < 500 else "failed", extra=facts)
        length = (b"content-length", str(len(body)).encode())
        start = {"type": "http.response.start", "status": status}
        await send({**start, "headers": [*own, length, (REQUEST_ID, request_id), *_ALWAYS]})
        await send({"type": "http.response.body", "body": body})

    async def _carried_out(
        self, scope: Scope, receive: Receive, address: Address, headers: Headers
    ) -> Answer:
        if address is NOWHERE:
            raise HTTPException(404, "there is nothing at this address of the Open Inference Protocol")
        method = "POST" if address.verb == "infer" else "GET"
        if scope["method"] != method and not (method == "GET" and scope["method"] == "HEAD"):
            raise HTTPException(405, f"this address takes {method}", {"allow": method})
        match address.verb:
            case "server":
                return _json(SERVER)
            case "live":
                return _json({"live": True})
            case "ready":
                ready = self._services.platform.bus.connected
                return _json({"ready": ready}, 200 if ready else 503)
        admitted = await self._admitted(scope, address, headers)
        match address.verb:
            case "infer":
                return await self._infer(admitted, headers, await self._body(receive, headers))
            case "model_ready":
                admitted.check()
                return _json({"name": names_of(admitted)[0], "ready": True})
        return _json(metadata_of(await self._serving(admitted).describe(admitted)))

    def _serving(self, admitted: Admitted) -> Inference | Programs:
        return self._inference if admitted.takes_tensors else self._services.programs

    async def _admitted(self, scope: Scope, address: Address, headers: Headers) -> Admitted:
        if address.token is not None:
            return await self._admitted_by_link(scope, address, headers)
        scheme, _, secret = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
        if scheme.lower() != "bearer" or not secret.strip():
            raise Unauthenticated("send `Authorization: Bearer TOKEN`, or use a link's address, `/s/LINK/v2`")
        reference = address.reference()
        if reference is None:
            raise NotFound(f"`{address.model[:80]}` is no model; write it as `owner~model`")
        return await self._inference.admissions.by_token(secret.strip(), reference)

    async def _admitted_by_link(self, scope: Scope, address: Address, headers: Headers) -> Admitted:
        client = scope.get("client")
        visitor, passed = headers.get(b"x-vitrine-visitor"), headers.get(b"x-vitrine-pass")
        admitted = await self._inference.admissions.by_link(
            address.token or "",
            visitor.decode("latin-1")[:64] if visitor else None,
            passed.decode("latin-1")[:64] if passed else None,
            client[0] if client else "unknown",
        )
        version = names_of(admitted)[1]
        if address.model != LINK_MODEL or address.version not in {None, version}:
            raise NotFound(f"this link has one model: `{LINK_MODEL}`, version {version}")
        return admitted

    async def _body(self, receive: Receive, headers: Headers) -> bytes:
        announced = headers.get(b"content-length", b"0")
        if announced.isdigit() and int(announced[:20]) > self._limit:
            raise BodyTooLarge(self._limit)
        parts, size = [], 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise HTTPException(400, "the client went away")
            part = message.get("body", b"")
            size += len(part)
            if size > self._limit:
                raise BodyTooLarge(self._limit)
            parts.append(part)
            if not message.get("more_body", False):
                break
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        encoding = headers.get(b"content-encoding")
        return inflated(body, encoding.decode("latin-1"), self._limit) if encoding else body

    async def _infer(self, admitted: Admitted, headers: Headers, body: bytes) -> Answer:
        length = headers.get(HEADER_LENGTH.encode())
        request = parse(body, length.decode("latin-1") if length is not None else None)
        try:
            tensors = await self._serving(admitted).infer(admitted, request)
        except VitrineError as error:
            link = admitted.link
            if link is not None and link.blind:
                sight = await self._services.sight(admitted.principal, admitted.version)
                error.message = sight.text(error.message)
            raise
        model, version = names_of(admitted)
        text, json_length = encode(request, tensors, model=model, version=version)
        own = [_JSON]
        if json_length is not None:
            own = [_BINARY, (HEADER_LENGTH.encode(), str(json_length).encode())]
        accepted = headers.get(b"accept-encoding")
        if accepted and len(text) >= _WORTH_PACKING:
            text, encoding = deflated(text, accepted.decode("latin-1"))
            if encoding is not None:
                own.append((b"content-encoding", encoding.encode()))
        return 200, text, own


def _json(value: Any, status: int = 200) -> Answer:
    return status, orjson.dumps(value), [_JSON]


def _refusal(error: Exception) -> Answer:
    """Return the protocol's error object. A wrong request is 400 there, and nothing finer."""
    known = as_vitrine_error(error)
    if not isinstance(error, VitrineError | HTTPException):
        log.error("a call failed", exc_info=error)
    status, own = status_of(known), headers_of(known)
    if isinstance(known, Invalid):
        status = 400
    if isinstance(known, NotServed):
        own["Retry-After"] = str(known.retry_after)
    pairs = [(name.lower().encode(), value.encode("latin-1")) for name, value in own.items()]
    return status, orjson.dumps({"error": message_of(known)}), [_JSON, *pairs]
