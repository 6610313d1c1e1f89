"""Live news for waiting requests: one set of subscriptions a process, fanned out by id.

News may be lost (plain subjects, a full queue, a bus that is away), so whoever waits also looks at the
database every few seconds, and the database alone decides when something has ended.
"""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

S = TypeVar("S")

SUBJECTS = (
    "build.progress.*",
    "run.progress.*",
    "claim.progress.*",
    "claim.checked",
    "run.succeeded",
    "run.failed",
    "run.cancelled",
    "run.expired",
    "trial.progress.*",
    "trial.finished",
    "version.ready",
    "version.build_failed",
    "link.revoked",
    "link.changed",
)
"""Of kept events, too: the stream's server hands them to plain subscribers as they are published."""

_KEYS = ("run_id", "check_id", "build_id", "trial_id", "version_id", "link_id")
_QUEUE = 256


@dataclass(frozen=True, slots=True)
class News:
    """One message, by type; `payload` as it was sent."""

    type: str
    payload: dict[str, Any]


class Hub:
    """Fans news out. `close` ends every stream, so that a stopping server need not wait for them."""

    def __init__(self) -> None:
        self._listeners: dict[str, set[asyncio.Queue[News | None]]] = defaultdict(set)
        self._subscriptions: list[Subscription] = []
        self.closed = False

    async def open(self, client: Client) -> None:
        """Subscribe; the client subscribes again by itself when it had to reconnect."""
        for subject in SUBJECTS:
            self._subscriptions.append(await client.subscribe(subject, cb=self._heard))

    def close(self) -> None:
        """End every wait now."""
        self.closed = True
        for queues in self._listeners.values():
            for queue in queues:
                _offer(queue, None)

    async def _heard(self, message: Msg) -> None:
        try:
            envelope = json.loads(message.data)
            news = News(str(envelope["type"]), dict(envelope["payload"]))
        except (ValueError, KeyError, TypeError):
            return
        for key in _KEYS:
            identifier = news.payload.get(key)
            for queue in self._listeners.get(identifier, ()) if isinstance(identifier, str) else ():
                _offer(queue, news)

    @contextmanager
    def listen(self, *ids: str) -> Iterator[asyncio.Queue[News | None]]:
        """Collect news about any of `ids` in a queue while the block runs; None means: stop waiting."""
        queue: asyncio.Queue[News | None] = asyncio.Queue(_QUEUE)
        if self.closed:
            queue.put_nowait(None)
        for identifier in ids:
            self._listeners[identifier].add(queue)
        try:
            yield queue
        finally:
            for identifier in ids:
                self._listeners[identifier].discard(queue)
                if not self._listeners[identifier]:
                    del self._listeners[identifier]


def _offer(queue: asyncio.Queue[News | None], news: News | None) -> None:
    if queue.full():
        queue.get_nowait()
    queue.put_nowait(news)


@dataclass(frozen=True, slots=True)
class Change(Generic[S]):
    """What a follower sees: a new state, news in between, or the end (the state is final)."""

    kind: str
    """`state`, `progress`, `end`, or `still` when nothing happened for a while."""
    state: S | None = None
    news: News | None = None


@dataclass(frozen=True)
class Follower(Generic[S]):
    """Follows one thing until it has ended.

    Args:
        hub: where news come from.
        ids: what news are about.
        read: the present state from the database; may raise, which ends the stream.
        mark: what must differ for a state to be worth telling.
        is_final: whether nothing can follow a state.
        recheck_seconds: pause between looks at the database without news.
        due_seconds: how long until a state changes by itself, by the clock; None for never.
    """

    hub: Hub
    ids: tuple[str, ...]
    read: Callable[[], Awaitable[S]]
    mark: Callable[[S], Any]
    is_final: Callable[[S], bool]
    recheck_seconds: float
    due_seconds: Callable[[S], float | None] = lambda _: None

    async def changes(self) -> AsyncGenerator[Change[S], None]:
        """Yield the present state first, then news and new states, then the end, once."""
        with self.hub.listen(*self.ids) as queue:
            state = await self.read()
            told = self.mark(state)
            if not self.is_final(state):
                yield Change("state", state)
            while not self.is_final(state):
                news = await self._next(queue, state)
                if self.hub.closed:
                    return
                if news is not None and ".progress" in news.type:
                    yield Change("progress", news=news)
                    if news.payload.get("state") in {None, told}:
                        continue
                state = await self.read()
                if self.is_final(state):
                    break
                if self.mark(state) != told:
                    told = self.mark(state)
                    yield Change("state", state)
                elif news is None:
                    yield Change("still")
            yield Change("end", state)

    async def wait(self, seconds: float) -> S:
        """Return the state as soon as it is final, else as it is after `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                async for change in self.changes():
                    if change.kind == "end" and change.state is not None:
                        return change.state
        except TimeoutError:
            pass
        return await self.read()

    async def _next(self, queue: asyncio.Queue[News | None], state: S) -> News | None:
        due = self.due_seconds(state)
        seconds = self.recheck_seconds if due is None else min(self.recheck_seconds, max(0.0, due))
        try:
            async with asyncio.timeout(seconds):
                return await queue.get()
        except TimeoutError:
            return None
