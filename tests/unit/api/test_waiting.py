"""Places in the queue, and what is said about time."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from vitrine_api.waiting import FRESH_SECONDS, Place, Waiting, queue_of
from vitrine_common.clock import utcnow
from vitrine_common.documents import RunRequest
from vitrine_common.documents.base import to_bson
from vitrine_common.fairness import Begun
from vitrine_common.fairness import Waiting as WaitingRun
from vitrine_common.fleet import Fleet
from vitrine_common.run_queue import Started

NOW = utcnow()


def request(number: int, **more: Any) -> RunRequest:
    at = NOW + timedelta(seconds=number)
    fields: dict[str, Any] = {
        "id": f"run_{number:03}",
        "created_at": at,
        "version_id": "version_x",
        "version_digest": "",
        "environment_digest": "",
        "owner_id": "user_x",
        "inputs": "{}",
        "expires_at": at + timedelta(hours=1),
        **more,
    }
    return RunRequest(**fields)


def waiting(of: RunRequest) -> WaitingRun:
    return WaitingRun(of.id, of.flow, to_bson(of.created_at))


def started(of: RunRequest, seconds: float | None = None) -> Started:
    return Started(of.id, Begun(of.flow, to_bson(of.created_at), seconds is None), seconds)


def test_older_runs_of_the_same_link_are_ahead_and_others_take_turns() -> None:
    flood = [request(number, link_id="link_flood") for number in range(5)]
    single = request(9, link_id="link_single")
    queue = queue_of([waiting(one) for one in [*flood, single]], [])
    assert [queue.place(one).ahead for one in flood] == [0, 2, 3, 4, 5]
    assert queue.place(single) == Place(1)


def test_one_that_nobody_wrote_down_yet_has_the_place_that_it_will_have() -> None:
    flood = [request(number, link_id="link_flood") for number in range(5)]
    queue = queue_of([waiting(one) for one in flood], [])
    assert queue.place(request(9, link_id="link_flood")) == Place(5)
    assert queue.place(request(9, link_id="link_single")) == Place(1)


def test_time_is_told_where_enough_is_known() -> None:
    requests = [request(number) for number in range(8)]
    ended = [started(one, seconds) for one, seconds in zip(requests, (2, 4, 30), strict=False)]
    working = [started(one) for one in requests[3:5]]
    waits = [waiting(one) for one in requests[5:]]
    queue = queue_of(waits, [*ended, *working])
    assert queue.place(requests[5]) == Place(0, 2.0), "two at a time, four seconds each in the middle"
    assert queue.place(requests[7]) == Place(2, 6.0)
    assert queue_of(waits, [*ended[:2], *working]).place(requests[5]).seconds is None
    assert queue_of(waits, ended).place(requests[5]).seconds is None, "nothing works: nobody knows when"
    assert queue_of(waits, ended, 4).place(requests[7]) == Place(2, 3.0), "four places, as runners tell"


class Stored:
    """Counts how often it is asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def window(self, device: str, limit: int, of_others: int) -> list[WaitingRun]:
        self.asked.append(device)
        return [waiting(request(number)) for number in range(3)][:limit]

    async def begun(self, device: str, limit: int) -> list[Started]:
        return []


async def test_everybody_who_waits_costs_one_look_a_second() -> None:
    stored, times = Stored(), [0.0]
    places = Waiting(stored, Fleet(), clock=lambda: times[0])  # type: ignore[arg-type]
    assert (await places.place(request(2))).ahead == 2
    assert (await places.place(request(1))).ahead == 1
    assert stored.asked == ["cpu"]
    times[0] = FRESH_SECONDS + 0.1
    await places.place(request(1))
    await places.place(request(1, device="gpu"))
    assert stored.asked == ["cpu", "cpu", "gpu"], "other devices have queues of their own"
