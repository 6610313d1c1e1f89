"""Following something to its end, whatever becomes of the news."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import pytest

from vitrine_api.progress import Change, Follower, Hub
from vitrine_common.errors import Gone


class Message:
    """What the bus hands over."""

    def __init__(self, body: object) -> None:
        self.data = body if isinstance(body, bytes) else json.dumps(body).encode()


def news(run_id: str = "run_1", **payload: object) -> Message:
    return Message({"type": "run.progress", "payload": {"run_id": run_id, **payload}})


def follower(hub: Hub, read: Callable[[], str], recheck: float = 0.01) -> Follower[str]:
    async def state() -> str:
        return read()

    return Follower(
        hub=hub,
        ids=("run_1",),
        read=state,
        mark=lambda found: found,
        is_final=lambda found: found == "done",
        recheck_seconds=recheck,
    )


async def collect(following: Follower[str]) -> list[tuple[str, str | None]]:
    return [(c.kind, c.state) async for c in following.changes() if c.kind != "still"]


async def test_what_has_ended_already_is_one_end() -> None:
    assert await collect(follower(Hub(), lambda: "done")) == [("end", "done")]


async def test_states_are_found_without_any_news() -> None:
    states = iter(["queued", "queued", "running", "running", "done"])
    told = await collect(follower(Hub(), lambda: next(states)))
    assert told == [("state", "queued"), ("state", "running"), ("end", "done")]


async def test_news_come_through_and_others_news_do_not() -> None:
    hub, state = Hub(), "queued"
    changes = follower(hub, lambda: state, recheck=60).changes()
    first = await anext(changes)
    assert (first.kind, first.state) == ("state", "queued")
    await hub._heard(news("run_2", state="queued"))  # type: ignore[arg-type]
    await hub._heard(Message(b"not json"))  # type: ignore[arg-type]
    await hub._heard(news(state="queued", message="hello"))  # type: ignore[arg-type]
    change: Change[str] = await anext(changes)
    assert change.kind == "progress"
    assert change.news is not None
    assert change.news.payload["message"] == "hello"
    state = "done"
    await hub._heard(Message({"type": "run.finished", "payload": {"run_id": "run_1"}}))  # type: ignore[arg-type]
    assert [change.kind async for change in changes] == ["end"]
    assert not hub._listeners


async def test_a_stopping_server_ends_the_wait() -> None:
    hub = Hub()
    waiting = asyncio.create_task(collect(follower(hub, lambda: "queued", recheck=60)))
    while not hub._listeners:
        await asyncio.sleep(0)
    hub.close()
    assert await waiting == [("state", "queued")]
    assert await collect(follower(hub, lambda: "queued", recheck=60)) == [("state", "queued")]


async def test_access_that_ends_meanwhile_ends_the_stream() -> None:
    states = iter(["queued"])

    def read() -> str:
        for state in states:
            return state
        raise Gone("revoked")

    with pytest.raises(Gone):
        await collect(follower(Hub(), read))


async def test_a_flood_of_news_forgets_the_oldest_and_keeps_going() -> None:
    hub = Hub()
    with hub.listen("run_1") as queue:
        for number in range(1000):
            await hub._heard(news(number=number))  # type: ignore[arg-type]
        last = None
        while not queue.empty():
            last = queue.get_nowait()
    assert last is not None
    assert last.payload["number"] == 999


async def test_waiting_returns_the_state_when_time_is_up() -> None:
    assert await follower(Hub(), lambda: "queued", recheck=60).wait(0.05) == "queued"
