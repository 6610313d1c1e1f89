"""What a runner tells operators of itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from runner_doubles import EngineDouble
from runner_site import Site
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
