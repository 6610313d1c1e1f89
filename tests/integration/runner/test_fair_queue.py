"""Who is served when, and where; engines are doubles, everything else is real."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from itertools import pairwise

from runner_doubles import EngineDouble
from runner_site import Site
from vitrine_api.waiting import Waiting
from vitrine_common.clock import after
from vitrine_common.documents import Run
from vitrine_common.documents import RunRequest as Request
from vitrine_common.fleet import Fleet
from vitrine_common.ids import new_id
from vitrine_common.run_queue import RunQueue
from vitrine_common.states import RunState
from vitrine_engine import Finished, Outcome, RunEvent, RunRequest

Behaviour = Callable[[RunRequest], AsyncGenerator[RunEvent, None]]


class Turns:
    """Runs that end one at a time, when the test says so; `order` is the order in which they began."""

    def __init__(self) -> None:
        self.order: list[str] = []
        self._permits = asyncio.Semaphore(0)
        self._began = asyncio.Condition()

    async def behave(self, request: RunRequest) -> AsyncGenerator[RunEvent, None]:
        async with self._began:
            self.order.append(request.id)
            self._began.notify_all()
        await self._permits.acquire()
        yield Finished(outcome=Outcome(reason=None))

    async def until_begun(self, number: int) -> None:
        async with asyncio.timeout(40), self._began:
            await self._began.wait_for(lambda: len(self.order) >= number)

    def end(self, number: int = 1) -> None:
        for _ in range(number):
            self._permits.release()


async def queued(site: Site, number: int) -> None:
    """Wait until so many runs are written down as waiting."""
    runs = site.database.collection(Run)
    async with asyncio.timeout(40):
        while len(await runs.find({"state": RunState.QUEUED}, limit=1000)) < number:
            await asyncio.sleep(0.02)


async def test_a_link_with_five_hundred_runs_keeps_nobody_else_waiting(site: Site) -> None:
    turns = Turns()
    await site.start(EngineDouble(turns.behave), slots=2)
    digest = await site.script("print(1)")
    flood = [await site.ask(digest, link_id="link_flood") for _ in range(500)]
    await turns.until_begun(2)
    await queued(site, 498)
    single = await site.ask(digest, link_id="link_single")
    other_owner = await site.ask(digest, owner_id="usr_2", link_id="link_other")
    await queued(site, 500)
    turns.end(2)
    await turns.until_begun(4)
    assert set(turns.order[2:4]) == {single, other_owner}
    turns.end(500)
    for run_id in flood[-1], single, other_owner:
        assert (await site.ended(run_id)).state is RunState.SUCCEEDED
    assert Counter(turns.order) == Counter([*flood, single, other_owner]), "each once, and none lost"


async def test_with_one_place_links_take_turns_and_each_serves_its_oldest(site: Site) -> None:
    turns = Turns()
    await site.start(EngineDouble(turns.behave), slots=1)
    digest = await site.script("print(1)")
    first = await site.ask(digest, link_id="link_a")
    await turns.until_begun(1)
    many = [await site.ask(digest, link_id="link_a") for _ in range(4)]
    few = [await site.ask(digest, link_id="link_b") for _ in range(2)]
    await queued(site, 6)
    turns.end(7)
    await asyncio.gather(*(site.ended(run_id) for run_id in [*many, *few]))
    assert turns.order == [first, few[0], many[0], few[1], *many[1:]]


async def test_several_hosts_share_the_queue_and_nothing_runs_twice(site: Site) -> None:
    engines = [EngineDouble(), EngineDouble(), EngineDouble()]
    for engine in engines:
        await site.start(engine, slots=2)
    digest = await site.script("print(1)")
    asked = [await site.ask(digest, link_id=f"link_{number % 7}") for number in range(120)]
    runs = [await site.ended(run_id) for run_id in asked]
    assert {run.state for run in runs} == {RunState.SUCCEEDED}
    assert {run.attempt for run in runs} == {1}
    assert sum(sandbox.served for engine in engines for sandbox in engine.sandboxes) == 120


async def test_what_waits_survives_the_host_that_wrote_it_down(site: Site) -> None:
    turns = Turns()
    first = await site.start(EngineDouble(turns.behave), slots=1)
    digest = await site.script("print(1)")
    asked = [await site.ask(digest) for _ in range(4)]
    await queued(site, 3)
    await first.stop()
    site.hosts.remove(first)
    await site.start(EngineDouble(), slots=2)
    assert {(await site.ended(run_id)).state for run_id in asked} == {RunState.SUCCEEDED}


async def test_a_run_that_expires_in_the_queue_is_not_begun(site: Site) -> None:
    turns = Turns()
    await site.start(EngineDouble(turns.behave), slots=1)
    digest = await site.script("print(1)")
    await site.ask(digest)
    await turns.until_begun(1)
    late = new_id("run")
    await site.ask(digest, id=late, expires_at=after(0.5))
    await queued(site, 1)
    lasting = await site.ask(digest)
    await queued(site, 2)
    await asyncio.sleep(0.5)
    turns.end(2)
    assert (await site.ended(lasting)).state is RunState.SUCCEEDED
    assert late not in turns.order


async def test_runs_of_a_flow_begin_in_the_order_in_which_they_were_asked_for(site: Site) -> None:
    turns = Turns()
    await site.start(EngineDouble(turns.behave), slots=1)
    digest = await site.script("print(1)")
    asked = [await site.ask(digest) for _ in range(20)]
    turns.end(20)
    runs = [await site.ended(run_id) for run_id in asked]
    assert turns.order == asked
    begun = [run.started_at for run in runs]
    assert all(one and next_ and one <= next_ for one, next_ in pairwise(begun))


async def test_places_that_pages_tell_are_the_order_in_which_runs_begin(site: Site) -> None:
    turns = Turns()
    await site.start(EngineDouble(turns.behave), slots=2)
    digest = await site.script("print(1)")
    for _ in range(2):
        await site.ask(digest, link_id="link_a")
    await turns.until_begun(2)
    links = ("a", "a", "a", "b", "b", "c")
    asked = [
        await site.ask(digest, link_id=f"link_{link}", owner_id=f"usr_{owner}")
        for owner, link in [*((1, link) for link in links), (2, "d"), (2, "d")]
    ]
    await queued(site, len(asked))
    requests = [await site.database.collection(Request).get(run_id) for run_id in asked]
    places = Waiting(RunQueue(site.database.collection(Run)), Fleet())
    told = {request.id: (await places.place(request)).ahead for request in requests}
    for number in range(len(asked)):
        turns.end()
        await turns.until_begun(3 + number)
    turns.end(2)
    assert turns.order[2:] == sorted(asked, key=told.__getitem__)


async def test_a_long_queue_hides_nobody_from_the_pages(site: Site) -> None:
    turns = Turns()
    await site.start(EngineDouble(turns.behave), slots=1)
    digest = await site.script("print(1)")
    await site.ask(digest, link_id="link_flood")
    await turns.until_begun(1)
    for _ in range(29):
        await site.ask(digest, link_id="link_flood")
    await site.ask(digest, link_id="link_single")
    await queued(site, 30)
    found = await RunQueue(site.database.collection(Run)).window("cpu", 10, 3)
    assert Counter(one.flow.lane for one in found) == {"link_flood": 10, "link_single": 1}
    turns.end(31)
