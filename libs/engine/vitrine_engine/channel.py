"""The engine's end of a frame stream. What arrives is an attacker's word until it is checked."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from vitrine_harness import frames


class Channel:
    """Frames over a connected stream socket, which it owns."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._loop = asyncio.get_running_loop()
        self._buffer = bytearray()
        self._sending = asyncio.Lock()

    async def send(self, header: dict[str, Any], payload: bytes | memoryview = b"") -> None:
        """Send a frame; raises `OSError` when the sandbox has gone."""
        async with self._sending:
            await self._loop.sock_sendall(self._socket, frames.pack(header, payload))

    async def receive(self) -> tuple[dict[str, Any], bytes] | None:
        """Return the next frame, or None at the end; raises `FrameError` for what is no frame."""
        if not await self._fill(frames.PREFIX.size):
            return None
        header, payload = frames.lengths(bytes(self._buffer[: frames.PREFIX.size]))
        start, end = frames.PREFIX.size, frames.PREFIX.size + header
        if not await self._fill(end + payload):
            return None
        text, data = bytes(self._buffer[start:end]), bytes(self._buffer[end : end + payload])
        del self._buffer[: end + payload]
        return frames.parse_header(text), data

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    async def _fill(self, size: int) -> bool:
        while len(self._buffer) < size:
            try:
                data = await self._loop.sock_recv(self._socket, frames.CHUNK)
            except OSError:
                return False
            if not data:
                return False
            self._buffer += data
        return True
