"""How runs by links ended, many at once, from scoring records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from vitrine_common.documents import ScoringRecord
from vitrine_common.states import RunState
from vitrine_common.store import Collection

_FIELDS = ("link_id", "finished_at", "outcome", "total_ms")
_OLDEST_FIRST = (("finished_at", 1), ("_id", 1))
_AT_ONCE = 5000


@dataclass(frozen=True, slots=True)
class Ended:
    """How one run by a link ended."""

    link_id: str
    at: datetime
    outcome: RunState
    total_ms: float | None


async def endings(
    records: Collection[ScoringRecord], link_ids: Sequence[str], since: datetime, until: datetime
) -> list[Ended]:
    """Return the runs by any of the links that ended from `since` to before `until`, in that order."""
    where = {"link_id": {"$in": list(link_ids)}, "finished_at": {"$gte": since, "$lt": until}}
    found: list[Ended] = []
    while True:
        rows = await records.values(where, _FIELDS, _OLDEST_FIRST, _AT_ONCE, len(found))
        found += [
            Ended(link_id, datetime.fromtimestamp(at / 1000, UTC), RunState(outcome), total_ms)
            for link_id, at, outcome, total_ms in rows
        ]
        if len(rows) < _AT_ONCE:
            return found
