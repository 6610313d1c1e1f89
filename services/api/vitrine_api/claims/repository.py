"""Every database call about datasets, and about checks of claims."""

from __future__ import annotations

import time
from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from vitrine_common.clock import after
from vitrine_common.documents import (
    LONG_AGO,
    ClaimCheck,
    ClaimCheckRequest,
    Dataset,
    DatasetVersion,
    Environment,
    User,
    Version,
)
from vitrine_common.errors import Conflict
from vitrine_common.ids import new_id
from vitrine_common.states import VERDICTS, ClaimState
from vitrine_common.store import Database

BLIND = "blind/"
SMALLEST_GROUP = 5
"""Checks by blind links are told of only when there are so many, and never when they were."""
_AHEAD = 100
_VERSIONS = 1000
_CAUGHT_UP = 200
_COUNTED_SECONDS = 60.0
_VERSIONS_COUNTED = 256


class Datasets:
    """Datasets and their versions."""

    def __init__(self, database: Database) -> None:
        self.datasets = database.collection(Dataset)
        self.versions = database.collection(DatasetVersion)

    async def dataset(self, owner_id: str, name: str) -> Dataset | None:
        """Return the dataset, or None."""
        return await self.datasets.find_one({"owner_id": owner_id, "name": name})

    async def dataset_for(self, user: User, name: str) -> Dataset:
        """Return the user's dataset of that name, made if there is none."""
        found = await self.dataset(user.id, name)
        if found is not None:
            return found
        try:
            return await self.datasets.insert(
                Dataset(id=new_id("dataset"), owner_id=user.id, owner=user.name, name=name)
            )
        except Conflict:
            found = await self.dataset(user.id, name)
            if found is None:
                raise
            return found

    async def next_number(self, dataset: Dataset) -> int:
        """Return the number of the dataset's next version; no number is given twice."""
        changed = await self.datasets.require(
            {"_id": dataset.id}, {"owner": dataset.owner}, increments={"last_number": 1}
        )
        return changed.last_number

    async def by_digest(self, dataset: Dataset, digest: str) -> DatasetVersion | None:
        """Return the dataset's version of that digest, or None."""
        return await self.versions.find_one({"dataset_id": dataset.id, "digest": digest})

    async def by_number(self, dataset: Dataset, number: int) -> DatasetVersion | None:
        """Return the dataset's version of that number, or None."""
        return await self.versions.find_one({"dataset_id": dataset.id, "number": number})

    async def latest(self, dataset: Dataset) -> DatasetVersion | None:
        """Return the newest version, or None."""
        return await self.versions.find_one({"dataset_id": dataset.id}, (("number", -1),))

    async def of_names(self, owner_id: str, names: Iterable[str]) -> list[DatasetVersion]:
        """Return the owner's versions of datasets of these names, newest first."""
        where = {"owner_id": owner_id, "name": {"$in": sorted(names)}}
        return await self.versions.find(where, limit=_VERSIONS)

    async def set_private(self, version: DatasetVersion, *, private: bool) -> DatasetVersion:
        """Change who learns of the version's content."""
        return await self.versions.require({"_id": version.id}, {"private": private})


@dataclass
class Tally:
    """How the checks of one claim ended, all of them together."""

    counts: dict[str, int] = field(default_factory=dict)
    """Number by verdict: `reproduced`, `differs`, `failed`."""
    last: datetime | None = None
    """When the last one ended."""
    ended: dict[str, datetime] = field(default_factory=dict)
    """When the last one of each verdict ended."""

    @property
    def last_measured(self) -> datetime | None:
        """When the newest check ended that gave a number."""
        return max(
            (time for verdict, time in self.ended.items() if verdict != ClaimState.FAILED), default=None
        )

    @property
    def total(self) -> int:
        """How many there are."""
        return sum(self.counts.values())


def _told(tallies: dict[str, Tally]) -> dict[str, Tally]:
    """Return the tallies with those of blind links in them, where these are enough to hide in."""
    told = {name: tally for name, tally in tallies.items() if not name.startswith(BLIND)}
    for name, blind in tallies.items():
        if not name.startswith(BLIND) or blind.total < SMALLEST_GROUP:
            continue
        known = told.setdefault(name.removeprefix(BLIND), Tally())
        for verdict, number in blind.counts.items():
            known.counts[verdict] = known.counts.get(verdict, 0) + number
    return told


