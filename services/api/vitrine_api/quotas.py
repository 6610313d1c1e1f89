"""What an account may use: bytes stored, runs a day, build time a day. Reserved before anything is done.

A counter is compared with its limit and raised in one step of the database, so that no number of requests
at once goes over it. Days are those of UTC.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from vitrine_api.notifications.news import News, Notices
from vitrine_api.repository.usage import STORAGE, Usage
from vitrine_api.settings import ApiSettings
from vitrine_common.clock import utcnow
from vitrine_common.documents import AccountUse, BuildCharge, User
from vitrine_common.errors import TooMany
from vitrine_common.store import Collection

NEAR_PERCENT = 80


class OverQuota(TooMany):
    """An account has used up one of its quotas."""

    title = "A quota is used up"


@dataclass(frozen=True)
class QuotaUse:
    """One quota and what is used of it."""

    name: str
    title: str
    unit: str
    used: int
    limit: int


@dataclass(frozen=True)
class _Quota:
    name: str
    """Of the setting, and of the account's own limit."""
    counter: str
    title: str
    unit: str
    way_out: str


_TOMORROW = "wait until tomorrow (UTC), or ask the operator for more"
QUOTAS = {
    quota.counter: quota
    for quota in (
        _Quota(
            "max_storage_bytes",
            "storage_bytes",
            "Storage",
            "bytes",
            "delete models or datasets with `vitrine delete`, or ask the operator for more",
        ),
        _Quota("max_runs_per_day", "runs", "Runs today", "runs", _TOMORROW),
        _Quota("max_build_seconds_per_day", "build_seconds", "Build time today", "seconds", _TOMORROW),
    )
}


