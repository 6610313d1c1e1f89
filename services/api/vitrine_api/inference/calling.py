"""Calls over the bus: to a runner with a worker of the version, else to one that starts it, in bounded time.

A call is sent on only while nobody has begun it: when nobody listens, or when whoever got it says that it
was busy. What was begun is answered or fails.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from pydantic import ValidationError

from vitrine_api.inference.nearby import Nearby
from vitrine_common.errors import Unavailable
from vitrine_common.fleet import Fleet
from vitrine_common.freight import INLINE_BYTES, Carriage, Freight
from vitrine_common.hatch import Asking
from vitrine_common.messages import ModelAnswer, ModelCall
from vitrine_common.messages.call import pack, split

log = logging.getLogger(__name__)

SILENCE_SECONDS = 5.0
"""A runner shows every second that it works on a call; after so long without a sign it is gone."""
LOOK_SECONDS = 0.5
LOST = (
    "the runner that worked on this call went away; whether it was computed is not known, and it was not "
    "sent again"
)
AGAIN_SECONDS = 0.05
"""Pause between two looks whether somebody listens."""
MOST_AGAIN_SECONDS = 1.0
_MOST_NUMBER = 0xFFFF_FFFF
_NO_BUS = "the bus does not answer; try again in a moment"


class NotServed(Unavailable):
    """No runner took the call in time; nothing was computed.

    Args:
        message: why, for a person.
        retry_after: seconds after which it is worth trying again.
    """

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = max(1, round(retry_after))


class RunnerLost(Unavailable):
    """The runner that worked on the call went away; it may have been computed."""

    title = "The call was interrupted"


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer and its bytes."""

    head: ModelAnswer
    body: bytes | memoryview


class _Nobody(Exception):
    """Nobody listens on the subject."""


class _Waiting:
    __slots__ = ("future", "heard", "line")

    def __init__(self, future: asyncio.Future[Answered], now: float) -> None:
        self.future = future
        self.heard = now
        self.line: Asking | None = None
        """By which it was sent; None for the bus."""


