"""Workers that stand ready before anybody asks: none is started by a runner that stops."""

from __future__ import annotations

import asyncio
from typing import cast

from runner_doubles import EngineDouble
from vitrine_common.fleet import Fleet
from vitrine_common.spec import Spec
from vitrine_runner.keeping import Keeping
from vitrine_runner.least import LeastWorkers, Wished
from vitrine_runner.permits import Permit, Permits
from vitrine_runner.workers import Need, WorkerPool

from .conftest import MakePool, Push
from .test_workers import need, settle


class Wishes:
    """A database that answers when the test says so, and has permits for everybody."""

    def __init__(self, digest: str) -> None:
        spec = Spec.model_validate({"name": "test", "model": {"command": "python main.py"}})
        self.wishes = [Wished(need(digest), 1, spec)]
        self.asked = 0
        self.gate = asyncio.Event()

    async def wished(self) -> list[Wished]:
        self.asked += 1
        await self.gate.wait()
        return self.wishes

    async def take(self, need: Need, most: int, *, ahead: bool = False) -> Permit | None:
        return Permit("0", "token")

    async def give_back(self, permit: Permit) -> None:
        return None

    def keeping(self, pool: WorkerPool) -> Keeping:
        return Keeping(cast("LeastWorkers", self), pool, cast("Permits", self), Fleet(), "runner@here:1")


async def test_what_was_asked_before_the_end_starts_nothing_after_it(
    make_pool: MakePool, push: Push, engine: EngineDouble
) -> None:
    wishes = Wishes(await push())
    keeping = wishes.keeping(make_pool())
    looking = asyncio.create_task(keeping.look())
    await settle()
    await keeping.close()
    wishes.gate.set()
    await looking
    await settle()
    assert (wishes.asked, keeping._starting, engine.sandboxes) == (1, {}, [])


async def test_news_of_a_version_start_nothing_after_the_end(make_pool: MakePool, push: Push) -> None:
    wishes = Wishes(await push())
    wishes.gate.set()
    keeping = wishes.keeping(make_pool())
    await keeping.close()
    keeping.look_again()
    await keeping.look()
    assert (wishes.asked, keeping._starting) == (0, {})


async def test_what_is_missing_is_started_before_the_end(
    make_pool: MakePool, push: Push, engine: EngineDouble
) -> None:
    wishes = Wishes(await push())
    wishes.gate.set()
    keeping = wishes.keeping(make_pool())
    await keeping.look()
    await asyncio.gather(*keeping._starting.values())
    assert len(engine.living) == 1
    await keeping.close()
