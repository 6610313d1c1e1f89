"""Server-sent events: lines to events (WHATWG HTML, section 9.2.6)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ServerEvent:
    """One event of a stream."""

    name: str
    data: str

    def json(self) -> dict[str, Any]:
        """Return the data as a JSON object, empty when it is none."""
        try:
            value = json.loads(self.data)
        except ValueError:
            return {}
        return value if isinstance(value, dict) else {}


def split_lines(chunks: Iterable[bytes]) -> Iterator[str]:
    """Yield the lines of a stream of bytes; only LF, CR LF and CR end one, as the standard says.

    `str.splitlines` would also split at characters that a log in an event may contain.
    """
    rest = b""
    for chunk in chunks:
        rest = (rest + chunk).replace(b"\r\n", b"\n")
        ends_open = rest.endswith(b"\r")  # its LF may come with the next chunk
        whole = (rest[:-1] if ends_open else rest).replace(b"\r", b"\n")
        *lines, last = whole.split(b"\n")
        rest = last + (b"\r" if ends_open else b"")
        for line in lines:
            yield line.decode("utf-8", "replace")


def read_events(lines: Iterable[str]) -> Iterator[ServerEvent]:
    """Yield the events in `lines` (without line ends). Comments and an event that is cut off are left out."""
    name = ""
    data: list[str] = []
    for line in lines:
        if not line:
            if data:
                yield ServerEvent(name or "message", "\n".join(data))
            name, data = "", []
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            name = value
        elif field == "data":
            data.append(value)
