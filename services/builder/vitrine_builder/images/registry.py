"""A client of OCI registries: blobs and manifests, with logins, retries and resumed uploads.

Source: OCI distribution specification 1.1; Docker registry token authentication.
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import logging
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn
from urllib.parse import urljoin, urlsplit

import httpx

from vitrine_builder.failures import BuildFailure, FailureReason
from vitrine_common.digests import sha256_bytes

log = logging.getLogger(__name__)

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CHUNK = 8 << 20
"""Of an upload: kept in memory until the registry has it."""
TRIES = 5
_PAUSE = 0.2
_ACCEPTED = ", ".join((MANIFEST, INDEX))
_PARAMETER = re.compile(r'(\w+)="([^"]*)"')
_MAY_PASS = frozenset({408, 429, 500, 502, 503, 504})
_MOST_PAUSE = 20.0


@dataclass
class Registry:
    """One repository of a registry. Threads may share it.

    Attributes:
        url: `https://host:port`.
        repository: its name in the registry, without a tag.
        mount_from: repositories of the same registry that may have a blob already.
    """

    url: str
    repository: str
    user: str = ""
    password: str = field(default="", repr=False)
    mount_from: tuple[str, ...] = ()
    client: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=60.0), repr=False)
    pause_seconds: float = _PAUSE
    _login: dict[str, str] = field(default_factory=dict, repr=False)

    @property
    def name(self) -> str:
        """The repository as a Docker daemon names it."""
        return f"{urlsplit(self.url).netloc}/{self.repository}"

    def close(self) -> None:
        """Let connections go."""
        self.client.close()

    def size_of(self, digest: str) -> int | None:
        """Return the size of a blob, or None where it is not there."""
        answer = self._ask("HEAD", f"blobs/{digest}")
        if answer.status_code == 404:
            return None
        self._require(answer, 200)
        return int(answer.headers.get("Content-Length", 0))

    def adopt(self, digest: str) -> bool:
        """Take a blob from one of the other repositories; tell whether one had it."""
        for source in self.mount_from:
            answer = self._ask("POST", "blobs/uploads/", params={"mount": digest, "from": source})
            if answer.status_code == 201:
                return True
            if answer.status_code == 202:  # an upload was begun instead
                self._send("DELETE", self._location(answer))
        return False

    def put(self, chunks: Iterator[bytes]) -> tuple[str, int]:
        """Store a blob while it is made; return its digest and size.

        Raises:
            BuildFailure: the registry is away, refuses it, or got other bytes.
        """
        answer = self._ask("POST", "blobs/uploads/")
        self._require(answer, 202)
        place, sent, digest = self._location(answer), 0, hashlib.sha256()
        for chunk in _gathered(chunks):
            digest.update(chunk)
            place = self._append(place, sent, chunk)
            sent += len(chunk)
        name = f"sha256:{digest.hexdigest()}"
        ended = self._send("PUT", place, params={"digest": name}, headers={"Content-Length": "0"})
        self._require(ended, 201)
        return name, sent

    def put_manifest(self, reference: str, content: bytes, media_type: str = MANIFEST) -> bool:
        """Store a manifest by a tag or its digest; tell whether the registry lists what refers to others."""
        headers = {"Content-Type": media_type}
        answer = self._ask("PUT", f"manifests/{reference}", content=content, headers=headers)
        self._require(answer, 201)
        return "OCI-Subject" in answer.headers

    def manifest(self, reference: str) -> bytes | None:
        """Return a manifest or index, or None where it is not there."""
        answer = self._ask("GET", f"manifests/{reference}", headers={"Accept": _ACCEPTED})
        if answer.status_code == 404:
            return None
        self._require(answer, 200)
        return answer.content

    def manifest_digest(self, reference: str) -> str | None:
        """Return the digest that the registry has for a manifest, or None where it is not there."""
        answer = self._ask("HEAD", f"manifests/{reference}", headers={"Accept": _ACCEPTED})
        if answer.status_code == 404:
            return None
        self._require(answer, 200)
        return str(answer.headers.get("Docker-Content-Digest", ""))

    def blob_digest(self, digest: str) -> tuple[str, int]:
        """Read a blob; return the digest of its bytes, and how many they are."""
        found, size = hashlib.sha256(), 0
        address = self._address(f"blobs/{digest}")
        self._ask("HEAD", f"blobs/{digest}")  # so that the login is known
        try:
            with self.client.stream("GET", address, headers=self._login, follow_redirects=True) as answer:
                self._require(answer, 200)
                for part in answer.iter_raw(1 << 20):
                    found.update(part)
                    size += len(part)
        except httpx.TransportError as error:
            _unreachable(error)
        return f"sha256:{found.hexdigest()}", size

    def _append(self, place: str, offset: int, chunk: bytes) -> str:
        """Send a chunk; where the answer was lost, ask how much of it came."""
        for attempt in range(TRIES):
            headers = {
                "Content-Type": "application/octet-stream",
                "Content-Range": f"{offset}-{offset + len(chunk) - 1}",
            }
            try:
                answer = self._once("PATCH", place, content=chunk, headers=headers)
            except httpx.TransportError as error:
                if attempt == TRIES - 1:
                    _unreachable(error)
            else:
                if answer.status_code == 202:
                    return self._location(answer)
                if answer.status_code not in _MAY_PASS | {416}:
                    self._refuse(answer)
            time.sleep(self.pause_seconds * 2**attempt)
            place, received = self._received(place)
            if received == offset + len(chunk):
                return place
            if not offset <= received < offset + len(chunk):
                break
            chunk, offset = chunk[received - offset :], received
        sentence = "The registry lost a part of an image that was sent to it; try again later."
        raise BuildFailure(FailureReason.INTERNAL, sentence)

    def _received(self, place: str) -> tuple[str, int]:
        answer = self._send("GET", place)
        self._require(answer, 204)
        last = answer.headers.get("Range", "0-0").rpartition("-")[2]
        # A registry says `0-0` of nothing and of one byte; no chunk of ours but a last one is so short.
        return self._location(answer), 0 if last == "0" else int(last) + 1

    def _ask(self, method: str, path: str, **request: Any) -> httpx.Response:
        return self._send(method, self._address(path), **request)

    def _address(self, path: str) -> str:
        return f"{self.url}/v2/{self.repository}/{path}"

    def _send(self, method: str, address: str, **request: Any) -> httpx.Response:
        """Send a request that may be sent twice, until the registry answers it."""
        for attempt in range(TRIES):
            last = attempt == TRIES - 1
            try:
                answer = self._once(method, address, **request)
            except httpx.TransportError as error:
                if last:
                    _unreachable(error)
            else:
                if last or answer.status_code not in _MAY_PASS:
                    return answer
                wait = answer.headers.get("Retry-After", "")
                if wait.isdecimal():
                    time.sleep(min(float(wait), _MOST_PAUSE))
            time.sleep(self.pause_seconds * 2**attempt)
        raise AssertionError("unreachable: the last try returns or raises")

    def _once(self, method: str, address: str, **request: Any) -> httpx.Response:
        headers = {**request.pop("headers", {})}
        if params := request.pop("params", None):
            # Where an upload goes on has a query of its own, which httpx would replace.
            address = str(httpx.URL(address).copy_merge_params(params))
        is_reading = method in {"GET", "HEAD"}
        own = urlsplit(address).netloc == urlsplit(self.url).netloc
        for _ in range(2):
            given = {**headers, **(self._login if own else {})}
            answer = self.client.request(
                method, address, headers=given, follow_redirects=is_reading, **request
            )
            if answer.status_code != 401 or not self._log_in(answer):
                break
        return answer

    def _log_in(self, refused: httpx.Response) -> bool:
        """Get what the registry asks for; False where that was tried."""
        challenge = refused.headers.get("WWW-Authenticate", "")
        kind, _, rest = challenge.partition(" ")
        basic = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        if kind.lower() == "basic" and self.user:
            value = f"Basic {basic}"
        elif kind.lower() == "bearer":
            headers = {"Authorization": f"Basic {basic}"} if self.user else {}
            value = f"Bearer {self._token(dict(_PARAMETER.findall(rest)), headers)}"
        else:
            return False
        self._login["Authorization"] = value
        # Another thread may have logged in meanwhile; what counts is what was refused.
        return bool(refused.request.headers.get("Authorization") != value)

    def _token(self, challenge: Mapping[str, str], headers: Mapping[str, str]) -> str:
        scopes = [f"repository:{self.repository}:pull,push"]
        scopes += [f"repository:{source}:pull" for source in self.mount_from]
        query: dict[str, Any] = {"scope": scopes}
        if service := challenge.get("service"):
            query["service"] = service
        answer = self.client.get(challenge.get("realm", ""), params=query, headers=dict(headers))
        if answer.status_code != 200:
            self._refuse(answer)
        told = answer.json()
        return str(told.get("token") or told.get("access_token") or "")

    def _location(self, answer: httpx.Response) -> str:
        return urljoin(str(answer.request.url), answer.headers["Location"])

    def _require(self, answer: httpx.Response, status: int) -> None:
        if answer.status_code != status:
            self._refuse(answer)

    def _refuse(self, answer: httpx.Response) -> NoReturn:
        told = answer.text[:500] if answer.is_closed else ""
        log.error("registry refused", extra={"status": answer.status_code, "said": told})
        if answer.status_code in {401, 403}:
            sentence = (
                "The registry refuses the builder's login; the operator sets VITRINE_BUILDER_REGISTRY_USER "
                "and VITRINE_BUILDER_REGISTRY_PASSWORD to one that may push."
            )
        else:
            sentence = (
                f"The registry refused the image (status {answer.status_code}); the operator finds why in "
                "the builder's log."
            )
        raise BuildFailure(FailureReason.INTERNAL, sentence)


def open_registry(
    place: str, *, user: str = "", password: str = "", mount_from: tuple[str, ...] = ()
) -> Registry:
    """Return the repository that the setting `host:port/prefix` means; loopback ones speak HTTP.

    Raises:
        BuildFailure: the setting names none.
    """
    scheme, mark, rest = place.rpartition("://")
    host, slash, prefix = rest.strip("/").partition("/")
    if not host or (mark and scheme not in {"http", "https"}):
        sentence = "VITRINE_BUILDER_REGISTRY names no registry; write host:port/prefix."
        raise BuildFailure(FailureReason.INTERNAL, sentence)
    if not mark:
        scheme = "http" if _is_loopback(host) else "https"
    repository = f"{prefix}/env" if slash else "env"
    return Registry(f"{scheme}://{host}", repository, user, password, mount_from)


def _is_loopback(host: str) -> bool:
    name = urlsplit(f"//{host}").hostname or ""
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"


def _gathered(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Yield chunks of `CHUNK` bytes, and a last one of what is left."""
    waiting, size = [], 0
    for chunk in chunks:
        waiting.append(chunk)
        size += len(chunk)
        if size >= CHUNK:
            yield b"".join(waiting)
            waiting, size = [], 0
    if waiting and size:
        yield b"".join(waiting)


def _unreachable(error: Exception) -> NoReturn:
    log.warning("registry", extra={"error": repr(error)})
    sentence = "The registry does not answer; try again later or tell the operator of the platform."
    raise BuildFailure(FailureReason.INTERNAL, sentence) from None


def descriptor(media_type: str, content: bytes) -> dict[str, Any]:
    """Return what names some bytes in a manifest."""
    return {"mediaType": media_type, "digest": sha256_bytes(content), "size": len(content)}
