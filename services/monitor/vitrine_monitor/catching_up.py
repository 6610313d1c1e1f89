"""Runs whose fact was lost: an emptied stream, a restored backup."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from vitrine_common.clock import after
from vitrine_common.ids import first_id
from vitrine_monitor.repository import ScoringRepository
from vitrine_monitor.scoring import score

log = logging.getLogger(__name__)

_LOOK_BACK_SECONDS = 24 * 3600
_SETTLED_SECONDS = 10.0
"""Younger runs are left to their fact."""
_BATCH = 200


class CatchUp:
    """Walks along the ids of requests, which sort by time, and keeps an eye on those that go on.

    Every request is looked at once, then only until it is scored, so the cost follows the traffic and not
    the number of runs that there are.
    """

    def __init__(self, repository: ScoringRepository, retention_seconds: float) -> None:
        self._repository = repository
        self._retention_seconds = retention_seconds
        self._seen = ""
        self._open: set[str] = set()

    async def forever(self, pause_seconds: float) -> None:
        """Look, wait, look again."""
        while True:
            await asyncio.sleep(pause_seconds)
            try:
                await self.once()
            except Exception:
                log.exception("catching up will try again")

    async def once(self) -> int:
        """Score what is due; return how many runs that were."""
        oldest, latest = (first_id("run", after(-age)) for age in (_LOOK_BACK_SECONDS, _SETTLED_SECONDS))
        self._seen = max(self._seen, oldest)
        waiting = sorted(run_id for run_id in self._open if run_id > oldest)
        self._open = set(waiting)
        scored = 0
        for start in range(0, len(waiting), _BATCH):
            scored += await self._look(waiting[start : start + _BATCH])
        while True:
            due = await self._repository.requested_between(self._seen, latest, _BATCH)
            scored += await self._look(due)
            if not due:
                return scored
            self._seen = due[-1]

    async def _look(self, run_ids: Sequence[str]) -> int:
        ended, known = await self._repository.ended(run_ids), await self._repository.scored(run_ids)
        self._open |= set(run_ids) - known
        self._open -= known
        scored = 0
        for run_id in sorted(ended - known):
            try:
                await score(run_id, self._repository, self._retention_seconds)
            except Exception:  # one that cannot be scored must not keep the others waiting
                log.exception("catching up will try again", extra={"run": run_id})
                continue
            self._open.discard(run_id)
            scored += 1
        return scored
