"""Calls of models that are run: how long is waited, without a runner."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from vitrine_api.inference.calling import NotServed
from vitrine_api.inference.programs import Programs
from vitrine_api.progress import Change
from vitrine_common.errors import Unavailable
from vitrine_common.states import RunState

PATIENCE = 0.05


class RunsDouble:
    """Runs that go through states, and are told of being cancelled."""

    def __init__(self, *changes: Change[Any]) -> None:
        self._changes = changes
        self.cancelled: list[str] = []
        self.last: Any = record(RunState.CANCELLED)

    def follow(self, principal: object, run_id: str) -> RunsDouble:
        return self

    async def changes(self) -> AsyncIterator[Change[Any]]:
        for change in self._changes:
            if change.kind == "still":
                await asyncio.sleep(4 * PATIENCE)
            yield change

    async def wait(self, seconds: float) -> Any:
        return self.last

    async def cancel(self, principal: object, run_id: str) -> None:
        self.cancelled.append(run_id)


def record(state: RunState) -> SimpleNamespace:
    return SimpleNamespace(state=state, final=state not in {RunState.QUEUED, RunState.RUNNING})


def change(kind: str, state: RunState | None = None) -> Change[Any]:
    return Change(kind, record(state) if state else None)


async def ended(runs: RunsDouble) -> Any:
    settings = SimpleNamespace(call_wait_seconds=PATIENCE, max_run_bytes=1)
    nothing = cast("Any", None)
    programs = Programs(cast("Any", runs), nothing, nothing, nothing, cast("Any", settings))
    return await programs._ended(nothing, "run_1")


async def test_a_run_that_was_begun_is_waited_for_beyond_the_patience() -> None:
    runs = RunsDouble(
        change("state", RunState.QUEUED),
        change("state", RunState.RUNNING),
        change("still"),
        change("end", RunState.SUCCEEDED),
    )
    assert (await ended(runs)).state is RunState.SUCCEEDED
    assert runs.cancelled == []


async def test_a_run_that_nobody_begins_is_cancelled() -> None:
    runs = RunsDouble(change("state", RunState.QUEUED), change("still"), change("end", RunState.SUCCEEDED))
    with pytest.raises(NotServed, match="no runner began this run") as refused:
        await ended(runs)
    assert refused.value.retry_after >= 1
    assert runs.cancelled == ["run_1"]


async def test_a_run_that_ended_in_the_last_moment_counts() -> None:
    runs = RunsDouble(change("state", RunState.QUEUED), change("still"))
    runs.last = record(RunState.SUCCEEDED)
    assert (await ended(runs)).state is RunState.SUCCEEDED


async def test_a_stop_of_the_service_is_told() -> None:
    with pytest.raises(Unavailable, match="restarted"):
        await ended(RunsDouble(change("state", RunState.RUNNING)))
