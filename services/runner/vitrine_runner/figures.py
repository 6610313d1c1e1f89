"""What operators are told of this host."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Any, Literal

from vitrine_common.runner_report import RunnerReport, WorkerReport, ZygoteReport
from vitrine_common.telemetry import metrics
from vitrine_engine import Engine, Usage
from vitrine_runner.dispatch import Dispatcher
from vitrine_runner.worker import Worker
from vitrine_runner.workers import WorkerPool

MEASURE_SECONDS = 0.15
"""What was not measured by then is left out: operators are answered in 0.3 s."""


class Figures:
    """Tells of this host.

    Args:
        engine: where user code runs.
        pool: the workers.
        dispatcher: what is worked on.
    """

    def __init__(self, engine: Engine, pool: WorkerPool, dispatcher: Dispatcher) -> None:
        self._engine = engine
        self._pool = pool
        self._dispatcher = dispatcher

    async def told(self) -> Mapping[str, Any]:
        """Return the report as processes tell it."""
        return {"runner": (await self.report()).model_dump(mode="json")}

    async def report(self) -> RunnerReport:
        """Return how this host is, with memory measured."""
        pool, slots = self._pool, self._dispatcher.slots
        workers = pool.workers
        used = await asyncio.gather(*(_usage(worker) for worker in workers))
        zygotes = self._engine.figures().zygotes
        cold, warm = pool.starts.of_last_hour
        return RunnerReport(
            slots=slots.number,
            busy=slots.busy,
            devices=list(self._dispatcher.devices),
            draining=slots.closed,
            memory_bytes=pool.memory_bytes,
            memory_promised=sum(worker.limits.memory for worker in workers),
            memory_used=sum(one or 0 for one in used) + sum(zygote.memory_bytes for zygote in zygotes),
            workers=[_worker(worker, memory) for worker, memory in zip(workers, used, strict=True)],
            zygotes=[
                ZygoteReport(
                    environment_digest=f"sha256:{one.environment.name}",
                    owner_id=one.owner,
                    pid=one.pid,
                    memory_bytes=one.memory_bytes,
                    modules=len(one.modules),
                    sandboxes=one.sandboxes,
                )
                for one in zygotes
            ],
            gpus=list(pool.gpus.states()),
            cold_starts=cold,
            warm_starts=warm,
        )

    def export(self) -> None:
        """Let the gauges of metrics be read from here."""
        pool, slots = self._pool, self._dispatcher.slots
        metrics.follow("vitrine_runner_slots", lambda: slots.number, of="all")
        metrics.follow("vitrine_runner_slots", lambda: slots.busy, of="busy")
        for state in ("starting", "busy", "free"):
            metrics.follow("vitrine_runner_workers", partial(self._workers_in, state), state=state)
        metrics.follow("vitrine_runner_zygotes", lambda: len(self._engine.figures().zygotes))
        metrics.follow("vitrine_runner_memory_bytes", lambda: pool.memory_bytes, of="all")
        metrics.follow(
            "vitrine_runner_memory_bytes",
            lambda: sum(worker.limits.memory for worker in pool.workers),
            of="promised",
        )
        metrics.follow("vitrine_runner_gpus", lambda: len(pool.gpus.devices), of="all")
        metrics.follow("vitrine_runner_gpus", lambda: sum(one.free for one in pool.gpus.states()), of="free")

    def _workers_in(self, state: str) -> int:
        return sum(_state(worker) == state for worker in self._pool.workers)


def _state(worker: Worker) -> Literal["starting", "busy", "free"]:
    if not worker.is_ready:
        return "starting"
    return "busy" if worker.users else "free"


def _worker(worker: Worker, memory: int | None) -> WorkerReport:
    return WorkerReport(
        id=worker.sandbox.id if worker.is_ready else "",
        version_digest=worker.need.version_digest,
        owner_id=worker.need.owner_id,
        environment_digest=worker.need.environment_digest,
        state=_state(worker),
        since=worker.since,
        served=worker.served,
        users=worker.users,
        places=worker.bundle.spec.scaling.concurrency,
        memory_bytes=memory,
        memory_limit=worker.limits.memory,
    )


async def _usage(worker: Worker) -> int | None:
    if not worker.is_ready:
        return None
    try:
        async with asyncio.timeout(MEASURE_SECONDS):
            usage: Usage = await worker.sandbox.usage()
    except Exception:  # noqa: BLE001 - one that ends meanwhile has no figures
        return None
    return usage.memory_bytes