class Calling:
    """Sends calls and hears the answers. One per process.

    Args:
        carriage: for tensors that are too large for a message.
        shared: the directory that this process shares with the runner of its host, if there is one.
        fleet: the runners.
    """

    def __init__(self, carriage: Carriage, shared: Path | None, fleet: Fleet) -> None:
        self._carriage = carriage
        self._nearby = Nearby(shared, fleet, self._take, self._lost)
        self._client: Client | None = None
        self._inbox = ""
        self._number = 0
        self._waiting: dict[int, _Waiting] = {}
        self._starting: dict[str, asyncio.Event] = {}

    async def open(self, client: Client) -> None:
        """Begin to hear answers."""
        self._carriage.open()
        self._client = client
        self._inbox = client.new_inbox()
        await client.subscribe(f"{self._inbox}.*", cb=self._heard)

    def close(self) -> None:
        """Leave nothing behind."""
        self._nearby.close()
        self._carriage.close()

    @property
    def mark(self) -> str | None:
        """By which a runner sees whether it has the same directory."""
        return self._carriage.mark

    async def watch_forever(self) -> None:
        """Fail calls whose runner has gone silent."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            oldest = asyncio.get_running_loop().time() - SILENCE_SECONDS
            for waiting in list(self._waiting.values()):
                if waiting.heard < oldest and not waiting.future.done():
                    waiting.future.set_exception(RunnerLost(LOST))

    async def call(self, call: ModelCall, body: bytes | memoryview) -> Answered:
        """Have a model called. Raises NotServed, RunnerLost, Unavailable."""
        freight = Freight()
        if len(body) > INLINE_BYTES:
            freight = await self._carriage.put(body, shared=self._carriage.mark is not None)
            body = b""
            call = call.model_copy(update={"file": freight.file, "staged": freight.staged})
        try:
            answered = await self._patiently(call, body)
        except BaseException:
            await self._carriage.drop(freight)
            raise
        head = answered.head
        if head.file is not None or head.staged is not None:
            found = await self._carriage.take(head.file, head.staged, head.size)
            return Answered(head, found)
        return answered

    async def _patiently(self, call: ModelCall, body: bytes | memoryview) -> Answered:
        loop = asyncio.get_running_loop()
        ends, pause = loop.time() + call.patience, AGAIN_SECONDS
        retry_after = 2.0
        while True:
            left = ends - loop.time()
            if left <= 0:
                raise NotServed(
                    f"no runner took this call within {call.patience:g} s; try again later, or ask the "
                    "operator for more runners",
                    retry_after,
                )
            try:
                answered = await self._anywhere(call, body)
            except _Nobody:
                await asyncio.sleep(min(pause, left))
                pause = min(2 * pause, MOST_AGAIN_SECONDS)
                call = _with_patience(call, ends - loop.time())
                continue
            if answered.head.state != "busy":
                return answered
            retry_after = answered.head.retry_after or retry_after
            if call.file is not None or call.staged is not None:
                raise NotServed(answered.head.message, retry_after)
            await asyncio.sleep(min(pause, max(0.0, ends - loop.time())))
            pause = min(2 * pause, MOST_AGAIN_SECONDS)
            call = _with_patience(call, ends - loop.time())

    async def _anywhere(self, call: ModelCall, body: bytes | memoryview) -> Answered:
        """Ask those who have a worker, else one who starts it; of calls at once, one has it started."""
        with suppress(_Nobody):
            return await self._ask(call.subject(), call, body)
        started = self._starting.get(call.subject())
        if started is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(AGAIN_SECONDS):
                    await started.wait()
            raise _Nobody
        self._starting[call.subject()] = started = asyncio.Event()
        try:
            return await self._ask(call.cold_subject(), call, body)
        finally:
            del self._starting[call.subject()]
            started.set()

    async def _ask(self, subject: str, call: ModelCall, body: bytes | memoryview) -> Answered:
        loop = asyncio.get_running_loop()
        self._number = number = self._number % _MOST_NUMBER + 1
        waiting = self._waiting[number] = _Waiting(loop.create_future(), loop.time())
        try:
            await self._send(subject, call, pack(call, body), number)
            answered = await waiting.future
        finally:
            del self._waiting[number]
        self._nearby.learn(call.version_digest, answered.head)
        return answered

    async def _send(self, subject: str, call: ModelCall, message: bytes, number: int) -> None:
        """Send by the shorter way where there is one, else by the bus. Raises Unavailable."""
        line = self._nearby.line_for(call.version_digest)
        if line is not None:
            with suppress(Unavailable):  # it has just ended, and nothing was sent
                line.send(number, message)
                self._waiting[number].line = line
                return
        client = self._client
        if client is None or not client.is_connected:
            raise Unavailable(_NO_BUS)
        try:
            await client.publish(subject, message, reply=f"{self._inbox}.{number:x}")
        except NatsError as error:
            raise Unavailable(_NO_BUS) from error

    async def _heard(self, message: Msg) -> None:
        """Take what came by the bus."""
        number = int(message.subject.rpartition(".")[2], 16)
        if not message.data and message.headers and message.headers.get("Status") == "503":
            waiting = self._waiting.get(number)
            if waiting is not None and not waiting.future.done():
                waiting.future.set_exception(_Nobody())
            return
        self._take(number, message.data)

    def _take(self, number: int, message: bytes) -> None:
        waiting = self._waiting.get(number)
        if waiting is None or waiting.future.done():
            return
        try:
            head, body = split(message)
            answer = ModelAnswer.model_validate_json(head)
        except (ValueError, ValidationError):
            log.exception("an answer that cannot be read")
            waiting.future.set_exception(Unavailable("the runner's answer cannot be read"))
            return
        if answer.state == "working":
            waiting.heard = asyncio.get_running_loop().time()
        else:
            waiting.future.set_result(Answered(answer, body))

    def _lost(self, line: Asking) -> None:
        """Fail calls that went by a line on which no more answers come."""
        for waiting in list(self._waiting.values()):
            if waiting.line is line and not waiting.future.done():
                waiting.future.set_exception(RunnerLost(LOST))


def _with_patience(call: ModelCall, seconds: float) -> ModelCall:
    return call.model_copy(update={"patience": max(seconds, 0.001)})
