"""The short way between two processes of one host: a Unix socket in the directory that both were given.

A frame is its length and a number (four bytes each, big endian), then the payload. Who asks numbers their
questions from 1 on; answers carry the number of the question, any number of them, in any order. What a
payload means is not known here (see `messages.call`). Number 0 is the end: who answers says that it leaves,
who asks says in return that nothing more will come, so that no question is lost in between.

Only processes that may open the directory come in: it and the socket are its owner's alone.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
import struct
from abc import abstractmethod
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import cast

from vitrine_common.errors import Unavailable

log = logging.getLogger(__name__)

PREFIX = "hatch-"
MAX_FRAME = 2 << 20
MOST_UNSENT = 64 << 20
"""Bytes that may wait for a process that does not read."""
_HEAD = struct.Struct("!II")
_LEAVING = 0
LEAVE_SECONDS = 5.0
"""How long those who ask have to say that nothing more will come."""
_LONGEST_PATH = 100
"""Bytes of a Unix socket's address that every system takes."""


class Line(asyncio.Protocol):
    """One connection, at either end."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()

    @property
    def is_open(self) -> bool:
        """Whether frames can be sent."""
        return self._transport is not None and not self._transport.is_closing()

    def send(self, number: int, payload: bytes) -> None:
        """Send one frame. Raises Unavailable when the other end has gone, or reads nothing."""
        transport = self._transport
        if transport is None or transport.is_closing():
            raise Unavailable("the other process has gone")
        if transport.get_write_buffer_size() > MOST_UNSENT:
            transport.abort()
            raise Unavailable("the other process reads nothing")
        transport.write(b"".join((_HEAD.pack(len(payload), number), payload)))

    def close(self) -> None:
        """End the connection."""
        if self._transport is not None:
            self._transport.close()

    @abstractmethod
    def heard(self, number: int, payload: bytes) -> None:
        """Take one frame."""

    @abstractmethod
    def ended(self) -> None:
        """Take note that nothing comes any more."""

    # what the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        # Other event loops' transports are of no class that asyncio knows.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Hand on every frame that is whole; most come alone and at once, and are copied once."""
        if self._buffer:
            self._buffer += data
            data = bytes(self._buffer)
            self._buffer.clear()
        start, end = 0, len(data)
        while end - start >= _HEAD.size:
            length, number = _HEAD.unpack_from(data, start)
            if length > MAX_FRAME:
                log.error("a frame of %s bytes; the connection is ended", length)
                self.close()
                return
            if end - start < _HEAD.size + length:
                break
            start += _HEAD.size
            self.heard(number, data[start : start + length])
            start += length
        if start < end:
            self._buffer += memoryview(data)[start:]

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the base class names it
        """Note the end."""
        self._transport = None
        self.ended()


class Asking(Line):
    """The end that asks.

    Args:
        answered: given each answer and the number of its question.
        lost: called once when no more answers come.
    """

    def __init__(self, answered: Callable[[int, bytes], None], lost: Callable[[], None]) -> None:
        super().__init__()
        self._answered = answered
        self._lost = lost
        self._leaving = False

    @property
    def is_open(self) -> bool:
        """Whether questions can be sent."""
        return not self._leaving and super().is_open

    def heard(self, number: int, payload: bytes) -> None:
        """Hand an answer on."""
        if number == _LEAVING:
            self._leaving = True
            with suppress(Unavailable):
                self.send(_LEAVING, b"")
            return
        self._answered(number, payload)

    def ended(self) -> None:
        """Tell that no more answers come."""
        self._lost()


class _Answering(Line):
    def __init__(self, hatch: Hatch) -> None:
        super().__init__()
        self._hatch = hatch
        self.silent = asyncio.Event()

    def heard(self, number: int, payload: bytes) -> None:
        if number == _LEAVING:
            self.silent.set()
            return
        self._hatch.asked(self, number, payload)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._hatch.lines.add(self)

    def ended(self) -> None:
        self.silent.set()
        self._hatch.lines.discard(self)


class Hatch:
    """The end that answers. One per process.

    Args:
        directory: shared with those who ask; without one nobody can.
        asked: given the line on which a question came, its number, and the question.
    """

    def __init__(self, directory: Path | None, asked: Callable[[Line, int, bytes], None]) -> None:
        self._directory = directory
        self.asked = asked
        self.lines: set[_Answering] = set()
        self.name: str | None = None
        """Of the socket in the directory; None where nobody can come in."""
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Listen where that is possible; it is only the shorter way."""
        directory = self._directory
        if directory is None:
            return
        name = f"{PREFIX}{secrets.token_hex(4)}"
        path = directory / name
        if len(os.fsencode(path)) > _LONGEST_PATH:
            log.info("calls go by the bus alone: the path of VITRINE_SHARED_DIR is too long for a socket")
            return
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            _sweep(directory)
            listener.bind(str(path))
            path.chmod(0o600)
        except OSError as error:
            listener.close()
            log.warning("calls go by the bus alone: %s", error)
            return
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(lambda: _Answering(self), sock=listener)
        self.name = name

    async def leave(self) -> None:
        """Have no more questions sent; when this returns, every one that was sent has been taken."""
        if self._server is not None:
            self._server.close()
            self._server = None
        if self._directory is not None and self.name is not None:
            (self._directory / self.name).unlink(missing_ok=True)
        self.name = None
        lines = list(self.lines)
        for line in lines:
            with suppress(Unavailable):
                line.send(_LEAVING, b"")
        with suppress(TimeoutError):
            async with asyncio.timeout(LEAVE_SECONDS):
                for line in lines:
                    await line.silent.wait()

    def close(self) -> None:
        """End all connections; what was asked is not answered any more."""
        for line in list(self.lines):
            line.close()


async def reach(directory: Path, name: str, line: Asking) -> None:
    """Connect `line` to the hatch of that name. Raises Unavailable where there is none."""
    if not name.startswith(PREFIX) or "/" in name:
        raise Unavailable(f"there is no hatch {name[:40]!r}")
    try:
        loop = asyncio.get_running_loop()
        await loop.create_unix_connection(lambda: line, str(directory / name))
    except OSError as error:
        raise Unavailable(f"the hatch {name} cannot be reached: {error}") from error


def _sweep(directory: Path) -> None:
    """Remove what killed processes left: sockets on which nobody listens."""
    for path in directory.glob(f"{PREFIX}*"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            try:
                probe.connect(str(path))
            except ConnectionRefusedError:
                with suppress(FileNotFoundError):
                    path.unlink()
            except OSError:
                continue
