"""What is written in one turn of the loop leaves in one piece, in order, and never grows without bounds."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from vitrine_api.one_write import GATHERED_BYTES, Gathering


class Connection:
    """A transport that notes what it is told."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def write(self, data: bytes) -> None:
        self.told.append(data)

    def writelines(self, parts: list[bytes]) -> None:
        self.told.append(list(parts))

    def close(self) -> None:
        self.told.append("closed")

    def is_closing(self) -> bool:
        return "closed" in self.told


def gathering() -> tuple[Connection, Gathering]:
    connection = Connection()
    return connection, Gathering(cast("asyncio.Transport", connection), asyncio.get_running_loop())


async def test_head_and_body_are_one_write() -> None:
    connection, transport = gathering()
    transport.write(b"head")
    transport.write(b"body")
    assert connection.told == []
    await asyncio.sleep(0)
    transport.write(b"alone")
    await asyncio.sleep(0)
    transport.writelines([b"a", b"b"])
    await asyncio.sleep(0)
    assert connection.told == [[b"head", b"body"], b"alone", [b"a", b"b"]]


async def test_what_was_written_is_sent_before_the_end() -> None:
    connection, transport = gathering()
    transport.write(b"last")
    assert not transport.is_closing()
    transport.close()
    assert transport.is_closing()
    await asyncio.sleep(0)
    assert connection.told == [b"last", "closed"]


async def test_whoever_writes_without_a_pause_is_not_gathered_for_ever() -> None:
    connection, transport = gathering()
    piece = bytes(GATHERED_BYTES // 2)
    for _ in range(7):
        transport.write(piece)
    assert connection.told == [[piece] * 3] * 2
    await asyncio.sleep(0)
    assert connection.told == [[piece] * 3, [piece] * 3, piece]
