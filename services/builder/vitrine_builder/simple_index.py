"""What an index has of a package, asked directly: for what the resolver does not say, and for sources.

Source: PyPA's "Simple repository API" (PEP 503, 592, 691).
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import ssl
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag, urljoin, urlsplit, urlunsplit

import httpx
from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    canonicalize_name,
    parse_sdist_filename,
    parse_wheel_filename,
)
from packaging.version import Version

from vitrine_builder.failures import INDEX_SENTENCE, BuildFailure, FailureReason

_ACCEPT = "application/vnd.pypi.simple.v1+json, text/html;q=0.5"
_MAX_PAGE = 64 << 20
_CHUNK = 1 << 20


@dataclass(frozen=True)
class IndexFile:
    """A file that an index offers: one release's wheel, or its source distribution."""

    name: str
    version: Version
    filename: str
    url: str = field(repr=False)  # may carry the operator's credentials
    sha256: str | None = None
    requires_python: str | None = None
    yanked: bool = False

    @property
    def is_wheel(self) -> bool:
        """Whether it is a wheel; a source distribution otherwise."""
        return self.filename.endswith(".whl")


@dataclass(frozen=True)
class SimpleIndexes:
    """Asks several indexes.

    Attributes:
        urls: of the indexes, `file://…` for a folder.
        environment: certificates, proxies and hosts without certificates, as uv's variables name them.
    """

    urls: Sequence[str] = field(repr=False)
    environment: Mapping[str, str] = field(repr=False)
    seconds: float = 60.0

    async def files(self, name: str) -> list[IndexFile]:
        """Return every file of the package `name`, the newest version first.

        Raises:
            BuildFailure: no index can be asked.
        """
        wanted = canonicalize_name(name)
        pages = await asyncio.gather(
            *(self._page(f"{url.rstrip('/')}/{wanted}/") for url in self.urls), return_exceptions=True
        )
        failures = [page for page in pages if isinstance(page, BaseException)]
        if failures and len(failures) == len(pages):
            raise BuildFailure(FailureReason.INDEX_UNREACHABLE, INDEX_SENTENCE)
        found = [
            file for page in pages if not isinstance(page, BaseException) for file in _files(*page, wanted)
        ]
        return sorted(found, key=lambda file: file.version, reverse=True)

    async def download(self, file: IndexFile, place: Path, max_bytes: int) -> str:
        """Write the bytes of `file` to `place` and return their SHA-256, hexadecimal.

        Raises:
            BuildFailure: it cannot be had, is too large, or has other bytes than the index says.
        """
        digest = hashlib.sha256()
        size = 0
        with place.open("wb") as target:
            async for chunk in self._read(file.url):
                size += len(chunk)
                if size > max_bytes:
                    sentence = f"`{file.filename}` has more than {max_bytes} bytes; name another version."
                    raise BuildFailure(FailureReason.NO_WHEEL, sentence, f"{file.name}=={file.version}")
                digest.update(chunk)
                target.write(chunk)
        if file.sha256 not in {None, digest.hexdigest()}:
            sentence = f"The index delivers other bytes for `{file.filename}` than it says; ask who keeps it."
            raise BuildFailure(FailureReason.HASH_MISMATCH, sentence, f"{file.name}=={file.version}")
        return digest.hexdigest()

    async def _page(self, url: str) -> tuple[str, str, bytes]:
        """Return where a page really is, its type and its bytes; none where the index lacks the package."""
        if url.startswith("file:"):
            path = _path(url) / "index.html"
            data = await asyncio.to_thread(path.read_bytes) if path.is_file() else b""
            return url, "text/html", data
        async with self._client(url) as client:
            answer = await client.get(_without_login(url), headers={"Accept": _ACCEPT})
            if answer.status_code == httpx.codes.NOT_FOUND:
                return url, "text/html", b""
            answer.raise_for_status()
            return str(answer.url), answer.headers.get("content-type", ""), answer.content[:_MAX_PAGE]

    async def _read(self, url: str) -> Any:
        if url.startswith("file:"):
            data = await asyncio.to_thread(_path(url).read_bytes)
            for start in range(0, len(data), _CHUNK):
                yield data[start : start + _CHUNK]
            return
        try:
            async with self._client(url) as client, client.stream("GET", _without_login(url)) as answer:
                answer.raise_for_status()
                async for chunk in answer.aiter_bytes(_CHUNK):
                    yield chunk
        except httpx.HTTPError:
            raise BuildFailure(FailureReason.INDEX_UNREACHABLE, INDEX_SENTENCE) from None

    def _client(self, url: str) -> httpx.AsyncClient:
        host = urlsplit(url)
        unchecked = {f"{host.hostname}", f"{host.hostname}:{host.port}"} & set(
            self.environment.get("UV_INSECURE_HOST", "").split()
        )
        verify: bool | ssl.SSLContext = False
        if not unchecked:
            file, folder = (self.environment.get(f"SSL_CERT_{kind}") for kind in ("FILE", "DIR"))
            verify = ssl.create_default_context(cafile=file or None, capath=folder or None)
        return httpx.AsyncClient(
            auth=self._login(url),
            verify=verify,
            proxy=self.environment.get("ALL_PROXY") or None,
            follow_redirects=True,
            timeout=self.seconds,
        )

    def _login(self, url: str) -> tuple[str, str] | None:
        """Return the name and password for `url`: its own, or those of the index on the same host."""
        wanted = urlsplit(url)
        for known in (wanted, *map(urlsplit, self.urls)):
            same = (known.scheme, known.hostname, known.port) == (wanted.scheme, wanted.hostname, wanted.port)
            if same and known.username is not None:
                return unquote(known.username), unquote(known.password or "")
        return None


