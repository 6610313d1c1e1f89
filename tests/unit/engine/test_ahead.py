"""A cell made ahead while it still opens: whatever becomes of it, the run that waits for it goes on."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from vitrine_engine.process.ahead import Ahead
from vitrine_engine.process.cell import ProcessCell


class Opening:
    """A cell that opens when it is let."""

    def __init__(self) -> None:
        self.may_open = asyncio.Event()
        self.is_ready = False
        self.closed = asyncio.Event()

    async def open_script(self) -> None:
        await self.may_open.wait()
        self.is_ready = True

    async def close(self) -> None:
        self.closed.set()


def begun() -> tuple[Ahead, Opening]:
    ahead, cell = Ahead(), Opening()
    ahead.begin(cast("ProcessCell", cell))
    return ahead, cell


async def waiting(ahead: Ahead) -> asyncio.Task[ProcessCell | None]:
    taking = asyncio.ensure_future(ahead.take())
    for _ in range(3):
        await asyncio.sleep(0)
    return taking


async def test_a_cell_that_is_dropped_while_a_run_waits_for_it_cancels_no_run() -> None:
    ahead, cell = begun()
    taking = await waiting(ahead)
    ahead.drop()
    assert await taking is None
    await cell.closed.wait()


async def test_no_timer_drops_a_cell_that_a_run_waits_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vitrine_engine.process.ahead.KEPT_SECONDS", 0.01)
    ahead, cell = begun()
    taking = await waiting(ahead)
    await asyncio.sleep(0.03)
    cell.may_open.set()
    assert await taking is cast("ProcessCell", cell)
    assert not cell.closed.is_set()


async def test_a_run_that_is_cancelled_leaves_no_cell() -> None:
    ahead, cell = begun()
    taking = await waiting(ahead)
    taking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await taking
    await cell.closed.wait()
    assert not list(ahead.cells)
