"""Frames of the stream between the engine and a run: a JSON header and a binary payload.

A frame is two big-endian 32 bit lengths, the header (UTF-8 JSON object), and the payload. Both ends
use this module; neither may trust the other's lengths, so both are bounded before anything is read.
"""

from __future__ import annotations

import json
import socket
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PREFIX = struct.Struct("!II")
MAX_HEADER = 16 * 1024 * 1024
MAX_PAYLOAD = 1024 * 1024
CHUNK = 256 * 1024
"""Size of the payloads in which files travel, bytes."""


class FrameError(Exception):
    """The peer sent something that is no frame."""


def pack(header: dict[str, Any], payload: bytes | memoryview = b"") -> bytes:
    """Return one frame."""
    text = json.dumps(header, separators=(",", ":")).encode()
    if len(text) > MAX_HEADER or len(payload) > MAX_PAYLOAD:
        raise FrameError(f"a frame of {len(text)} + {len(payload)} bytes is too large")
    return b"".join((PREFIX.pack(len(text), len(payload)), text, payload))


def lengths(prefix: bytes) -> tuple[int, int]:
    """Return header and payload length; raises `FrameError` when out of bounds."""
    header, payload = PREFIX.unpack(prefix)
    if not 2 <= header <= MAX_HEADER or payload > MAX_PAYLOAD:
        raise FrameError(f"a frame announces {header} + {payload} bytes")
    return header, payload


def parse_header(text: bytes) -> dict[str, Any]:
    """Return the header as a dict; raises `FrameError` for anything that is not a JSON object."""
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FrameError("a frame's header is not JSON") from error
    if not isinstance(header, dict):
        raise FrameError("a frame's header is not an object")
    return header


class Channel:
    """Blocking end of a frame stream, used inside the sandbox."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock

    def send(self, header: dict[str, Any], payload: bytes | memoryview = b"") -> None:
        """Send one frame; raises `OSError` when the engine has gone."""
        self.socket.sendall(pack(header, payload))

    def receive(self) -> tuple[dict[str, Any], bytes] | None:
        """Return the next frame, or None when the engine closed the stream."""
        prefix = self._exactly(PREFIX.size)
        if not prefix:
            return None
        header, payload = lengths(prefix)
        return parse_header(self._exactly(header)), self._exactly(payload)

    def _exactly(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            piece = self.socket.recv(min(size - len(data), CHUNK))
            if not piece:
                if data:
                    raise FrameError("the stream ended inside a frame")
                return b""
            data += piece
        return bytes(data)
