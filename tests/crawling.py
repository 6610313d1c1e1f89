"""Follows what answers lead to: addresses in pages and JSON, forms, and the operations of a document."""

from __future__ import annotations

import asyncio
import json
import re
from collections import deque
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx

STREAM_SECONDS = 0.3
MOST = 600
_UNREAD = re.compile(r"^/(static/|logout)")
"""The same for everybody, or the end of what is crawled."""


@dataclass
class Form:
    """A form, with the values that it is sent with when nobody fills it in."""

    action: str
    method: str
    values: dict[str, str] = field(default_factory=dict)


class _Found(HTMLParser):
    """Every address in any attribute of a page, and its forms."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.forms: list[Form] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        for name, value in given.items():
            if name == "hx-post":
                self.forms.append(Form(value, "POST"))
            elif value.startswith(("/", "http://", "?", "./")):
                self.addresses.append(value)
        if tag == "form":
            self.forms.append(Form(given.get("action", ""), given.get("method", "get").upper()))
        elif tag in {"input", "select", "textarea"} and self.forms and given.get("name"):
            for form in self.forms[-2:]:
                form.values[given["name"]] = given.get("value", "")


@dataclass
class Crawler:
    """Asks as one client, and keeps every answer.

    Args:
        client: who asks; redirects are answers like others.
        origin: addresses elsewhere are not followed.
        keep_out: what is not followed, beside what is the same for everybody.
        forms: whether forms are sent that change something.
    """

    client: httpx.AsyncClient
    origin: str
    keep_out: re.Pattern[str] = _UNREAD
    forms: bool = True
    seen: dict[tuple[str, str], httpx.Response] = field(default_factory=dict)
    _waiting: deque[tuple[str, str, Mapping[str, str]]] = field(default_factory=deque)

    async def crawl(self, addresses: Iterable[str]) -> AsyncIterator[tuple[str, httpx.Response]]:
        """Yield (what was asked, the answer) for all that is reached from `addresses`."""
        for address in addresses:
            self._add("GET", address)
        while self._waiting:
            method, address, values = self._waiting.popleft()
            answer = await self._ask(method, address, values)
            self.seen[method, address] = answer
            assert len(self.seen) < MOST, "the crawl does not end"
            self._read(answer, address)
            yield f"{method} {address}", answer

    def _add(self, method: str, address: str, values: Mapping[str, str] | None = None) -> None:
        parts = urlsplit(urljoin(self.origin, address))
        if f"{parts.scheme}://{parts.netloc}" != self.origin or self.keep_out.search(parts.path):
            return
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        waiting = any((method, target) == one[:2] for one in self._waiting)
        if (method, target) not in self.seen and not waiting:
            self._waiting.append((method, target, values or {}))

    async def _ask(self, method: str, address: str, values: Mapping[str, str]) -> httpx.Response:
        request = self.client.build_request(method, address, data=values if method == "POST" else None)
        answer = await self.client.send(request, stream=True)
        content = b""
        with suppress(TimeoutError):  # a stream of what still works goes on
            async with asyncio.timeout(STREAM_SECONDS if _is_stream(answer) else 30):
                async for chunk in answer.aiter_bytes():
                    content += chunk
        await answer.aclose()
        kept = {name: value for name, value in answer.headers.items() if name != "content-encoding"}
        return httpx.Response(answer.status_code, headers=kept, content=content, request=request)

    def _read(self, answer: httpx.Response, address: str) -> None:
        if location := answer.headers.get("location"):
            self._add("GET", urljoin(address, location))
        kind = answer.headers.get("content-type", "")
        if kind.startswith(("text/html", "text/event-stream")):
            found = _Found()
            found.feed(answer.text)
            for one in found.addresses:
                self._add("GET", urljoin(address, one))
            for form in found.forms if self.forms else ():
                self._add(form.method, urljoin(address, form.action or address), form.values)
        elif "json" in kind:
            with suppress(ValueError):
                for text in _texts(json.loads(answer.text)):
                    if text.startswith(("/", self.origin)):
                        self._add("GET", text)


def _is_stream(answer: httpx.Response) -> bool:
    return str(answer.headers.get("content-type", "")).startswith("text/event-stream")


def _texts(value: Any) -> Iterable[str]:
    match value:
        case str():
            yield value
        case dict():
            for item in value.values():
                yield from _texts(item)
        case list():
            for item in value:
                yield from _texts(item)


def operations(document: Mapping[str, Any], known: Mapping[str, Iterable[str]]) -> Iterable[tuple[str, str]]:
    """Yield (method, address) of a document's operations all of whose path parameters are known."""
    for path, found in document["paths"].items():
        names = re.findall(r"\{(\w+)\}", path)
        if not names or not all(name in known for name in names):
            continue
        addresses = [path]
        for name in names:
            addresses = [one.replace(f"{{{name}}}", value) for one in addresses for value in known[name]]
        for method in found:
            yield from ((method.upper(), address) for address in addresses)
