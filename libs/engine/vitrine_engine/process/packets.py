"""Packets over Unix sockets, with descriptors and the sender's process as the kernel tells it."""

from __future__ import annotations

import array
import asyncio
import json
import os
import socket
import struct
from dataclasses import dataclass, field
from typing import Any

PACKET_BYTES = 64 * 1024
MOST_DESCRIPTORS = 16
_CREDENTIALS = struct.Struct("3i")


class PacketError(Exception):
    """What arrived is no packet of ours, or the other end has gone."""


@dataclass(slots=True)
class Packet:
    """One message. `pid` is the sender's process as this process sees it; close the descriptors."""

    message: dict[str, Any]
    pid: int
    descriptors: list[int] = field(default_factory=list)

    def close(self) -> None:
        """Close the descriptors."""
        while self.descriptors:
            os.close(self.descriptors.pop())


class Door:
    """The engine's end of a socket of packets; `theirs` is the other end, to be handed over and closed."""

    def __init__(self) -> None:
        self._socket, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._loop = asyncio.get_running_loop()

    def hand_out(self) -> None:
        """Close the other end: it has been handed over."""
        self.theirs.close()

    def send(self, message: dict[str, Any], descriptors: list[int] | None = None) -> None:
        """Send; raises `OSError` when the other end has gone or does not listen."""
        socket.send_fds(self._socket, [json.dumps(message).encode()], descriptors or [])

    async def receive(self) -> Packet:
        """Return the next packet; raises `PacketError` at the end and for what is none."""
        while True:
            try:
                return self._read()
            except BlockingIOError:
                await self._readable()
            except OSError as error:
                raise PacketError(str(error)) from error

    def close(self) -> None:
        """Close both ends that this process still has."""
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket.fileno())
        self._socket.close()
        self.theirs.close()

    def _read(self) -> Packet:
        room = socket.CMSG_SPACE(_CREDENTIALS.size) + socket.CMSG_SPACE(MOST_DESCRIPTORS * 4)
        data, ancillary, _, _ = self._socket.recvmsg(PACKET_BYTES, room, socket.MSG_CMSG_CLOEXEC)
        packet = Packet({}, 0)
        for level, kind, content in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                found = array.array("i")
                found.frombytes(content[: len(content) - len(content) % found.itemsize])
                packet.descriptors += found
            elif (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS):
                packet.pid = _CREDENTIALS.unpack(content)[0]
        if not data:
            packet.close()
            raise PacketError("the other end has gone")
        try:
            message = json.loads(data)
        except (ValueError, RecursionError) as error:
            packet.close()
            raise PacketError("a packet is not JSON") from error
        if not isinstance(message, dict):
            packet.close()
            raise PacketError("a packet is no object")
        packet.message = message
        return packet

    async def _readable(self) -> None:
        ready = self._loop.create_future()
        self._loop.add_reader(self._socket.fileno(), _resolve, ready)
        try:
            await ready
        finally:
            if self._socket.fileno() >= 0:
                self._loop.remove_reader(self._socket.fileno())


def _resolve(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
