"""Runs that one worker takes at a time share a slot; engines are doubles, everything else is real."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from runner_doubles import EngineDouble
from runner_site import Site
from vitrine_common.states import RunState
from vitrine_engine import Finished, Outcome, RunEvent, RunRequest
from vitrine_runner.slots import Shares, Slots
from vitrine_runner.worker import Need


class Door:
    """Runs that go on until they are let out; it notes who is inside."""

    def __init__(self) -> None:
        self.inside: list[str] = []
        self.begun: list[str] = []
        self.open = asyncio.Event()

    async def behave(self, request: RunRequest) -> AsyncGenerator[RunEvent, None]:
        self.inside.append(request.id)
        self.begun.append(request.id)
        await self.open.wait()
        self.inside.remove(request.id)
        yield Finished(outcome=Outcome(reason=None))

    async def until(self, count: int) -> None:
        async with asyncio.timeout(30):
            while len(self.inside) < count:
                await asyncio.sleep(0.02)


async def test_as_many_runs_go_on_in_one_worker_as_it_takes(site: Site) -> None:
    door = Door()
    engine = EngineDouble(door.behave)
    await site.start(engine, slots=1)
    digest = await site.script("print(1)", scaling={"concurrency": 4, "max": 1})
    asked = [await site.ask(digest) for _ in range(6)]
    await door.until(4)
    assert len(engine.living) == 1
    door.open.set()
    assert {(await site.ended(run_id)).state for run_id in asked} == {RunState.SUCCEEDED}
    assert len(engine.sandboxes) == 1


async def test_who_waits_for_a_slot_is_not_passed_by_those_who_share_one(site: Site) -> None:
    door = Door()
    await site.start(EngineDouble(door.behave), slots=1)
    shared = await site.script("print(1)", scaling={"concurrency": 3, "max": 1})
    single = await site.script("print(2)")
    first = await site.ask(shared)
    await door.until(1)
    other = await site.ask(single, owner_id="usr_2")
    async with asyncio.timeout(30):
        while (found := await site.look(other)) is None or found.state is not RunState.QUEUED:
            await asyncio.sleep(0.02)
    late = [await site.ask(shared) for _ in range(2)]
    assert door.inside == [first]
    door.open.set()
    for run_id in (first, other, *late):
        assert (await site.ended(run_id)).state is RunState.SUCCEEDED
    assert door.begun.index(other) == 1


def test_a_slot_is_given_back_when_no_run_of_the_version_needs_it() -> None:
    need, other = Need("v1", "e", "o"), Need("v2", "e", "o")
    places = {need: 1, other: 1}
    slots = Slots(2)
    shares = Shares(slots, lambda one: places[one], lambda _: True)
    assert shares.take(need)
    places[need] = 3  # once its worker is there
    assert [shares.take(need) for _ in range(2)] == [True, True]
    assert (slots.busy, shares.is_free) == (1, True)
    assert shares.take(need), "a fourth run takes a slot of its own"
    assert (slots.busy, shares.take(other)) == (2, False)
    shares.release(need)
    assert (slots.busy, shares.take(other)) == (1, True)
    assert not shares.is_free
    places[need] = 1  # its worker died
    for _ in range(3):
        shares.release(need)
    assert slots.busy == 1
    shares.release(other)
    assert slots.busy == 0
    slots.close()
    assert not shares.take(need)