@dataclass
class _Counted:
    """How the checks of a version had ended when the newest of them was `newest`."""

    newest: str
    until: float
    tallies: dict[str, Tally]
    ended: dict[frozenset[datetime], list[ClaimCheck]] = field(default_factory=dict)


class Checks:
    """Wishes to have claims checked, and what the runner made of them.

    How a version's checks ended is counted again when another one has ended, and once a minute: those that
    were deleted are missed no longer than that.
    """

    def __init__(self, database: Database) -> None:
        self._counted: OrderedDict[str, _Counted] = OrderedDict()
        self.requests = database.collection(ClaimCheckRequest)
        self._checks = database.collection(ClaimCheck)
        self._versions = database.collection(Version)
        self._environments = database.collection(Environment)

    async def check(self, check_id: str) -> ClaimCheck | None:
        """Return what became of a wish; None while no runner has taken note of it."""
        return await self._checks.find_one({"_id": check_id})

    async def checks(self, ids: Iterable[str]) -> dict[str, ClaimCheck]:
        """Return checks by id."""
        wanted = list(ids)
        found = await self._checks.find({"_id": {"$in": wanted}}, (("_id", 1),), max(1, len(wanted)))
        return {check.id: check for check in found}

    async def ahead(self, request: ClaimCheckRequest) -> int:
        """Return how many checks wait that were asked for earlier, at most 100."""
        earlier = {"state": ClaimState.QUEUED, "created_at": {"$lt": request.created_at}}
        return len(await self._checks.find(earlier, (("created_at", 1),), _AHEAD))

    async def tallies(self, version_id: str) -> Mapping[str, Tally]:
        """Return by claim how the checks of a version ended that count in its history."""
        last = (("finished_at", -1),)
        found = await self._checks.find_one(
            {"version_id": version_id, "finished_at": {"$gt": LONG_AGO}}, last
        )
        newest, now = found.id if found else "", time.monotonic()
        known = self._counted.get(version_id)
        if known is None or known.newest != newest or known.until < now:
            tallies = await self._count(version_id) if found else {}
            known = self._counted[version_id] = _Counted(newest, now + _COUNTED_SECONDS, tallies)
        self._counted.move_to_end(version_id)
        if len(self._counted) > _VERSIONS_COUNTED:
            self._counted.popitem(last=False)
        return known.tallies

    async def _count(self, version_id: str) -> dict[str, Tally]:
        rows = await self._checks.aggregate(
            [
                {"$match": {"version_id": version_id, "tally": {"$gt": ""}}},
                {
                    "$group": {
                        "_id": "$tally",
                        "number": {"$sum": 1},
                        "last": {"$max": "$finished_at"},
                    }
                },
            ]
        )
        tallies: dict[str, Tally] = defaultdict(Tally)
        for row in rows:
            name, _, verdict = str(row["_id"]).rpartition(":")
            tally = tallies[name]
            tally.counts[verdict] = int(row["number"])
            last = tally.ended[verdict] = datetime.fromtimestamp(int(row["last"]) / 1000, UTC)
            tally.last = max(tally.last or last, last)
        return _told(tallies)

    async def ended_at(self, version_id: str, times: Iterable[datetime]) -> list[ClaimCheck]:
        """Return the checks of a version that ended at these times, which `tallies` told."""
        wanted, known = frozenset(times), self._counted.get(version_id)
        if known is not None and wanted in known.ended:
            return known.ended[wanted]
        where = {"version_id": version_id, "finished_at": {"$in": sorted(wanted)}}
        found = await self._checks.find(where, (("_id", -1),))
        if known is not None:
            known.ended = {wanted: found}
        return found

    async def recently_ended(self, seconds: float) -> list[ClaimCheck]:
        """Return checks with a verdict that ended within the last `seconds`."""
        lately = {"finished_at": {"$gt": after(-seconds)}, "state": {"$in": list(VERDICTS)}}
        return await self._checks.find(lately, (("finished_at", -1),), _CAUGHT_UP)

    async def version(self, version_id: str) -> Version | None:
        """Return the version, or None."""
        return await self._versions.find_one({"_id": version_id})

    async def environment(self, digest: str) -> Environment | None:
        """Return the environment, or None."""
        return await self._environments.find_one({"_id": digest})
