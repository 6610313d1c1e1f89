"""Reading the queue of runs: which wait, in which flows, and who was served lately. Runners write it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from vitrine_common.clock import utcnow
from vitrine_common.documents import Run, RunRequest
from vitrine_common.documents.base import to_bson
from vitrine_common.fairness import Begun, Flow, Waiting
from vitrine_common.messages import RunWaiting
from vitrine_common.states import RUN, RunState
from vitrine_common.store import Collection

Device = Literal["cpu", "gpu"]


@dataclass(frozen=True, slots=True)
class Head:
    """What is known of a run that waits, without its request; times in milliseconds."""

    id: str
    flow: Flow
    since: float
    expires_at: float
    version_digest: str
    environment_digest: str
    gpus: int
    gpu_memory: int


@dataclass(frozen=True, slots=True)
class Started:
    """A run that was begun, and how long it took, in seconds, once it is over and was not cut short."""

    id: str
    begun: Begun
    seconds: float | None


_HEAD = ("_id", "created_at", "expires_at", "version_digest", "environment_digest", "gpus", "gpu_memory")


class RunQueue:
    """The runs that wait.

    Args:
        runs: the collection.
    """

    def __init__(self, runs: Collection[Run]) -> None:
        self._runs = runs

    async def flows(self, device: Device) -> set[Flow]:
        """Return the flows of which runs wait."""
        keys = await self._runs.distinct("flow", {"state": RunState.QUEUED, "device": device})
        return {Flow.of_key(key) for key in keys if key}

    async def heads(self, device: Device, flow: Flow, limit: int) -> list[Head]:
        """Return the runs of a flow that wait and have not expired, the oldest first."""
        where = {"state": RunState.QUEUED, "device": device, "flow": flow.key}
        exactly = {name: {"$eq": value} for name, value in where.items()}
        unexpired = {**exactly, "expires_at": {"$gt": utcnow()}}
        rows = await self._runs.values(unexpired, _HEAD, (("created_at", 1),), limit)
        return [Head(run_id, flow, *known) for run_id, *known in rows]

    async def window(self, device: Device, limit: int, of_others: int) -> list[Waiting]:
        """Return the `limit` runs that have waited for longest.

        Of flows that these leave out, `of_others` runs each are returned as well.
        """
        waiting = {"state": {"$eq": RunState.QUEUED}, "device": {"$eq": device}}
        where = {**waiting, "expires_at": {"$gt": utcnow()}}
        rows = await self._runs.values(where, ("_id", "flow", "created_at"), (("created_at", 1),), limit)
        found = [Waiting(run_id, Flow.of_key(key), since) for run_id, key, since in rows if key]
        if len(rows) == limit:
            for flow in await self.flows(device) - {one.flow for one in found}:
                heads = await self.heads(device, flow, of_others)
                found += [Waiting(head.id, flow, head.since) for head in heads]
        return found

    async def length(self, device: Device, limit: int) -> tuple[int, float | None]:
        """Return how many runs wait, at most `limit`, and since when the first, in milliseconds."""
        where = {"state": {"$eq": RunState.QUEUED}, "device": {"$eq": device}}
        rows = await self._runs.values(where, ("created_at",), (("created_at", 1),), limit)
        return len(rows), rows[0][0] if rows else None

    async def begun(self, device: Device, limit: int) -> list[Started]:
        """Return the runs that were begun lately, the latest first."""
        where = {"device": {"$eq": device}, "started_at": {"$gt": 0}}
        fields = ("_id", "flow", "started_at", "state", "timings")
        rows = await self._runs.values(where, fields, (("started_at", -1),), limit)
        return [
            Started(run_id, Begun(Flow.of_key(key), at, state in RUN.active), _seconds(timings))
            for run_id, key, at, state, timings in rows
            if key
        ]


def _seconds(timings: Mapping[str, float | None] | None) -> float | None:
    """Return how long a run took, without its wait."""
    known = timings or {}
    if known.get("compute_ms") is None:
        return None
    return sum(known.get(part) or 0.0 for part in ("start_ms", "compute_ms", "save_ms")) / 1000


def head_of(request: RunRequest) -> Head:
    """Return a request as the queue has it."""
    return Head(
        id=request.id,
        flow=request.flow,
        since=to_bson(request.created_at),
        expires_at=to_bson(request.expires_at),
        version_digest=request.version_digest,
        environment_digest=request.environment_digest,
        gpus=request.gpus,
        gpu_memory=request.gpu_memory,
    )


def news_of(head: Head, device: Device) -> RunWaiting:
    """Return what other runners are told of a run that was put into the queue."""
    return RunWaiting(
        run_id=head.id,
        device=device,
        flow=head.flow.key,
        since=head.since,
        expires_at=head.expires_at,
        version_digest=head.version_digest,
        environment_digest=head.environment_digest,
        gpus=head.gpus,
        gpu_memory=head.gpu_memory,
    )


def head_of_news(news: RunWaiting) -> Head:
    """Return a run as the queue has it, by what was told of it. Raises ValueError when it makes no sense."""
    return Head(
        id=news.run_id,
        flow=Flow.of_key(news.flow),
        since=news.since,
        expires_at=news.expires_at,
        version_digest=news.version_digest,
        environment_digest=news.environment_digest,
        gpus=news.gpus,
        gpu_memory=news.gpu_memory,
    )
