"""The monitor's database calls: it writes `scoring` and reads what others wrote."""

from __future__ import annotations

from datetime import datetime

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

    async def add(self, record: ScoringRecord) -> bool:
        """Store the record unless the run has one; say whether it was new."""
        try:
            await self._records.insert(record)
        except Conflict:
            return False
        return True

    async def unscored(self, since: datetime) -> list[str]:
        """Return ids of runs finished since then that have no record, a batch at most."""
        where = {"state": {"$in": RUN.final}, "finished_at": {"$gte": since}}
        runs = await self._runs.find(where, (("finished_at", 1),), _BATCH)
        known = await self._records.find({"_id": {"$in": [run.id for run in runs]}}, limit=_BATCH)
        scored = {record.id for record in known}
        return [run.id for run in runs if run.id not in scored]

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