def _without_login(url: str) -> str:
    """Return `url` as it may stand in a log: the client writes down every address that it asks."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _path(url: str) -> Path:
    return Path(unquote(urlsplit(url).path))


def _files(url: str, content_type: str, data: bytes, wanted: str) -> Iterator[IndexFile]:
    entries = _json_entries(data) if "json" in content_type else _html_entries(data)
    for href, sha256, requires_python, yanked in entries:
        address, _, fragment = urljoin(url, href).partition("#")
        filename = unquote(urlsplit(address).path.rpartition("/")[2])
        named = name_and_version(filename)
        if named is None or named[0] != wanted:
            continue
        algorithm, _, value = fragment.partition("=")
        digest = sha256 or (value if algorithm == "sha256" else None)
        yield IndexFile(wanted, named[1], filename, urldefrag(address).url, digest, requires_python, yanked)


def name_and_version(filename: str) -> tuple[str, Version] | None:
    """Return what a file of an index is, by its name; None when it is neither a wheel nor a source."""
    try:
        if filename.endswith(".whl"):
            name, version, _build, _tags = parse_wheel_filename(filename)
        else:
            name, version = parse_sdist_filename(filename)
    except (InvalidWheelFilename, InvalidSdistFilename):
        return None
    return name, version


_Entry = tuple[str, str | None, str | None, bool]


def _json_entries(data: bytes) -> list[_Entry]:
    try:
        files = json.loads(data or b"{}").get("files", [])
        return [
            (
                str(file["url"]),
                file.get("hashes", {}).get("sha256"),
                file.get("requires-python"),
                bool(file.get("yanked")),
            )
            for file in files
        ]
    except (ValueError, AttributeError, KeyError, TypeError):
        return []


def _html_entries(data: bytes) -> list[_Entry]:
    links = _Links()
    links.feed(data.decode(errors="replace"))
    return links.found


class _Links(HTMLParser):
    """Collects the anchors of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[_Entry] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = dict(attrs)
        if tag == "a" and known.get("href"):
            href, requires = str(known["href"]), known.get("data-requires-python")
            self.found.append((href, None, requires, "data-yanked" in known))
