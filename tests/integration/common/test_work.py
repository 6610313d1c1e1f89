"""Outbox, compare-and-set, leases and the reaper, on the real servers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from pymongo.errors import OperationFailure

from vitrine_common.bus import Bus
from vitrine_common.clock import after, utcnow
from vitrine_common.documents import Build, Run
from vitrine_common.errors import Conflict, NotFound, StaleState, Unavailable
from vitrine_common.ids import new_id
from vitrine_common.leases import WorkQueue, reap_forever
from vitrine_common.messages import Envelope, EnvironmentRequest, RunFinished, RunStart, seal
from vitrine_common.messages.subjects import COMMANDS, EVENTS
from vitrine_common.settings import MongoSettings
from vitrine_common.states import BUILD, RUN, BuildState, RunState
from vitrine_common.store import Collection, Database


def new_run() -> Run:
    return Run(id=new_id("run"), version_id="v", version_digest="d", owner_id="u")


class AbsentBus:
    """A bus that is down."""

    async def publish(self, envelope: Envelope[Any]) -> None:
        raise Unavailable("down")


Open = Callable[[str], Database]


@pytest.fixture
def runs(opened: Open) -> Collection[Run]:
    return opened("runner").collection(Run)


@pytest.fixture
def queue(runs: Collection[Run]) -> WorkQueue[Run]:
    return WorkQueue(runs, RUN, "runner@a:1", lease_seconds=30)


async def kept(bus: Bus, stream: str) -> int:
    return int((await bus.client.jetstream().stream_info(stream)).state.messages)


async def raw(runs: Collection[Run], run_id: str) -> dict[str, Any]:
    return dict(await runs._raw.find_one({"_id": run_id}))


async def test_a_document_reads_back_as_it_was_written(runs: Collection[Run]) -> None:
    run = await runs.insert(new_run())
    assert await runs.get(run.id) == run


async def test_what_is_not_there_is_named(runs: Collection[Run]) -> None:
    with pytest.raises(NotFound, match="run_missing"):
        await runs.get("run_missing")


async def test_inserting_twice_is_a_conflict(runs: Collection[Run]) -> None:
    run = await runs.insert(new_run())
    with pytest.raises(Conflict):
        await runs.insert(run)


async def test_only_the_writing_service_writes(opened: Open) -> None:
    with pytest.raises(PermissionError, match="runner a command"):
        await opened("api").collection(Run).insert(new_run())


async def test_messages_are_sent_and_marked(bus: Bus, runs: Collection[Run]) -> None:
    run = await runs.insert(new_run(), [RunStart(run_id="x")])
    await runs.outbox.settle()
    assert await kept(bus, COMMANDS) == 1
    document = await raw(runs, run.id)
    assert (document["outbox"], document["outbox_count"]) == ({}, 0)


async def test_a_bus_that_is_away_loses_nothing(
    bus: Bus, runs: Collection[Run], mongo_url: str, database_name: str
) -> None:
    offline = Database(MongoSettings(url=mongo_url, database=database_name), "runner", AbsentBus())
    written = offline.collection(Run)
    run = await written.insert(new_run(), [RunStart(run_id="x")])
    queue = WorkQueue(written, RUN, "runner@b:1", lease_seconds=30)
    claimed = await queue.claim(run.id, RunState.STARTING)
    assert claimed is not None
    await queue.advance(
        claimed,
        RunState.FAILED,
        messages=[RunFinished(run_id=run.id, version_id="v", state=RunState.FAILED)],
    )
    offline.close()
    assert (await raw(runs, run.id))["outbox_count"] == 2

    assert await runs.outbox.drain() == 2
    assert (await kept(bus, COMMANDS), await kept(bus, EVENTS)) == (1, 1)
    assert (await raw(runs, run.id))["outbox_count"] == 0
    assert await runs.outbox.drain() == 0


async def test_a_relay_that_repeats_itself_sends_once(bus: Bus, runs: Collection[Run]) -> None:
    """A relay killed between publishing and marking publishes again: the stream keeps one."""
    run = await runs.insert(new_run())
    await runs.update({"_id": run.id}, {"message": "x"}, messages=[RunStart(run_id=run.id)])
    await runs.outbox.settle()
    before = await kept(bus, COMMANDS)
    envelope = (await bus.client.jetstream().get_last_msg(COMMANDS, "run.start.cpu")).data
    assert envelope is not None
    entry = Envelope[RunStart].model_validate_json(envelope)
    await runs._raw.update_one(
        {"_id": run.id}, {"$set": {f"outbox.{entry.id}": envelope.decode()}, "$inc": {"outbox_count": 1}}
    )
    assert await runs.outbox.drain() == 1
    assert await kept(bus, COMMANDS) == before


async def test_a_message_that_cannot_be_read_stops_no_other(bus: Bus, runs: Collection[Run]) -> None:
    unreadable, readable = await runs.insert(new_run()), await runs.insert(new_run())
    text = seal(RunStart(run_id=readable.id)).model_dump_json()
    strange = text.replace('"run.start"', '"run.teleported"')
    for run, entry in ((unreadable, strange), (readable, text)):
        await runs._raw.update_one(
            {"_id": run.id}, {"$set": {f"outbox.{new_id('msg')}": entry}, "$inc": {"outbox_count": 1}}
        )
    assert await runs.outbox.drain() == 1
    assert await kept(bus, COMMANDS) == 1
    assert (await raw(runs, unreadable.id))["outbox_count"] == 1
    await runs._raw.update_one({"_id": unreadable.id}, {"$set": {"outbox": {}, "outbox_count": 0}})


async def test_racing_claims_have_one_winner(queue: WorkQueue[Run], runs: Collection[Run]) -> None:
    run = await runs.insert(new_run())
    claims = await asyncio.gather(*(queue.claim(run.id, RunState.STARTING) for _ in range(8)))
    assert sum(claim is not None for claim in claims) == 1


async def test_the_table_decides(queue: WorkQueue[Run], runs: Collection[Run]) -> None:
    run = await runs.insert(new_run())
    claimed = await queue.claim(run.id, RunState.STARTING)
    assert claimed is not None
    with pytest.raises(StaleState):
        await queue.advance(claimed, RunState.SUCCEEDED)
    running = await queue.advance(claimed, RunState.RUNNING)
    saving = await queue.advance(running, RunState.SAVING)
    done = await queue.advance(saving, RunState.SUCCEEDED)
    assert (done.state, done.lease_token) == (RunState.SUCCEEDED, "")
    for state in RunState:
        with pytest.raises(StaleState):
            await queue.advance(done, state)


async def test_a_worker_presumed_dead_can_change_nothing(runs: Collection[Run]) -> None:
    run = await runs.insert(new_run())
    slow = WorkQueue(runs, RUN, "runner@slow:1", lease_seconds=0.05)
    stale = await slow.claim(run.id, RunState.STARTING)
    assert stale is not None
    await asyncio.sleep(0.1)
    assert await slow.settle(run.id, RunState.STARTING, RunState.QUEUED) is not None
    fresh = await WorkQueue(runs, RUN, "runner@quick:1", 30).claim(run.id, RunState.STARTING)
    assert fresh is not None
    for attempt in (
        slow.advance(stale, RunState.RUNNING),
        slow.renew(stale),
        slow.note(stale, {"message": "mine"}),
    ):
        with pytest.raises(StaleState):
            await attempt
    now = await runs.get(run.id)
    assert (now.lease_holder, now.attempt, now.message) == ("runner@quick:1", 2, "")


async def test_a_live_lease_is_left_alone(queue: WorkQueue[Run], runs: Collection[Run]) -> None:
    run = await runs.insert(new_run())
    await queue.claim(run.id, RunState.STARTING)
    assert await queue.settle(run.id, RunState.STARTING, RunState.QUEUED) is None
    assert run.id not in [expired.id for expired in await queue.expired()]


async def test_the_heartbeat_keeps_the_lease(runs: Collection[Run]) -> None:
    run = await runs.insert(new_run())
    queue = WorkQueue(runs, RUN, "runner@a:1", lease_seconds=0.6)
    claimed = await queue.claim(run.id, RunState.STARTING)
    assert claimed is not None
    seen: list[Run] = []
    async with queue.held(claimed, seen.append):
        await asyncio.sleep(1.5)
        assert (await runs.get(run.id)).lease_expires_at > utcnow()
    assert len(seen) >= 2


async def test_losing_the_lease_stops_the_work(runs: Collection[Run]) -> None:
    run = await runs.insert(new_run())
    queue = WorkQueue(runs, RUN, "runner@a:1", lease_seconds=0.3)
    claimed = await queue.claim(run.id, RunState.STARTING)
    assert claimed is not None
    await runs.update({"_id": run.id}, {"lease_token": "someone else's", "lease_expires_at": after(30)})
    finished = False
    with pytest.raises(StaleState):
        async with queue.held(claimed):
            await asyncio.sleep(10)
            finished = True
    assert not finished


async def test_a_renewal_that_fails_is_tried_again(
    runs: Collection[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = await runs.insert(new_run())
    queue = WorkQueue(runs, RUN, "runner@a:1", lease_seconds=3.0)
    claimed = await queue.claim(run.id, RunState.STARTING)
    assert claimed is not None
    renew, failures = queue.renew, [OperationFailure("database is locked"), Unavailable("away")]

    async def fails_first(document: Run) -> Run:
        if failures:
            raise failures.pop()
        return await renew(document)

    monkeypatch.setattr(queue, "renew", fails_first)
    renewed = asyncio.Event()
    async with asyncio.timeout(20), queue.held(claimed, lambda _: renewed.set()):
        await renewed.wait()
    assert not failures


async def test_a_lease_that_its_holder_ended_is_not_lost(runs: Collection[Run]) -> None:
    """The heartbeat of work that is done finds no lease, and must not stop what the holder does last."""
    run = await runs.insert(new_run())
    queue = WorkQueue(runs, RUN, "runner@a:1", lease_seconds=0.15)
    claimed = await queue.claim(run.id, RunState.STARTING)
    assert claimed is not None
    async with queue.held(claimed):
        await queue.advance(claimed, RunState.FAILED)
        await asyncio.sleep(0.4)
    assert (await runs.get(run.id)).state is RunState.FAILED


async def test_a_cancelled_holder_stays_cancelled(queue: WorkQueue[Run], runs: Collection[Run]) -> None:
    run = await runs.insert(new_run())
    claimed = await queue.claim(run.id, RunState.STARTING)
    assert claimed is not None

    async def work() -> None:
        async with queue.held(claimed):
            await asyncio.sleep(10)

    task = asyncio.create_task(work())
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_the_reaper_finds_what_died(opened: Open) -> None:
    builds = opened("builder").collection(Build)
    build = await builds.insert(Build(id=new_id("bld"), request=EnvironmentRequest()))
    queue = WorkQueue(builds, BUILD, "builder@a:1", lease_seconds=0.05)
    assert await queue.claim(build.id, BuildState.BUILDING)
    found = asyncio.Event()

    async def requeue(dead: Build) -> None:
        await queue.settle(dead.id, dead.state, BuildState.QUEUED)
        if dead.id == build.id:
            found.set()

    reaper = asyncio.create_task(reap_forever(queue, requeue, pause_seconds=0.05))
    async with asyncio.timeout(10):
        await found.wait()
    reaper.cancel()
    assert (await builds.get(build.id)).state is BuildState.QUEUED


async def test_what_cannot_be_requeued_keeps_nobody_waiting(opened: Open) -> None:
    builds = opened("builder").collection(Build)
    queue = WorkQueue(builds, BUILD, "builder@a:1", lease_seconds=0.05)
    first, second = [
        await builds.insert(Build(id=new_id("bld"), request=EnvironmentRequest())) for _ in range(2)
    ]
    for build in (first, second):
        assert await queue.claim(build.id, BuildState.BUILDING)
    found = asyncio.Event()

    async def requeue(dead: Build) -> None:
        if dead.id == first.id:
            raise ValueError("cannot be requeued")
        if dead.id == second.id:
            found.set()

    reaper = asyncio.create_task(reap_forever(queue, requeue, pause_seconds=0.05))
    async with asyncio.timeout(10):
        await found.wait()
    reaper.cancel()
    for build in (first, second):
        await queue.settle(build.id, BuildState.BUILDING, BuildState.QUEUED)


async def test_each_walks_every_document(runs: Collection[Run]) -> None:
    ids = [
        (await runs.insert(Run(id=new_id("run"), version_id="walk", version_digest="d", owner_id="u"))).id
        for _ in range(7)
    ]
    assert [run.id async for run in runs.each({"version_id": "walk"}, batch=3)] == sorted(ids)
