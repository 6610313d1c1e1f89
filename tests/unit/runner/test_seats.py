"""Workers that calls have: when they are given back, and when a further one is started."""

from __future__ import annotations

import asyncio

import pytest

from vitrine_runner import seats as seats_module
from vitrine_runner.seats import AHEAD, Seats

from .conftest import MakePool, Push
from .test_workers import need, settle

PATIENCE = 20.0


async def test_a_run_that_wants_a_worker_to_itself_gets_it_from_calls_that_never_cease(
    make_pool: MakePool, push: Push, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool, digest = make_pool(), await push({"scaling": {"concurrency": 2, "max": 1}})
    seats = Seats(pool, need(digest), 4, lambda: None)
    first = await seats.take(PATIENCE)
    lonely = pool.lent(need(digest), alone=True)
    entering = asyncio.create_task(lonely.__aenter__())
    await settle()
    monkeypatch.setattr(seats_module, "TURN_SECONDS", 1e6)
    seats.tend()
    assert first.has_place  # it is still the calls' turn
    monkeypatch.setattr(seats_module, "TURN_SECONDS", -1.0)
    seats.tend()
    second = asyncio.create_task(seats.take(PATIENCE))
    await settle()
    assert not second.done()
    seats.release(first)
    async with asyncio.timeout(PATIENCE):
        assert (await entering).worker is first.worker
    await settle()
    assert not second.done()
    await lonely.__aexit__(None, None, None)
    assert (await second).worker is first.worker
    await seats.aclose()


async def test_calls_keep_their_worker_where_nobody_wants_it_to_itself(
    make_pool: MakePool, push: Push, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool, digest = make_pool(), await push({"scaling": {"concurrency": 2, "max": 1}})
    monkeypatch.setattr(seats_module, "TURN_SECONDS", -1.0)
    seats = Seats(pool, need(digest), 4, lambda: None)
    first = await seats.take(PATIENCE)
    async with pool.lent(need(digest)):
        seats.tend()
        assert await seats.take(PATIENCE) is first
    await seats.aclose()


async def test_a_call_that_waits_for_long_ones_gets_a_further_worker(make_pool: MakePool, push: Push) -> None:
    pool, digest = make_pool(), await push()
    seats = Seats(pool, need(digest), 4, lambda: None)
    long = [await seats.take(PATIENCE) for _ in range(1 + AHEAD)]
    assert len({seat.worker for seat in long}) == 1
    other = await seats.take(PATIENCE)  # nothing is given back meanwhile, and nobody tends
    assert other.worker is not long[0].worker
    await seats.aclose()
