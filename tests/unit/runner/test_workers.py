"""The pool of workers: when one is started, shared, kept and stopped."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, suppress

import pytest

from runner_doubles import BlobsDouble, EngineDouble
from vitrine_common.messages import WarmEnvironment
from vitrine_common.states import Reason
from vitrine_engine import LoadError, StartError
from vitrine_engine import Reason as EngineReason
from vitrine_runner.errors import RunFault
from vitrine_runner.workers import Lent, Need, WorkerPool

from .conftest import ENVIRONMENT, MakePool, Push


def need(digest: str) -> Need:
    return Need(digest, ENVIRONMENT, "usr_somebody")


async def use_once(pool: WorkerPool, digest: str) -> Lent:
    async with pool.lent(need(digest)) as lent:
        return lent


async def settle() -> None:
    """Let tasks that are ready go on."""
    for _ in range(20):
        await asyncio.sleep(0)


async def until(condition: object) -> None:
    assert callable(condition)
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


async def test_a_worker_is_used_again(make_pool: MakePool, push: Push, engine: EngineDouble) -> None:
    pool, digest = make_pool(), await push()
    first, second = await use_once(pool, digest), await use_once(pool, digest)
    assert (first.cold, second.cold) == (True, False)
    assert first.worker is second.worker
    assert len(engine.sandboxes) == 1


async def test_versions_and_environments_never_share_a_worker(make_pool: MakePool, push: Push) -> None:
    pool = make_pool()
    one, other = await push(), await push(files={"main.py": b"print(2)"})
    workers = [(await use_once(pool, digest)).worker for digest in (one, other)]
    assert workers[0] is not workers[1]
    absent = Need(one, "sha256:" + "0" * 64, "usr_somebody")
    with pytest.raises(RunFault, match="VITRINE_ENVIRONMENTS_DIR") as caught:
        async with pool.lent(absent):
            pass
    assert caught.value.reason is Reason.PLATFORM_ERROR


async def test_runs_at_the_same_time_get_workers_of_their_own(
    make_pool: MakePool, push: Push, engine: EngineDouble
) -> None:
    pool, digest = make_pool(), await push()
    async with pool.lent(need(digest)) as first, pool.lent(need(digest)) as second:
        assert first.worker is not second.worker
    assert len(engine.living) == 2


async def test_a_worker_takes_as_many_runs_as_its_model_says(
    make_pool: MakePool, push: Push, engine: EngineDouble
) -> None:
    pool, digest = make_pool(), await push({"scaling": {"concurrency": 2}})
    engine.gate.clear()
    starting = [asyncio.create_task(use_once(pool, digest)) for _ in range(2)]
    await until(lambda: engine.sandboxes)
    await settle()
    engine.gate.set()
    lent = await asyncio.gather(*starting)
    assert len(engine.sandboxes) == 1
    assert [item.cold for item in lent] == [True, True]
    assert engine.sandboxes[0].spec.max_runs == 2


async def test_a_run_that_shall_be_alone_waits_for_a_worker_without_others(
    make_pool: MakePool, push: Push, engine: EngineDouble
) -> None:
    pool, digest = make_pool(), await push({"scaling": {"concurrency": 3, "max": 1}})
    order: list[str] = []

    async def use(name: str, held: asyncio.Event, *, alone: bool = False) -> None:
        async with pool.lent(need(digest), alone=alone) as lent:
            order.append(name)
            assert lent.worker.users == 1 or not alone
            assert lent.worker.free_places == (0 if alone else 3 - lent.worker.users)
            await held.wait()

    first, lonely, rest = asyncio.Event(), asyncio.Event(), asyncio.Event()
    rest.set()
    uses = [asyncio.create_task(use("first", first))]
    await until(lambda: order)
    for name, held, alone in (("alone", lonely, True), ("again", rest, True), ("after", rest, False)):
        uses.append(asyncio.create_task(use(name, held, alone=alone)))
        await settle()
    assert order == ["first"]  # there are places, but not for who shall be alone, nor for who came after
    first.set()
    await until(lambda: len(order) > 1)
    await settle()
    assert order == ["first", "alone"]
    lonely.set()
    await asyncio.gather(*uses)
    assert order == ["first", "alone", "again", "after"]
    assert len(engine.sandboxes) == 1


async def test_a_run_that_gave_up_being_alone_keeps_nobody_waiting(make_pool: MakePool, push: Push) -> None:
    pool, digest = make_pool(), await push({"scaling": {"concurrency": 2, "max": 1}})
    async with pool.lent(need(digest)):
        lonely = asyncio.create_task(pool.lent(need(digest), alone=True).__aenter__())
        await settle()
        waiting = asyncio.create_task(use_once(pool, digest))
        await settle()
        assert not waiting.done()
        lonely.cancel()
        async with asyncio.timeout(20):
            assert (await waiting).cold is False


async def test_no_more_workers_than_the_model_says(
    make_pool: MakePool, push: Push, engine: EngineDouble
) -> None:
    pool, digest = make_pool(), await push({"scaling": {"max": 1}})
    async with pool.lent(need(digest)):
        waiting = asyncio.create_task(use_once(pool, digest))
        await settle()
        assert not waiting.done()
    assert (await waiting).cold is False
    assert len(engine.sandboxes) == 1


async def test_room_is_made_by_the_idle_worker_used_longest_ago_and_never_by_a_busy_one(
    make_pool: MakePool, push: Push, engine: EngineDouble
) -> None:
    pool = make_pool(memory_bytes=700 << 20)
    resources = {"resources": {"memory": "300Mi"}}
    a, b, c = [await push(resources, {"main.py": f"print({n})".encode()}) for n in range(3)]
    async with pool.lent(need(a)) as busy:
        await use_once(pool, b)
        await use_once(pool, c)
        assert [worker.need for worker in pool.workers] == [need(a), need(c)]
        async with pool.lent(need(c)):
            waiting = asyncio.create_task(use_once(pool, b))
            await settle()
            assert not waiting.done()
        await waiting
        assert busy.worker.is_ready
    assert [worker.need for worker in pool.workers] == [need(a), need(b)]
    assert not any(sandbox.stopped_while_running for sandbox in engine.sandboxes)


async def test_idle_time_begins_when_a_worker_is_ready_and_free(
    make_pool: MakePool, push: Push, engine: EngineDouble
) -> None:
    pool, digest = make_pool(idle_seconds=0.05), await push()
    engine.gate.clear()
    starting = asyncio.create_task(use_once(pool, digest))
    await until(lambda: engine.sandboxes)
    await asyncio.sleep(0.1)
    pool.stop_idle()
    engine.gate.set()
    worker = (await starting).worker
    async with pool.lent(need(digest)) as lent:
        await asyncio.sleep(0.1)
        pool.stop_idle()
        assert lent.worker is worker
        assert worker.is_ready
    pool.stop_idle()
    assert pool.workers == [worker]
    await asyncio.sleep(0.06)
    pool.stop_idle()
    assert pool.workers == []
    await until(lambda: engine.stopped)


async def test_the_models_own_idle_time_and_minimum_win(make_pool: MakePool, push: Push) -> None:
    pool = make_pool(idle_seconds=0.01, memory_bytes=64 << 30)
    patient = await push({"scaling": {"idle": "1h"}}, {"main.py": b"patient"})
    kept = await push({"scaling": {"min": 1}}, {"main.py": b"kept"})
    for digest in (patient, kept, await push()):
        await use_once(pool, digest)
    await asyncio.sleep(0.02)
    pool.stop_idle()
    assert [worker.need for worker in pool.workers] == [need(patient), need(kept)]


async def test_a_dead_sandbox_is_replaced(make_pool: MakePool, push: Push, engine: EngineDouble) -> None:
    pool, digest = make_pool(), await push()
    await use_once(pool, digest)
    engine.sandboxes[0].die()
    lent = await use_once(pool, digest)
    assert lent.cold is True
    assert len(engine.living) == 1
    pool.stop_idle()
    assert len(pool.workers) == 1


@pytest.mark.parametrize(
    ("start", "load", "reason", "sentence"),
    [
        (StartError("bubblewrap is missing"), None, Reason.PLATFORM_ERROR, "bubblewrap is missing"),
        (None, LoadError(EngineReason.USER_ERROR, "no graph"), Reason.USER_ERROR, "no graph"),
        (None, LoadError(EngineReason.OUT_OF_MEMORY, "too big"), Reason.OUT_OF_MEMORY, "too big"),
    ],
)
async def test_a_worker_that_cannot_start_says_whose_fault_it_is(
    *,
    make_pool: MakePool,
    push: Push,
    engine: EngineDouble,
    start: StartError | None,
    load: LoadError | None,
    reason: Reason,
    sentence: str,
) -> None:
    pool, digest = make_pool(), await push()
    engine.start_error, engine.load_error = start, load
    with pytest.raises(RunFault, match=sentence) as caught:
        await use_once(pool, digest)
    assert caught.value.reason is reason
    await until(lambda: not pool.workers and not engine.living)
    engine.start_error = engine.load_error = None
    assert (await use_once(pool, digest)).cold is True


async def test_a_start_that_nobody_waits_for_any_more_gives_a_free_worker(
    make_pool: MakePool, push: Push, engine: EngineDouble
) -> None:
    pool, digest = make_pool(), await push()
    engine.gate.clear()
    starting = asyncio.create_task(use_once(pool, digest))
    await until(lambda: engine.sandboxes)
    starting.cancel()
    with suppress(asyncio.CancelledError):
        await starting
    engine.gate.set()
    await until(lambda: pool.workers[0].is_idle)
    assert (await use_once(pool, digest)).cold is False


async def test_limits_are_the_models_within_the_hosts(
    make_pool: MakePool, push: Push, engine: EngineDouble
) -> None:
    pool = make_pool(memory_bytes=1 << 30, max_run_seconds=30.0, scratch_bytes=5 << 20, output_bytes=77)
    digest = await push({"resources": {"memory": "8Gi", "timeout": "2h", "processes": 7}})
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(pool.lent(need(digest)))
        limits = engine.sandboxes[0].spec.limits
    assert (limits.memory_bytes, limits.wall_seconds, limits.processes) == (1 << 30, 30.0, 7)
    assert (limits.disk_bytes, limits.output_bytes) == (5 << 20, 77)


async def test_the_environment_gets_ready_while_the_files_are_fetched(
    make_pool: MakePool, push: Push, blobs: BlobsDouble
) -> None:
    pool, asked = make_pool(), asyncio.Event()
    ready: list[str] = []

    async def ahead(environment: WarmEnvironment) -> None:
        ready.append(environment.environment_digest)
        asked.set()

    pool.ahead = ahead
    digest = await push()
    blobs.gate.clear()
    using = asyncio.create_task(use_once(pool, digest))
    await asyncio.wait_for(asked.wait(), 20)
    assert not using.done()
    blobs.gate.set()
    await using
    await use_once(pool, digest)
    assert ready == [ENVIRONMENT], "files that are here keep nobody waiting"
