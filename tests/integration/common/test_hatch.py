"""The socket between two processes of one host: numbered answers, an orderly end, nothing left behind."""

from __future__ import annotations

import asyncio
import socket
import stat
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from vitrine_common.errors import Unavailable
from vitrine_common.hatch import MAX_FRAME, PREFIX, Asking, Hatch, Line, reach


@dataclass
class Asker:
    """Whoever asks: what was answered, by number, and whether the line has ended."""

    heard: asyncio.Queue[tuple[int, bytes]] = field(default_factory=asyncio.Queue)
    lost: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.line = Asking(lambda *answer: self.heard.put_nowait(answer), self.lost.set)


@dataclass
class Answerer:
    """Whoever answers: by the same bytes, or later where `held` is set."""

    held: list[tuple[Line, int, bytes]] | None = None

    def asked(self, line: Line, number: int, payload: bytes) -> None:
        if self.held is not None:
            self.held.append((line, number, payload))
        else:
            line.send(number, payload)


@pytest.fixture
async def answerer() -> Answerer:
    return Answerer()


@pytest.fixture
async def hatch(tmp_path: Path, answerer: Answerer) -> AsyncIterator[Hatch]:
    opened = Hatch(tmp_path / "shared", answerer.asked)
    await opened.open()
    yield opened
    await opened.leave()
    opened.close()


async def reached(hatch: Hatch, tmp_path: Path) -> Asker:
    asker = Asker()
    assert hatch.name is not None
    await reach(tmp_path / "shared", hatch.name, asker.line)
    return asker


async def test_answers_carry_the_number_of_their_question(hatch: Hatch, tmp_path: Path) -> None:
    one, other = await reached(hatch, tmp_path), await reached(hatch, tmp_path)
    sizes = [0, 1, 12_000, MAX_FRAME, 3]
    for number, size in enumerate(sizes, 1):
        one.line.send(number, bytes([number]) * size)
    other.line.send(9, b"other")
    for number, size in enumerate(sizes, 1):
        assert await one.heard.get() == (number, bytes([number]) * size)
    assert await other.heard.get() == (9, b"other")
    assert one.heard.empty()


async def test_only_the_owner_comes_in(hatch: Hatch, tmp_path: Path) -> None:
    directory = tmp_path / "shared"
    assert hatch.name is not None
    assert stat.S_IMODE((directory / hatch.name).stat().st_mode) == 0o600
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700


async def test_what_was_asked_before_the_end_is_taken(
    hatch: Hatch, answerer: Answerer, tmp_path: Path
) -> None:
    asker = await reached(hatch, tmp_path)
    answerer.held = []
    leaving = asyncio.create_task(hatch.leave())
    for number in range(1, 200):  # some before the news of the end arrives, and none is lost
        if not asker.line.is_open:
            break
        asker.line.send(number, b"x")
        await asyncio.sleep(0)
    sent = number - (not asker.line.is_open)
    await leaving
    assert sent >= 1
    assert [taken for _, taken, _ in answerer.held] == list(range(1, sent + 1))
    for line, taken, payload in answerer.held:
        line.send(taken, payload)
    assert [(await asker.heard.get())[0] for _ in range(sent)] == list(range(1, sent + 1))
    hatch.close()
    await asyncio.wait_for(asker.lost.wait(), 10)
    assert list((tmp_path / "shared").iterdir()) == []


async def test_who_asks_learns_that_the_other_process_is_gone(hatch: Hatch, tmp_path: Path) -> None:
    asker = await reached(hatch, tmp_path)
    asker.line.send(1, b"x")
    await asker.heard.get()
    hatch.close()
    await asyncio.wait_for(asker.lost.wait(), 10)
    assert not asker.line.is_open
    with pytest.raises(Unavailable, match="gone"):
        asker.line.send(2, b"x")


async def test_a_frame_without_end_ends_the_connection(hatch: Hatch, tmp_path: Path) -> None:
    assert hatch.name is not None
    reader, writer = await asyncio.open_unix_connection(str(tmp_path / "shared" / hatch.name))
    writer.write(struct.pack("!II", MAX_FRAME + 1, 1))
    assert await asyncio.wait_for(reader.read(), 10) == b""
    writer.close()
    asker = await reached(hatch, tmp_path)  # the others are served
    asker.line.send(1, b"x")
    assert await asker.heard.get() == (1, b"x")


async def test_sockets_of_killed_processes_are_removed(
    hatch: Hatch, answerer: Answerer, tmp_path: Path
) -> None:
    directory = tmp_path / "shared"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(directory / f"{PREFIX}dead"))
    (directory / "call-1").touch()
    second = Hatch(directory, answerer.asked)
    await second.open()
    assert {path.name for path in directory.iterdir()} == {hatch.name, second.name, "call-1"}
    await second.leave()


async def test_where_no_socket_can_be_there_is_none(answerer: Answerer, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for directory in (None, tmp_path / ("long" * 30), tmp_path / "file"):
        closed = Hatch(directory, answerer.asked)
        await closed.open()
        assert closed.name is None
        await closed.leave()


@pytest.mark.parametrize("name", ["hatch-none", "../hatch-x", "hatch-/../x", "call-1"])
async def test_only_hatches_are_reached(hatch: Hatch, tmp_path: Path, name: str) -> None:
    with pytest.raises(Unavailable):
        await reach(tmp_path / "shared", name, Asker().line)
