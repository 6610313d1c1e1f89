"""The registry client against a registry that asks for tokens, hiccups, and loses answers and parts."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest

from vitrine_builder.failures import BuildFailure
from vitrine_builder.images import registry as registry_module
from vitrine_builder.images.registry import Registry, open_registry

TOKEN = "a-token"


@dataclass
class FakeRegistry:
    """Keeps one upload at a time; loses answers, and is busy, as often as it is told."""

    blobs: dict[str, bytes] = field(default_factory=dict)
    upload: bytes = b""
    asked: list[httpx.Request] = field(default_factory=list)
    token: str | None = None
    lose_answers: int = 0
    hiccups: int = 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        if request.url.host == "auth.test":
            return self._grant(request)
        if self.token and request.headers.get("Authorization") != f"Bearer {self.token}":
            challenge = 'Bearer realm="http://auth.test/token",service="reg",scope="repository:lab/env:pull"'
            return httpx.Response(401, headers={"WWW-Authenticate": challenge})
        if self.hiccups:
            self.hiccups -= 1
            return httpx.Response(503, headers={"Retry-After": "0"})
        return self._answer(request)

    def _grant(self, request: httpx.Request) -> httpx.Response:
        assert request.headers["Authorization"] == f"Basic {base64.b64encode(b'ada:secret').decode()}"
        assert parse_qs(request.url.query.decode())["scope"] == ["repository:lab/env:pull,push"]
        return httpx.Response(200, json={"token": self.token})

    def _answer(self, request: httpx.Request) -> httpx.Response:
        here = {"Location": "/v2/lab/env/blobs/uploads/1?state=x"}
        if request.method == "POST":
            self.upload = b""
            return httpx.Response(202, headers=here)
        if request.method == "PATCH":
            first = int(request.headers["Content-Range"].partition("-")[0])
            if first != len(self.upload):
                return httpx.Response(416, headers=here)
            self.upload += request.content
            if self.lose_answers:
                self.lose_answers -= 1
                raise httpx.ReadTimeout("lost")
            return httpx.Response(202, headers=here)
        if request.method == "GET":
            return httpx.Response(204, headers={**here, "Range": f"0-{max(len(self.upload) - 1, 0)}"})
        return self._put(request) if request.method == "PUT" else self._head(request)

    def _put(self, request: httpx.Request) -> httpx.Response:
        query = parse_qs(request.url.query.decode())
        assert query["state"] == ["x"]
        if query["digest"] != [f"sha256:{hashlib.sha256(self.upload).hexdigest()}"]:
            return httpx.Response(400)
        self.blobs[query["digest"][0]] = self.upload
        return httpx.Response(201)

    def _head(self, request: httpx.Request) -> httpx.Response:
        blob = self.blobs.get(request.url.path.rpartition("/")[2])
        if blob is None:
            return httpx.Response(404)
        return httpx.Response(200, headers={"Content-Length": str(len(blob))})


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Registry]]:
    monkeypatch.setattr(registry_module, "CHUNK", 4)
    made: list[Registry] = []

    def call(fake: FakeRegistry, **more: Any) -> Registry:
        client = httpx.Client(transport=httpx.MockTransport(fake))
        made.append(Registry("https://reg.test", "lab/env", client=client, pause_seconds=0.0, **more))
        return made[-1]

    yield call
    for each in made:
        each.close()


DATA = [b"ab", b"cdef", b"ghi"]
DIGEST = f"sha256:{hashlib.sha256(b'abcdefghi').hexdigest()}"


def test_an_upload_goes_in_chunks_and_ends_with_its_digest(opened: Callable[..., Registry]) -> None:
    fake = FakeRegistry()
    registry = opened(fake)
    assert registry.size_of(DIGEST) is None
    assert registry.put(iter(DATA)) == (DIGEST, 9)
    assert registry.size_of(DIGEST) == 9
    assert [len(request.content) for request in fake.asked if request.method == "PATCH"] == [6, 3]


def test_what_came_before_an_answer_was_lost_is_not_sent_again(opened: Callable[..., Registry]) -> None:
    fake = FakeRegistry(lose_answers=2)
    assert opened(fake).put(iter(DATA)) == (DIGEST, 9)
    sent = [request.headers["Content-Range"] for request in fake.asked if request.method == "PATCH"]
    assert sent == ["0-5", "6-8"]


def test_a_registry_that_is_busy_is_asked_again(opened: Callable[..., Registry]) -> None:
    assert opened(FakeRegistry(hiccups=3)).put(iter(DATA)) == (DIGEST, 9)
    with pytest.raises(BuildFailure, match="status 503"):
        opened(FakeRegistry(hiccups=99)).put(iter(DATA))


def test_a_token_is_fetched_with_the_login_and_used_from_then_on(opened: Callable[..., Registry]) -> None:
    fake = FakeRegistry(token=TOKEN)
    assert opened(fake, user="ada", password="secret").put(iter(DATA)) == (DIGEST, 9)
    assert [request.url.host for request in fake.asked].count("auth.test") == 1
    fake.token = "another"
    assert opened(fake, user="ada", password="secret").size_of(DIGEST) == 9


def test_a_login_goes_to_its_registry_alone(opened: Callable[..., Registry]) -> None:
    fake = FakeRegistry(token=TOKEN)
    registry = opened(fake, user="ada", password="secret")
    registry.put(iter(DATA))
    elsewhere: list[httpx.Request] = []

    def moved(request: httpx.Request) -> httpx.Response:
        if request.url.host == "store.test":
            elsewhere.append(request)
            return httpx.Response(200, content=iter([b"abcdefghi"]))
        if request.method == "GET":
            return httpx.Response(307, headers={"Location": "https://store.test/blob"})
        return httpx.Response(200, headers={"Content-Length": "9"})

    registry.client.close()
    registry.client = httpx.Client(transport=httpx.MockTransport(moved))
    assert registry.blob_digest(DIGEST) == (DIGEST, 9)
    assert [request.headers.get("Authorization") for request in elsewhere] == [None]


@pytest.mark.parametrize(
    ("place", "url", "repository"),
    [
        ("127.0.0.1:5000/lab", "http://127.0.0.1:5000", "lab/env"),
        ("localhost:5000", "http://localhost:5000", "env"),
        ("registry.example.org/a/b", "https://registry.example.org", "a/b/env"),
        ("http://registry.test:5000/lab/", "http://registry.test:5000", "lab/env"),
    ],
)
def test_a_place_is_a_registry_and_a_prefix(place: str, url: str, repository: str) -> None:
    registry = open_registry(place)
    assert (registry.url, registry.repository) == (url, repository)
    registry.close()


def test_a_place_that_is_none_is_refused() -> None:
    for place in ("", "ftp://registry.test"):
        with pytest.raises(BuildFailure, match="write host:port/prefix"):
            open_registry(place)