class Quotas:
    """Takes from quotas and gives back.

    Args:
        usage: the counters.
        users: whose own limits count before those of the instance.
        notices: tells owners when little is left.
        settings: the instance's limits, and what a build reserves.
    """

    def __init__(
        self, usage: Usage, users: Collection[User], notices: Notices, settings: ApiSettings
    ) -> None:
        self._usage = usage
        self._users = users
        self._notices = notices
        self._settings = settings

    async def take_runs(self, user_id: str, number: int = 1, *, blind: bool = False) -> None:
        """Count runs of an owner's models; those by blind links apart, in silence. Raises OverQuota."""
        if not blind:
            await self._take(user_id, "runs", number)
            return
        use, limit = await self._usage.of(user_id, _today()), await self._limit(user_id, "runs")
        if await self._usage.take(use, "blind_runs", number, limit) is None:
            raise _over("runs", use.blind_runs, limit, number)

    async def take_some_runs(self, user_id: str, most: int, *, blind: bool = False) -> int:
        """Count up to `most` runs at once, for calls that follow, and return how many. Raises OverQuota.

        When little is left, it is one at a time, so that other processes get some, too.
        """
        use, limit = await self._usage.of(user_id, _today()), await self._limit(user_id, "runs")
        used = use.blind_runs if blind else use.runs
        number = share(most, limit - used)
        if number > 1:
            with suppress(OverQuota):
                await self.take_runs(user_id, number, blind=blind)
                return number
        await self.take_runs(user_id, blind=blind)
        return 1

    async def give_runs(self, user_id: str, number: int = 1, *, blind: bool = False) -> None:
        """Undo `take_runs`: the runs did not come to be."""
        use = await self._usage.of(user_id, _today())
        await self._usage.give(use.id, user_id, "blind_runs" if blind else "runs", number)

    async def take_storage(self, user_id: str, size: int, *, forced: bool = False) -> None:
        """Count bytes that an account keeps. Raises OverQuota, unless the platform itself made them."""
        await self._take(user_id, "storage_bytes", size, forced=forced)

    async def give_storage(self, user_id: str, size: int) -> None:
        """Undo `take_storage`."""
        use = await self._usage.of(user_id, STORAGE)
        await self._usage.give(use.id, user_id, "storage_bytes", size)

    async def check_storage(self, user_id: str, size: int) -> None:
        """Raise OverQuota when so many bytes more do not fit; nothing is counted."""
        use, limit = await self._usage.of(user_id, STORAGE), await self._limit(user_id, "storage_bytes")
        if use.storage_bytes + size > limit:
            await self._tell_refused(user_id, "storage_bytes", use.storage_bytes, limit)
            raise _over("storage_bytes", use.storage_bytes, limit, size)

    async def recount_storage(self, user_id: str) -> None:
        """Set the counter to what is granted: after a deletion, or a crash between count and grant."""
        use = await self._usage.of(user_id, STORAGE)
        stored = await self._usage.stored_bytes(user_id)
        # Compared, so that what is counted meanwhile is not lost; the next deletion counts again.
        await self._usage.use.update(
            {"_id": use.id, "storage_bytes": use.storage_bytes}, {"storage_bytes": stored}
        )

    async def begin_build(self, user_id: str, build_id: str, *, forced: bool = False) -> None:
        """Reserve time for a build until `end_build` says what it took. Raises OverQuota."""
        seconds = self._settings.build_reserve_seconds
        use = await self._take(user_id, "build_seconds", seconds, forced=forced)
        await self._usage.charges.insert(
            BuildCharge(id=build_id, user_id=user_id, use_id=use.id, seconds=seconds)
        )

    async def end_build(self, build_id: str, seconds: float) -> None:
        """Charge what a build took instead of what was reserved. Idempotent."""
        charge = await self._usage.charges.find_one({"_id": build_id})
        # Whoever deletes it gives back; cut short in between, too much stays counted until the day ends.
        if charge is None or not await self._usage.charges.delete({"_id": build_id}):
            return
        taken = min(max(0, round(seconds)), charge.seconds)
        await self._usage.give(charge.use_id, charge.user_id, "build_seconds", charge.seconds - taken)

    async def of(self, user_id: str) -> Sequence[QuotaUse]:
        """Return the account's quotas and what is used of each."""
        storage, today = await self._usage.of(user_id, STORAGE), await self._usage.of(user_id, _today())
        limits = {counter: await self._limit(user_id, counter) for counter in QUOTAS}
        return [
            QuotaUse(
                quota.name,
                quota.title,
                quota.unit,
                getattr(storage if counter == "storage_bytes" else today, counter),
                limits[counter],
            )
            for counter, quota in QUOTAS.items()
        ]

    async def _take(self, user_id: str, counter: str, amount: int, *, forced: bool = False) -> AccountUse:
        period = STORAGE if counter == "storage_bytes" else _today()
        use, limit = await self._usage.of(user_id, period), await self._limit(user_id, counter)
        taken = await self._usage.take(use, counter, amount, None if forced else limit)
        if taken is None:
            known = getattr(await self._usage.of(user_id, period), counter)
            await self._tell_refused(user_id, counter, known, limit)
            raise _over(counter, known, limit, amount)
        now = getattr(taken, counter)
        if (now - amount) * 100 < NEAR_PERCENT * limit <= now * 100:
            await self._tell(user_id, counter, "quota.near", f"{NEAR_PERCENT} % of your quota is used")
        return taken

    async def _tell_refused(self, user_id: str, counter: str, used: int, limit: int) -> None:
        """Tell that a quota refuses: what takes much of it hardly ever uses it to the last unit."""
        if used >= limit:
            await self._tell(user_id, counter, "quota.reached", "your quota is used up")
        elif counter != "runs":  # those are taken one by one, when no more are to be had at once
            said = f"too little of your quota is left ({used} of {limit} {QUOTAS[counter].unit} are used)"
            await self._tell(user_id, counter, "quota.reached", said)

    async def _limit(self, user_id: str, counter: str) -> int:
        name = QUOTAS[counter].name
        user = await self._users.find_one({"_id": user_id})
        own: int | None = getattr(user, name) if user else None
        return int(getattr(self._settings, name)) if own is None else own

    async def _tell(self, user_id: str, counter: str, kind: str, said: str) -> None:
        quota, today = QUOTAS[counter], _today()
        from_when = "From now on" if kind == "quota.reached" else "When it is used up"
        await self._notices.tell(
            News(
                user_id=user_id,
                kind=kind,
                key=f"{counter}:{today[:7] if counter == 'storage_bytes' else today}",
                title=f"{quota.title}: {said}",
                text=f"{from_when}, {quota.way_out}.",
                path="/settings",
                data={"quota": quota.name},
            )
        )


def share(most: int, left: int | None) -> int:
    """Return how much of what is left one process may take at once: at most an eighth, at least one."""
    return most if left is None else max(1, min(most, left // 8))


def _over(counter: str, used: int, limit: int, amount: int) -> OverQuota:
    quota = QUOTAS[counter]
    return OverQuota(
        f"the quota {quota.name} is used up: {used} of {limit} {quota.unit}, and this takes {amount}; "
        f"{quota.way_out}"
    )


def _today() -> str:
    return f"{utcnow():%Y-%m-%d}"
