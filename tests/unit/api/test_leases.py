"""Leased quotas: never one too many, by any number of processes, and nothing lost that was given back."""

from __future__ import annotations

import asyncio

import pytest

from vitrine_api.inference.leases import MOST, _Lease
from vitrine_api.quotas import OverQuota, share


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


@pytest.mark.parametrize(("left", "number"), [(None, 64), (10_000, 64), (80, 10), (7, 1), (0, 1)])
def test_little_is_left_to_others(left: int | None, number: int) -> None:
    assert share(64, left) == number
