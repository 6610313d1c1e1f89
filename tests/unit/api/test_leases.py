"""Leased quotas: never one too many, by any number of processes, and nothing lost that was given back."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from vitrine_api.inference.leases import MOST, Leases, _Lease
from vitrine_api.quotas import OverQuota, share
from vitrine_common.documents import ShareLink
from vitrine_common.errors import TooMany

if TYPE_CHECKING:
    from vitrine_api.inference.admission import Admitted
    from vitrine_api.link_quota import Quota
    from vitrine_api.quotas import Quotas


class Counter:
    """A quota in the database, as several processes see it."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self.turns = 0

    async def take(self, most: int) -> int:
        number = share(most, self.limit - self.used)
        await asyncio.sleep(0)  # others come in between
        self.turns += 1
        if self.used + number > self.limit:
            number = 1
        if self.used + number > self.limit:
            raise OverQuota("used up")
        self.used += number
        return number

    async def give(self, number: int) -> None:
        self.used -= number

    def lease(self) -> _Lease:
        return _Lease(self.take, self.give)


async def used_by(lease: _Lease, wishes: int) -> int:
    async def one() -> bool:
        try:
            await lease.use(0.0)
        except OverQuota:
            return False
        return True

    return sum(await asyncio.gather(*(one() for _ in range(wishes))))


@pytest.mark.parametrize("limit", [0, 1, 7, 100, 1000])
async def test_several_processes_use_all_of_it_and_not_one_more(limit: int) -> None:
    counter = Counter(limit)
    leases = [counter.lease() for _ in range(3)]
    for _ in range(6):  # what one gave back, another may use
        for lease in leases:
            await lease.give_back()
        limit -= sum(await asyncio.gather(*(used_by(lease, limit) for lease in leases)))
    for lease in leases:
        await lease.give_back()
    assert limit == 0
    assert counter.used == counter.limit


async def test_what_is_not_used_is_given_back() -> None:
    counter = Counter(100_000)
    lease = counter.lease()
    assert await used_by(lease, 300) == 300
    await lease.give_back()
    assert counter.used == 300


async def test_a_single_call_takes_one_and_many_take_few_turns() -> None:
    counter = Counter(1_000_000)
    lease = counter.lease()
    await lease.use(0.0)
    assert counter.used == 1
    assert await used_by(lease, 10_000) == 10_000
    assert counter.turns < 10_000 / MOST + 20


class Owners:
    """The quotas of owners: how many runs are counted."""

    def __init__(self) -> None:
        self.used = 0

    async def take_some_runs(self, _: str, most: int, *, blind: bool) -> int:
        assert not blind
        self.used += most
        return most

    async def give_runs(self, _: str, number: int, *, blind: bool) -> None:
        assert not blind
        self.used -= number


class SlowLink:
    """A link's quota that is used up, and takes its time to say so."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.answer = asyncio.Event()

    async def take_some(self, _: ShareLink, __: int) -> tuple[ShareLink, int]:
        self.asked.set()
        await self.answer.wait()
        raise TooMany("used up")


async def test_a_refused_call_is_not_counted_however_long_the_refusal_took(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    owners, link = Owners(), SlowLink()
    leases = Leases(cast("Quotas", owners), cast("Quota", link))
    shared = ShareLink(
        id="link_1",
        token_hash="",
        token_hint="",
        owner_id="user_ada",
        version_id="version_1",
        version_digest="",
    )
    admitted = cast("Admitted", SimpleNamespace(link=shared, version=SimpleNamespace(owner_id="user_ada")))
    refused = asyncio.create_task(leases.take(admitted))
    await link.asked.wait()
    monkeypatch.setattr("vitrine_api.inference.leases.IDLE_SECONDS", -1.0)
    await leases.tend()  # meanwhile what the owner's quota was taken from is given back
    link.answer.set()
    with pytest.raises(TooMany):
        await refused
    await leases.tend()
    assert owners.used == 0


@pytest.mark.parametrize(("left", "number"), [(None, 64), (10_000, 64), (80, 10), (7, 1), (0, 1)])
def test_little_is_left_to_others(left: int | None, number: int) -> None:
    assert share(64, left) == number
