"""A platform in memory, for tests of the client: what it was asked, and answers that go wrong on purpose."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from vitrine.client import Client
from vitrine.transport import Patience

URL = "http://platform.test"
STORE = "http://store.test"
DIGEST = "sha256:" + "ab" * 32
Handler = Callable[[httpx.Request], httpx.Response]


def version(**changes: Any) -> dict[str, Any]:
    """A version as the API tells it."""
    base: dict[str, Any] = {
        "id": "version_1",
        "reference": "ada/filter@1",
        "owner": "ada",
        "model": "filter",
        "number": 1,
        "digest": DIGEST,
        "state": "ready",
        "inputs": [{"name": "image", "type": "image"}],
        "warnings": [],
        "events_url": "/api/v1/versions/version_1/events",
    }
    return base | changes


def run(**changes: Any) -> dict[str, Any]:
    """A run as the API tells it."""
    base: dict[str, Any] = {
        "id": "run_01jabcdefghjkmnpqrstvwxyz0",
        "state": "succeeded",
        "final": True,
        "version": "ada/filter@1",
        "outputs": [],
        "timings": {"total_ms": 1234.0, "compute_ms": 1000.0},
        "cold": True,
    }
    return base | changes


def problem(status: int, detail: str, *errors: tuple[str, str]) -> httpx.Response:
    """Problem details (RFC 9457)."""
    listed = [{"field": where, "message": message} for where, message in errors]
    body = {"title": "No", "status": status, "detail": detail, "errors": listed, "request_id": "req-12345"}
    return httpx.Response(status, json=body, headers={"Content-Type": "application/problem+json"})


def events(*told: tuple[str, dict[str, Any]]) -> httpx.Response:
    """An event stream that says `told` and closes."""
    text = "retry: 2000\n\n: still here\n\n"
    text += "".join(f"event: {name}\ndata: {json.dumps(data)}\n\n" for name, data in told)
    return httpx.Response(200, text=text, headers={"Content-Type": "text/event-stream"})


@dataclass
class FakePlatform:
    """Blobs, and whatever `routes` answer: "METHOD /path" → handler."""

    part_bytes: int = 4
    blobs: dict[str, bytes] = field(default_factory=dict)
    staged: dict[str, dict[int, bytes]] = field(default_factory=dict)
    uploads: dict[str, tuple[str, int]] = field(default_factory=dict)
    routes: dict[str, Handler] = field(default_factory=dict)
    requests: list[httpx.Request] = field(default_factory=list)
    begun: Iterator[int] = field(default_factory=itertools.count)
    manifests: list[dict[str, Any]] = field(default_factory=list)
    store_faults: Iterator[int] = field(default_factory=lambda: iter(()))
    pauses: list[float] = field(default_factory=list)

    def counts(self) -> Counter[str]:
        """How often each call was made, parts as `PUT part`."""
        return Counter(
            "PUT part" if one.url.host == "store.test" else f"{one.method} {one.url.path}"
            for one in self.requests
        )

    def client(self, **options: Any) -> Client:
        """A client of this platform that never really waits."""
        return Client(
            options.pop("url", URL),
            options.pop("token", "vt_secret"),
            transport=httpx.MockTransport(self.answer),
            store_client=lambda: httpx.Client(transport=httpx.MockTransport(self.answer)),
            patience=Patience(attempts=4, first_pause=0.1, pause=self.pauses.append),
            **options,
        )

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if request.url.host == "store.test":
            return self._put(request)
        if handler := self.routes.get(f"{request.method} {request.url.path}"):
            return handler(request)
        if request.method == "POST" and request.url.path == "/api/v1/blobs/missing":
            return self._missing(json.loads(request.content)["blobs"])
        if request.method == "POST" and request.url.path == "/api/v1/blobs/complete":
            return self._complete(json.loads(request.content)["upload_id"])
        if request.method == "POST" and request.url.path == "/api/v1/versions":
            self.manifests.append(json.loads(request.content))
            return httpx.Response(201, json=version())
        return problem(404, f"there is no {request.url.path}")

    def _missing(self, wanted: list[dict[str, Any]]) -> httpx.Response:
        found = [self._begin(one["digest"], one["size"]) for one in wanted if one["digest"] not in self.blobs]
        return httpx.Response(200, json={"missing": found})

    def _begin(self, digest: str, size: int) -> dict[str, Any]:
        upload_id = f"upload_{next(self.begun)}"
        self.uploads[upload_id] = (digest, size)
        parts = [
            {
                "number": number,
                "url": f"{STORE}/{upload_id}/{number}",
                "offset": (number - 1) * self.part_bytes,
                "size": min(self.part_bytes, size - (number - 1) * self.part_bytes),
            }
            for number in range(1, max(1, -(-size // self.part_bytes)) + 1)
        ]
        expires = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
        return {
            "digest": digest,
            "size": size,
            "upload_id": upload_id,
            "expires_at": expires,
            "parts": parts,
        }

    def _put(self, request: httpx.Request) -> httpx.Response:
        assert "authorization" not in request.headers, "the token went to the store"
        fault = next(self.store_faults, 200)
        if fault != 200:
            return httpx.Response(fault)
        found = re.fullmatch(r"/(upload_\d+)/(\d+)", request.url.path)
        assert found is not None
        content = request.read()
        assert request.headers["content-length"] == str(len(content))
        self.staged.setdefault(found[1], {})[int(found[2])] = content
        return httpx.Response(200)

    def _complete(self, upload_id: str) -> httpx.Response:
        if upload_id not in self.uploads:
            return problem(404, "there is no such upload")
        digest, size = self.uploads[upload_id]
        content = b"".join(data for _, data in sorted(self.staged.get(upload_id, {}).items()))
        if "sha256:" + hashlib.sha256(content).hexdigest() != digest:
            return problem(422, "the content has another digest")
        self.blobs[digest] = content
        return httpx.Response(200, json={"digest": digest, "size": size})
