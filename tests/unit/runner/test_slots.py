"""Who waits for a slot or a worker hears of every change, also of one that comes before the wait begins."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from vitrine_runner.slots import Slots

from .conftest import MakePool, Push
from .test_workers import settle, use_once


async def woken(change: Awaitable[object]) -> bool:
    """Whether a wait ends that was asked for before what has happened by now."""
    wait = asyncio.ensure_future(change)
    await settle()
    return wait.done() or not wait.cancel()


async def test_a_slot_given_back_before_the_wait_is_begun_wakes() -> None:
    slots = Slots(1)
    assert slots.take()
    change = slots.change()
    slots.release()
    assert await woken(change)


async def test_a_worker_that_becomes_free_before_the_wait_is_begun_wakes(
    make_pool: MakePool, push: Push
) -> None:
    pool, digest = make_pool(), await push()
    change = pool.change()
    await use_once(pool, digest)
    assert await woken(change)


async def test_what_has_changed_before_the_question_wakes_nobody() -> None:
    slots = Slots(2)
    slots.take()
    change = asyncio.ensure_future(slots.change())
    await asyncio.sleep(0)
    assert not change.done()
    slots.take()
    async with asyncio.timeout(20):
        await change
