"""What a runner tells operators of itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import httpx

from runner_doubles import EngineDouble
from runner_site import Site
from servers import free_port
from vitrine_common.runner_report import RunnerReport
from vitrine_common.states import RunState
from vitrine_engine import Finished, Outcome, RunEvent, RunRequest


async def test_workers_starts_and_places_are_told(site: Site) -> None:
    gate = asyncio.Event()
    gate.set()

    async def wait(request: RunRequest) -> AsyncGenerator[RunEvent, None]:
        await gate.wait()
        yield Finished(outcome=Outcome(reason=None))

    host = await site.start(EngineDouble(wait), slots=3)
    digest = await site.script("print(1)", resources={"memory": "512Mi"}, scaling={"concurrency": 2})
    for _ in range(3):
        await site.run(digest)
    gate.clear()
    run_id = await site.ask(digest)
    await site.reached(run_id, RunState.RUNNING)
    describe = host.platform.bus.describe
    assert describe is not None
    told = RunnerReport.model_validate((await describe())["runner"])
    (worker,) = told.workers
    assert (worker.state, worker.served, worker.users, worker.places) == ("busy", 4, 1, 2)
    assert (worker.version_digest, worker.owner_id) == (digest, "usr_1")
    assert (told.slots, told.busy, told.draining) == (3, 1, False)
    assert (told.cold_starts, told.warm_starts) == (1, 3)
    assert told.memory_promised == 512 << 20
    gate.set()
    await site.ended(run_id)


async def test_prometheus_reads_what_became_of_runs(site: Site) -> None:
    port = free_port()
    await site.spawn(VITRINE_METRICS_PORT=str(port))
    run = await site.run(await site.script("print(1)"))
    assert run.state is RunState.SUCCEEDED
    async with httpx.AsyncClient() as client, asyncio.timeout(20):
        while True:
            lines = (await client.get(f"http://127.0.0.1:{port}/metrics")).text.splitlines()
            if 'vitrine_runs_total{reason="",state="succeeded"} 1.0' in lines:
                break
            await asyncio.sleep(0.02)
    assert 'vitrine_run_start_seconds_count{start="cold"} 1.0' in lines
    assert 'vitrine_runner_slots{of="all"} 2.0' in lines
    assert 'vitrine_runner_workers{state="free"} 1.0' in lines
