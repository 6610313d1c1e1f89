"""The monitor's database calls: it writes `scoring` and reads what others wrote."""

from __future__ import annotations

from collections.abc import Sequence

from vitrine_common.clock import utcnow
from vitrine_common.documents import LONG_AGO, Run, RunRequest, ScoringRecord, Version
from vitrine_common.errors import Conflict
from vitrine_common.states import RUN
from vitrine_common.store import Database
from vitrine_monitor.summaries import without_guessable

_BATCH = 200


class ScoringRepository:
    """Scoring records and their sources."""

    def __init__(self, database: Database) -> None:
        self._records = database.collection(ScoringRecord)
        self._runs = database.collection(Run)
        self._requests = database.collection(RunRequest)
        self._versions = database.collection(Version)

    async def sources(self, run_id: str) -> tuple[Run, RunRequest, Version]:
        """Return a run with its request and version; raises NotFound."""
        run = await self._runs.get(run_id)
        return run, await self._requests.get(run_id), await self._versions.get(run.version_id)

    async def sources_of_calls(self, run_ids: Sequence[str]) -> list[tuple[Run, RunRequest, Version]]:
        """Return those of the runs that still exist, each with its request and version."""
        where = {"_id": {"$in": list(run_ids)}}
        order, limit = (("_id", 1),), len(run_ids) or 1
        runs = {run.id: run for run in await self._runs.find(where, order, limit)}
        requests = {request.id: request for request in await self._requests.find(where, order, limit)}
        wanted = sorted({run.version_id for run in runs.values()})
        found = await self._versions.find({"_id": {"$in": wanted}}, order, len(wanted) or 1)
        versions = {version.id: version for version in found}
        return [
            (run, requests[run.id], versions[run.version_id])
            for run in runs.values()
            if run.id in requests and run.version_id in versions
        ]

    async def add_all(self, records: Sequence[ScoringRecord]) -> None:
        """Store records in one round trip; runs that have one keep it."""
        await self._records.insert_all(records)

    async def add(self, record: ScoringRecord) -> bool:
        """Store the record unless the run has one; say whether it was new."""
        try:
            await self._records.insert(record)
        except Conflict:
            return False
        return True

    async def requested_between(self, after: str, until: str, limit: int) -> list[str]:
        """Return ids of requested runs behind `after` and before `until`, in their order."""
        where = {"_id": {"$gt": after, "$lt": until}}
        return [request.id for request in await self._requests.find(where, (("_id", 1),), limit)]

    async def ended(self, run_ids: Sequence[str]) -> set[str]:
        """Return which of these runs have ended."""
        where = {"_id": {"$in": list(run_ids)}, "state": {"$in": RUN.final}}
        return {run.id for run in await self._runs.find(where, (("_id", 1),), len(run_ids) or 1)}

    async def scored(self, run_ids: Sequence[str]) -> set[str]:
        """Return which of these runs have a record."""
        where = {"_id": {"$in": list(run_ids)}}
        return {record.id for record in await self._records.find(where, (("_id", 1),), len(run_ids) or 1)}

    async def erase(self, **where: str) -> None:
        """Delete the records of a version or link that is gone."""
        await self._records.delete(where)

    async def forget_due(self) -> int:
        """Remove raw values, and the digests that small values could be guessed from, once they are due."""
        forgotten = 0
        due = {"raw_expires_at": {"$gt": LONG_AGO, "$lt": utcnow()}}
        for record in await self._records.find(due, limit=_BATCH):
            changes = {
                "raw_inputs": None,
                "raw_expires_at": LONG_AGO,
                "inputs": without_guessable(record.inputs),
            }
            await self._records.update({"_id": record.id}, changes)
            forgotten += 1
        return forgotten
