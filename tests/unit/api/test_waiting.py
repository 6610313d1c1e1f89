"""Places in the queue, and what is said about time."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from vitrine_api.waiting import FRESH_SECONDS, Place, Waiting, queue_of
from vitrine_common.clock import utcnow
from vitrine_common.documents import Run, RunRequest
from vitrine_common.documents.run import Timings
from vitrine_common.states import RunState

NOW = utcnow()


def request(number: int, **more: Any) -> RunRequest:
    at = NOW + timedelta(seconds=number)
    return RunRequest(
        id=f"run_{number:03}",
        created_at=at,
        version_id="version_x",
        version_digest="",
        environment_digest="",
        owner_id="user_x",
        inputs="{}",
        expires_at=at + timedelta(hours=1),
        **more,
    )


def run(of: RunRequest, state: RunState, seconds: float | None = None) -> Run:
    timings = Timings(start_ms=0, compute_ms=seconds * 1000) if seconds is not None else Timings()
    return Run(
        id=of.id, version_id="version_x", version_digest="", owner_id="user_x", state=state, timings=timings
    )


def test_only_older_runs_that_wait_are_ahead() -> None:
    requests = [request(number) for number in range(6)]
    runs = {
        requests[0].id: run(requests[0], RunState.SUCCEEDED, 1),
        requests[1].id: run(requests[1], RunState.RUNNING),
        requests[2].id: run(requests[2], RunState.QUEUED),
        requests[4].id: run(requests[4], RunState.CANCELLED),
    }
    queue = queue_of(requests[::-1], runs)
    assert queue.place(requests[2]) == Place(0)
    assert queue.place(requests[3]) == Place(1)
    assert queue.place(requests[5]) == Place(2)
    assert queue.place(request(7, device="gpu")) == Place(0), "other devices have queues of their own"


def test_time_is_told_where_enough_is_known() -> None:
    requests = [request(number) for number in range(8)]
    ended = {
        one.id: run(one, RunState.SUCCEEDED, seconds)
        for one, seconds in zip(requests, (2, 4, 30), strict=False)
    }
    working = {one.id: run(one, RunState.RUNNING) for one in requests[3:5]}
    queue = queue_of(requests, ended | working)
    assert queue.place(requests[5]) == Place(0, 2.0), "two at a time, four seconds each in the middle"
    assert queue.place(requests[7]) == Place(2, 6.0)
    assert queue_of(requests, dict(list(ended.items())[:2]) | working).place(requests[5]).seconds is None
    assert queue_of(requests, ended).place(requests[5]).seconds is None, "nothing works: nobody knows when"


class Stored:
    """Counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    async def newest_unexpired(self, limit: int) -> list[RunRequest]:
        self.asked += 1
        return [request(number) for number in range(3)][:limit]

    async def runs(self, ids: Iterable[str]) -> dict[str, Run]:
        assert list(ids)
        return {}


async def test_everybody_who_waits_costs_one_look_a_second() -> None:
    stored, times = Stored(), [0.0]
    waiting = Waiting(stored, clock=lambda: times[0])  # type: ignore[arg-type]
    assert (await waiting.place(request(2))).ahead == 2
    assert (await waiting.place(request(1))).ahead == 1
    assert stored.asked == 1
    times[0] = FRESH_SECONDS + 0.1
    await waiting.place(request(1))
    assert stored.asked == 2
