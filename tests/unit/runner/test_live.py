"""News of a run: throttled, bounded, in order."""

from __future__ import annotations

import asyncio
from typing import cast

from vitrine_common.bus import Bus
from vitrine_common.messages import RunProgress
from vitrine_common.states import RunState
from vitrine_runner.live import PIECE_CHARACTERS, TAIL_BYTES, TOTAL_CHARACTERS, LiveFeed


class BusDouble:
    """Keeps what is told."""

    def __init__(self) -> None:
        self.told: list[RunProgress] = []
        self.is_away = False

    async def tell(self, news: RunProgress) -> None:
        if self.is_away:
            raise ConnectionError("away")
        self.told.append(news)


def feed_of(bus: BusDouble) -> LiveFeed:
    return LiveFeed(cast("Bus", bus), "run_1")


async def test_many_lines_become_few_messages_before_the_next_state() -> None:
    bus = BusDouble()
    feed = feed_of(bus)
    await feed.state(RunState.RUNNING)
    for number in range(500):
        feed.printed(f"{number}\n".encode())
    feed.progressed(0.5, "half")
    await feed.state(RunState.SUCCEEDED, "done")
    assert [item.state for item in bus.told] == [RunState.RUNNING, RunState.RUNNING, RunState.SUCCEEDED]
    assert bus.told[1].log.endswith("499\n")
    assert (bus.told[1].fraction, bus.told[1].message) == (0.5, "half")
    assert bus.told[2].message == "done"


async def test_printed_text_is_sent_without_waiting_for_a_state() -> None:
    bus = BusDouble()
    feed = feed_of(bus)
    for half in (b"caf\xc3", b"\xa9\n"):
        feed.printed(half)
    async with asyncio.timeout(10):
        while not bus.told:
            await asyncio.sleep(0.01)
    assert bus.told[0].log == "café\n"


async def test_a_flood_is_cut_and_its_end_kept() -> None:
    bus = BusDouble()
    feed = feed_of(bus)
    for _ in range(2 * TOTAL_CHARACTERS // PIECE_CHARACTERS):
        feed.printed(b"x" * 2 * PIECE_CHARACTERS)
        await feed.state(RunState.RUNNING)
    feed.printed(b"\0the end")
    await feed.state(RunState.SUCCEEDED)
    assert max(len(item.log) for item in bus.told) == PIECE_CHARACTERS
    assert sum(len(item.log) for item in bus.told) == TOTAL_CHARACTERS
    assert feed.tail.endswith("�the end")
    assert len(feed.tail) <= TAIL_BYTES


async def test_a_bus_that_is_away_harms_no_run() -> None:
    bus = BusDouble()
    bus.is_away = True
    feed = feed_of(bus)
    feed.printed(b"text")
    await feed.state(RunState.SUCCEEDED)
    assert feed.tail == "text"
