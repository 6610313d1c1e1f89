"""What becomes of a run when its sandbox misbehaves, told by a double of an engine; real servers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from runner_doubles import EngineDouble
from runner_site import Site
from vitrine_common.messages import RunCancel
from vitrine_common.states import Reason, RunState
from vitrine_engine import Finished, Log, Outcome, RunEvent, RunRequest
from vitrine_engine import Reason as EngineReason
from vitrine_engine import Timings as EngineTimings


async def test_what_the_platform_failed_is_tried_again_in_a_new_worker(site: Site) -> None:
    tries = 0

    async def fail_twice(request: RunRequest) -> AsyncGenerator[RunEvent, None]:
        nonlocal tries
        tries += 1
        reason = EngineReason.PLATFORM_ERROR if tries < 3 else None
        yield Log(stream="stdout", data=b"try %d" % tries)
        yield Finished(outcome=Outcome(reason=reason, message="the sandbox ended unexpectedly"))

    engine = EngineDouble(fail_twice)
    await site.start(engine)
    run = await site.run(await site.script("print(1)"))
    assert (run.state, run.attempt, run.log_tail) == (RunState.SUCCEEDED, 3, "try 3")
    assert len(engine.sandboxes) == 3
    assert run.outputs[0].value == '"try 3"'


async def test_after_the_last_try_the_reason_stays(site: Site) -> None:
    async def fail(request: RunRequest) -> AsyncGenerator[RunEvent, None]:
        yield Finished(outcome=Outcome(reason=EngineReason.PLATFORM_ERROR, message="the disk is on fire"))

    await site.start(EngineDouble(fail), max_attempts=2)
    run = await site.run(await site.script("print(1)"))
    assert (run.state, run.reason, run.attempt) == (RunState.FAILED, Reason.PLATFORM_ERROR, 2)
    assert run.message == "the disk is on fire"


async def test_a_sandbox_stopped_by_others_is_no_cancellation(site: Site) -> None:
    async def stopped(request: RunRequest) -> AsyncGenerator[RunEvent, None]:
        yield Finished(outcome=Outcome(reason=EngineReason.CANCELLED, message="the sandbox was stopped"))

    await site.start(EngineDouble(stopped), max_attempts=1)
    run = await site.run(await site.script("print(1)"))
    assert (run.state, run.reason) == (RunState.FAILED, Reason.PLATFORM_ERROR)


async def test_a_fault_of_the_runner_itself_ends_the_run_and_frees_the_slot(site: Site) -> None:
    async def burst(request: RunRequest) -> AsyncGenerator[RunEvent, None]:
        raise KeyError("a bug")
        yield Finished(outcome=Outcome(reason=None))

    await site.start(EngineDouble(burst), max_attempts=1, slots=1)
    digest = await site.script("print(1)")
    for run in [await site.run(digest), await site.run(digest)]:
        assert (run.state, run.reason) == (RunState.FAILED, Reason.PLATFORM_ERROR)
        assert "a bug" not in run.message


async def test_a_request_that_the_engine_refuses_is_an_invalid_input(site: Site) -> None:
    async def refuse(request: RunRequest) -> AsyncGenerator[RunEvent, None]:
        raise ValueError("argv has a NUL character")
        yield Finished(outcome=Outcome(reason=None))

    await site.start(EngineDouble(refuse))
    run = await site.run(await site.script("print(1)"))
    assert (run.state, run.reason, run.attempt) == (RunState.FAILED, Reason.INPUT_INVALID, 1)
    assert "NUL" in run.message


async def test_a_run_is_cancelled_while_its_worker_starts(site: Site) -> None:
    engine = EngineDouble()
    engine.gate.clear()
    await site.start(engine, slots=1)
    digest = await site.script("print(1)")
    run_id = await site.ask(digest)
    await site.reached(run_id, RunState.STARTING)
    await site.bus.send(RunCancel(run_id=run_id))
    assert (await site.ended(run_id)).state is RunState.CANCELLED
    engine.gate.set()
    run = await site.run(digest)
    assert run.state is RunState.SUCCEEDED
    assert [sandbox.served for sandbox in engine.sandboxes] == [1]


async def test_the_engines_timings_are_told_apart(site: Site) -> None:
    async def timed(request: RunRequest) -> AsyncGenerator[RunEvent, None]:
        await asyncio.sleep(0.1)
        timings = EngineTimings(started=40.0, user=90.0, collected=95.0)
        yield Finished(outcome=Outcome(reason=None, timings=timings, peak_memory_bytes=77, exit_code=0))

    await site.start(EngineDouble(timed))
    run = await site.run(await site.script("print(1)"))
    assert run.timings.compute_ms == 50.0
    assert run.timings.start_ms is not None
    assert run.timings.start_ms >= 40.0
    assert run.timings.total_ms is not None
    assert run.timings.total_ms >= 90.0
    assert run.peak_memory_bytes == 77


async def test_a_host_takes_no_more_than_its_slots_and_leaves_the_rest_to_others(site: Site) -> None:
    gate = asyncio.Event()
    busy = 0

    async def wait(request: RunRequest) -> AsyncGenerator[RunEvent, None]:
        nonlocal busy
        busy += 1
        await gate.wait()
        yield Finished(outcome=Outcome(reason=None))

    first = EngineDouble(wait)
    await site.start(first, slots=2)
    digest = await site.script("print(1)")
    asked = [await site.ask(digest) for _ in range(5)]
    async with asyncio.timeout(20):
        while busy < 2:
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.2)
    assert busy == 2

    other = EngineDouble()
    await site.start(other, slots=2)
    async with asyncio.timeout(20):
        while sum(sandbox.served for sandbox in other.sandboxes) < 3:
            await asyncio.sleep(0.01)
    gate.set()
    runs = [await site.ended(run_id) for run_id in asked]
    assert {run.state for run in runs} == {RunState.SUCCEEDED}
    assert {run.attempt for run in runs} == {1}
    assert busy == 2
