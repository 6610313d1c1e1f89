"""Answers in one piece: head and body are one write, and so one packet and one wake-up of the client.

The HTTP server writes a response's head when it begins and its body when that comes, and its event loop sends
each at once. What is written within one turn of the loop is sent together here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

GATHERED_BYTES = 64 << 10
"""So much is sent at once: whoever writes on without a pause shall notice a client that does not read."""


class OneWrite(HttpToolsProtocol):
    """uvicorn's protocol over a transport that gathers what is written."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin."""
        super().connection_made(cast("asyncio.Transport", Gathering(transport, self.loop)))


class Gathering:
    """A transport whose writes of one turn of the loop are one; everything else is the transport's own.

    Args:
        transport: the connection.
        loop: that it belongs to.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._parts: list[bytes] = []
        self._size = 0

    def write(self, data: bytes) -> None:
        """Send with whatever else is written in this turn."""
        if not self._parts:
            self._loop.call_soon(self._flush)
        self._parts.append(data)
        self._size += len(data)
        if self._size > GATHERED_BYTES:
            self._flush()

    def writelines(self, parts: Iterable[bytes]) -> None:
        """Send with whatever else is written in this turn."""
        for part in parts:
            self.write(part)

    def close(self) -> None:
        """Send what was written, then end the connection."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        parts, self._parts, self._size = self._parts, [], 0
        if len(parts) == 1:
            self._transport.write(parts[0])
        elif parts:
            self._transport.writelines(parts)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
