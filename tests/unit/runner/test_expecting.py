"""Workers for runs that are about to be asked for: started early, in nobody's place."""

from __future__ import annotations

import asyncio
import shutil

import pytest

from runner_doubles import EngineDouble
from vitrine_common.fleet import Fleet
from vitrine_common.messages import RunnerBeat, WarmEnvironment
from vitrine_common.shelf import EnvironmentGone
from vitrine_engine import LoadError
from vitrine_engine import Reason as EngineReason
from vitrine_runner.expecting import Expecting
from vitrine_runner.placement import Placement
from vitrine_runner.slots import Slots
from vitrine_runner.workers import WorkerPool

from .conftest import ENVIRONMENT, MakePool, Push
from .test_workers import need, settle, until, use_once


class Desk:
    """What one runner has, with other runners that say what the test wants."""

    def __init__(self, pool: WorkerPool, slots: int = 2) -> None:
        self.fleet = Fleet()
        self.slots = Slots(slots)
        placement = Placement(pool, self.fleet, "runner@here:1", 1 << 30)
        self.expecting = Expecting(pool, pool._bundles, placement, self.slots)

    async def told(self, digest: str) -> None:
        self.expecting.expect(need(digest))
        await asyncio.gather(*self.expecting._tasks.values())


async def fetched(pool: WorkerPool, digest: str) -> None:
    """Have a version's files here, and no worker of it."""
    await use_once(pool, digest)
    for worker in pool.workers:
        pool._begin_stop(worker)
    await until(lambda: not pool._living)


async def test_the_run_finds_its_worker_and_counts_as_cold(
    make_pool: MakePool, push: Push, engine: EngineDouble
) -> None:
    pool, digest = make_pool(), await push()
    await fetched(pool, digest)
    await Desk(pool).told(digest)
    (sandbox,) = engine.living
    assert engine.expected == [sandbox.id]
    assert pool.workers[0].is_idle
    lent = await use_once(pool, digest)
    assert lent.worker.sandbox is sandbox
    assert (lent.cold, (await use_once(pool, digest)).cold) == (True, False)


async def test_a_run_that_comes_meanwhile_waits_for_that_worker(
    make_pool: MakePool, push: Push, engine: EngineDouble
) -> None:
    pool, digest = make_pool(), await push()
    await fetched(pool, digest)
    desk = Desk(pool)
    engine.gate.clear()
    desk.expecting.expect(need(digest))
    await until(lambda: engine.living)
    run = asyncio.create_task(use_once(pool, digest))
    await settle()
    engine.gate.set()
    assert (await run).cold
    assert len(engine.living) == 1


async def test_a_worker_that_lives_is_told(make_pool: MakePool, push: Push, engine: EngineDouble) -> None:
    pool, digest = make_pool(), await push()
    desk = Desk(pool)
    async with pool.lent(need(digest)):
        await desk.told(digest)
        assert engine.expected == []
    await desk.told(digest)
    assert engine.expected == [engine.living[0].id]


@pytest.mark.parametrize("why", ["not fetched", "no slot", "full", "gpu", "limited", "better elsewhere"])
async def test_nothing_is_started_where_it_would_be_in_the_way(
    make_pool: MakePool, push: Push, engine: EngineDouble, why: str
) -> None:
    pool = make_pool(memory_bytes=1 << 30)
    extra = {"gpu": {"resources": {"gpu": 1}}, "limited": {"scaling": {"max": 1}}}.get(why, {})
    digest = await push({"resources": {"memory": "600Mi"}, **extra})
    if why not in {"not fetched", "gpu"}:
        await fetched(pool, digest)
    desk = Desk(pool, slots=1)
    if why == "no slot":
        desk.slots.take()
    if why == "full":
        other = await push({"resources": {"memory": "600Mi"}}, {"main.py": b"print(2)"})
        await use_once(pool, other)
    if why == "better elsewhere":
        place = WarmEnvironment(environment_digest=ENVIRONMENT, owner_id=need(digest).owner_id)
        desk.fleet.hear(beat(place))
    before = len(engine.sandboxes)
    await desk.told(digest)
    assert len(engine.sandboxes) == before


async def test_no_environment_is_fetched_for_what_is_only_expected(
    make_pool: MakePool, push: Push, engine: EngineDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool, digest = make_pool(), await push()
    await fetched(pool, digest)
    shutil.rmtree(pool.shelf.path(ENVIRONMENT))
    made = []

    async def note(environment: str) -> None:
        made.append(environment)
        raise EnvironmentGone("it was removed")

    monkeypatch.setattr(pool.shelf, "_made_again", note)
    await Desk(pool).told(digest)
    assert (made, pool.workers, len(engine.sandboxes)) == ([], [], 1)


async def test_a_worker_that_starts_for_a_run_to_come_makes_way_for_one_that_is_there(
    make_pool: MakePool, push: Push, engine: EngineDouble
) -> None:
    pool = make_pool(memory_bytes=1 << 30)
    large = {"resources": {"memory": "600Mi"}}
    digest, other = await push(large), await push(large, {"main.py": b"print(2)"})
    await fetched(pool, digest)
    desk = Desk(pool)
    engine.gate.clear()
    desk.expecting.expect(need(digest))
    await until(lambda: engine.living)
    (expected,) = engine.living
    assert pool.memory_free == 1 << 30
    run = asyncio.create_task(use_once(pool, other))
    await until(lambda: not expected.alive)
    engine.gate.set()
    assert (await run).worker.need == need(other)
    assert not desk.expecting._tasks


async def test_what_was_idle_before_makes_way_first(
    make_pool: MakePool, push: Push, engine: EngineDouble
) -> None:
    pool = make_pool(memory_bytes=2 << 30)
    large = {"resources": {"memory": "900Mi"}}
    digest, idle, other = [await push(large, {"main.py": b"print(%d)" % number}) for number in range(3)]
    await fetched(pool, digest)
    await use_once(pool, idle)
    engine.gate.clear()
    Desk(pool).expecting.expect(need(digest))
    await until(lambda: len(engine.living) == 2)
    run = asyncio.create_task(use_once(pool, other))
    await until(lambda: len(engine.sandboxes) == 4)
    assert [worker.need for worker in pool.workers] == [need(digest), need(other)]
    engine.gate.set()
    await run


async def test_what_is_wrong_with_a_version_is_told_to_its_run(
    make_pool: MakePool, push: Push, engine: EngineDouble, caplog: pytest.LogCaptureFixture
) -> None:
    pool, digest = make_pool(), await push()
    await fetched(pool, digest)
    engine.load_error = LoadError(EngineReason.USER_ERROR, "no such class")
    await Desk(pool).told(digest)
    await until(lambda: not pool.workers)
    assert not [record for record in caplog.records if record.levelname in {"WARNING", "ERROR"}]
    engine.load_error = None
    assert (await use_once(pool, digest)).cold


def beat(*environments: WarmEnvironment) -> RunnerBeat:
    """Return what another runner tells that has these environments ready."""
    return RunnerBeat(
        holder="runner@there:2",
        devices=("cpu",),
        slots=2,
        busy=0,
        memory_bytes=1 << 33,
        memory_free=1 << 33,
        warm=(),
        environments=environments,
        gpus=(),
    )
