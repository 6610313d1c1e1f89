"""Runs whose fact never came are scored all the same, each once, however many there are."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from vitrine_common.clock import utcnow
from vitrine_common.documents import Run, RunRequest, ScoringRecord, Version
from vitrine_common.ids import first_id
from vitrine_common.messages import Envelope
from vitrine_common.settings import MongoSettings
from vitrine_common.states import RunState
from vitrine_common.store import Database
from vitrine_monitor.catching_up import CatchUp
from vitrine_monitor.repository import ScoringRepository

_NONE = "sha256:" + "0" * 64


class Unpublished:
    """No bus: nothing here sends a message."""

    async def publish(self, envelope: Envelope[Any]) -> None:
        raise AssertionError(f"{envelope.type} was sent")


class Desk:
    """One database as three services see it."""

    def __init__(self, url: str) -> None:
        settings = MongoSettings(url=url, database=f"monitor_{secrets.token_hex(6)}")
        self.by = {
            service: Database(settings, service, Unpublished()) for service in ("api", "runner", "monitor")
        }
        self.catch_up = CatchUp(ScoringRepository(self.by["monitor"]), 0)

    async def version(self) -> Version:
        version = Version(
            id="version_1",
            model_id="model_1",
            owner_id="user_1",
            owner="ada",
            model="echo",
            number=1,
            digest=_NONE,
            spec={"name": "echo", "model": {"command": "python echo.py"}},
            file_count=1,
            total_bytes=1,
        )
        return await self.by["api"].collection(Version).insert(version)

    async def request(self, minutes_ago: float, number: int = 0) -> str:
        run_id = f"{first_id('run', utcnow() - timedelta(minutes=minutes_ago))}{number:016d}"
        request = RunRequest(
            id=run_id,
            version_id="version_1",
            version_digest=_NONE,
            environment_digest=_NONE,
            owner_id="user_1",
            inputs="{}",
            expires_at=utcnow(),
        )
        await self.by["api"].collection(RunRequest).insert(request)
        return run_id

    async def end(self, run_id: str, state: RunState = RunState.SUCCEEDED) -> None:
        run = Run(
            id=run_id,
            version_id="version_1",
            version_digest=_NONE,
            owner_id="user_1",
            state=state,
            finished_at=utcnow(),
        )
        await self.by["runner"].collection(Run).insert(run)

    async def records(self) -> list[str]:
        found = await self.by["monitor"].collection(ScoringRecord).find({}, limit=1000)
        return sorted(record.id for record in found)


@pytest.fixture
async def desk(mongo_url: str) -> AsyncIterator[Desk]:
    desk = Desk(mongo_url)
    await desk.version()
    yield desk
    for database in desk.by.values():
        database.close()


async def test_more_runs_than_are_looked_at_together(desk: Desk) -> None:
    ids = [await desk.request(60 - number / 10, number) for number in range(450)]
    for run_id in ids:
        await desk.end(run_id)
    assert await desk.catch_up.once() == 450
    assert await desk.records() == ids
    assert await desk.catch_up.once() == 0


async def test_what_goes_on_is_scored_once_it_has_ended(desk: Desk) -> None:
    going, ended = await desk.request(30), await desk.request(20)
    await desk.end(ended)
    assert await desk.catch_up.once() == 1
    await desk.end(going, RunState.FAILED)
    assert await desk.catch_up.once() == 1
    assert await desk.records() == sorted([going, ended])


async def test_young_and_old_runs_are_left_alone(desk: Desk) -> None:
    for minutes_ago in (0, 25 * 60):
        await desk.end(await desk.request(minutes_ago))
    assert await desk.catch_up.once() == 0


async def test_one_that_cannot_be_scored_keeps_no_other_waiting(desk: Desk) -> None:
    broken, whole = await desk.request(30), await desk.request(20)
    for run_id in (broken, whole):
        await desk.end(run_id)
    await desk.by["runner"].collection(Run).update({"_id": broken}, {"version_id": "version_gone"})
    assert await desk.catch_up.once() == 1
    assert await desk.records() == [whole]
