"""Runs and trials: what was asked for, and what became of it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from vitrine_api.repository.paging import Page, Where, by_ids, page_of
from vitrine_common.documents import (
    Checkpoint,
    MetricPoint,
    ResourceSample,
    Run,
    RunRequest,
    ScoringRecord,
    TrainRequest,
    Trial,
)
from vitrine_common.run_queue import RunQueue
from vitrine_common.states import RunState
from vitrine_common.store import Collection, Database


class Runs:
    """Run requests, and what the runner made of them."""

    def __init__(self, database: Database) -> None:
        self.requests = database.collection(RunRequest)
        self._runs = database.collection(Run)
        self.queue = RunQueue(self._runs)

    async def run(self, run_id: str) -> Run | None:
        """Return what became of a request; None while no runner has taken note of it."""
        return await self._runs.find_one({"_id": run_id})

    async def runs(self, ids: Iterable[str]) -> dict[str, Run]:
        """Return runs by id."""
        return await by_ids(self._runs, ids)

    async def page_in(self, where: Where, limit: int, after: str | None) -> Page[Run]:
        """Return what became of requests, newest first, whatever index serves `where`."""
        return await page_of(self._runs, where, limit, after)

    async def count(self, owner_id: str, since: datetime, until: datetime) -> int:
        """Return how many runs of the owner's versions were asked for, but those by blind links."""
        return await _count(self.requests, {"owner_id": {"$eq": owner_id}}, since, until)

    async def count_failed(self, owner_id: str, since: datetime, until: datetime) -> int:
        """Return how many of them failed."""
        where = {"owner_id": {"$eq": owner_id}, "state": {"$eq": RunState.FAILED}}
        return await _count(self._runs, where, since, until)

    async def requests_by_ids(self, ids: Iterable[str]) -> dict[str, RunRequest]:
        """Return requests by id."""
        return await by_ids(self.requests, ids)

    async def recent_of_link(self, link_id: str) -> list[RunRequest]:
        """Return the link's requests that may still wait or work, newest first."""
        return await self.requests.find({"link_id": link_id}, limit=1000)


async def _count(collection: Collection[Any], where: Where, since: datetime, until: datetime) -> int:
    """Count matches by aggregation: the embedded server's `count` reads what it counts."""
    matched = {**where, "created_at": {"$gte": since, "$lt": until}, "blind": {"$ne": True}}
    rows = await collection.aggregate(
        [{"$match": matched}, {"$group": {"_id": "$owner_id", "runs": {"$sum": 1}}}]
    )
    return int(rows[0]["runs"]) if rows else 0


class Trials:
    """Training requests, and what the trainer made of them."""

    def __init__(self, database: Database) -> None:
        self.requests = database.collection(TrainRequest)
        self._trials = database.collection(Trial)
        self.metrics = database.collection(MetricPoint)
        self.samples = database.collection(ResourceSample)
        self._checkpoints = database.collection(Checkpoint)

    async def trial(self, trial_id: str) -> Trial | None:
        """Return what became of a request; None while no trainer has taken note of it."""
        return await self._trials.find_one({"_id": trial_id})

    async def trials(self, ids: Iterable[str]) -> dict[str, Trial]:
        """Return trials by id."""
        return await by_ids(self._trials, ids)

    async def checkpoints(self, trial_id: str) -> list[Checkpoint]:
        """Return the trial's checkpoints, oldest first."""
        return await self._checkpoints.find({"trial_id": trial_id}, (("created_at", 1),), 1000)


class Scores:
    """Scoring records, written by the monitor."""

    def __init__(self, database: Database) -> None:
        self.records = database.collection(ScoringRecord)

    async def window(self, version_id: str, limit: int) -> list[ScoringRecord]:
        """Return the newest records of a version."""
        return await self.records.find({"version_id": version_id}, (("finished_at", -1),), limit)
