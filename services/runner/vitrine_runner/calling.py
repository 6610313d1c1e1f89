"""Synchronous calls: requests over the bus, answered by a worker of the version, or told why not."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from pydantic import ValidationError

from vitrine_common.errors import Unavailable, VitrineError
from vitrine_common.freight import INLINE_BYTES, Carriage, Freight
from vitrine_common.hatch import LEAVE_SECONDS, Hatch, Line
from vitrine_common.messages import ModelAnswer, ModelCall, Signature
from vitrine_common.messages.call import Part, pack, split, warm_subject
from vitrine_common.states import Reason
from vitrine_engine import CallError, SandboxGoneError, Tensor, TensorSignature
from vitrine_runner.errors import RunFault, as_fault
from vitrine_runner.seats import Seat, Seats, living
from vitrine_runner.workers import Need, WorkerPool

log = logging.getLogger(__name__)

QUEUE = "runners"
TEND_SECONDS = 0.25
SIGN_SECONDS = 1.0
"""Pause between two signs of life for a call that is worked on."""
BUSY_SECONDS = 2.0
"""What callers are told to wait who were not served."""


Reply = Callable[[bytes], Awaitable[None]]


@dataclass(eq=False, slots=True)
class _Open:
    """A call that is worked on."""

    reply: Reply
    signed: float


class Calling:
    """Answers calls in this process.

    Args:
        pool: lends workers.
        carriage: for tensors that are too large for a message.
        hatch_directory: where those who ask find the shorter way, if there is one.
        holder: this process's name.
        cores: of this host.
        queue: calls of one version that wait here at most.
    """

    def __init__(
        self,
        pool: WorkerPool,
        carriage: Carriage,
        hatch_directory: Path | None,
        *,
        holder: str,
        cores: int,
        queue: int,
    ) -> None:
        self._pool = pool
        self._carriage = carriage
        self._hatch = Hatch(hatch_directory, self._asked)
        self._holder = holder
        self._cores = cores
        self._queue = queue
        self._loop = asyncio.get_running_loop()
        self._client: Client | None = None
        self._seats: dict[Need, Seats] = {}
        self._warm: dict[str, Subscription] = {}
        self._cold: list[Subscription] = []
        self._open: dict[asyncio.Task[None], _Open] = {}
        self._background: set[asyncio.Task[None]] = set()
        self._stopping = False

    async def open(self, client: Client, *, gpu: bool) -> None:
        """Begin to listen for calls of versions without a worker."""
        self._client = client
        await self._hatch.open()
        for device in ("cpu", "gpu") if gpu else ("cpu",):
            self._cold.append(await client.subscribe(f"infer.start.{device}", queue=QUEUE, cb=self._heard))

    async def tend_forever(self) -> None:
        """Give workers back, listen for the versions that have one, and show that calls are worked on."""
        while not self._stopping:
            await asyncio.sleep(TEND_SECONDS)
            try:
                await self._tend()
            except NatsError:
                log.warning("the bus is away; workers for calls will be looked after again", exc_info=True)

    async def close(self, grace_seconds: float) -> None:
        """Listen no more, and let calls end for `grace_seconds`; the others are told."""
        self._stopping = True
        await self._hear_no_more()
        await self._hatch.leave()
        if self._open:
            await asyncio.wait(self._open, timeout=grace_seconds)
        for task in list(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)
        self._hatch.close()
        for seats in self._seats.values():
            await seats.aclose()

    async def _hear_no_more(self) -> None:
        """Leave the bus; what it has handed out already is still heard, and told that we are busy."""
        subscriptions = (*self._cold, *self._warm.values())
        with suppress(TimeoutError):
            async with asyncio.timeout(LEAVE_SECONDS):
                drained = [item.drain() for item in subscriptions]  # type: ignore[no-untyped-call] # of nats-py
                await asyncio.gather(*drained, return_exceptions=True)

    async def _heard(self, message: Msg) -> None:
        """Take a call from the bus."""
        assert self._client is not None
        self._take(message.data, partial(self._client.publish, message.reply))

    def _asked(self, line: Line, number: int, message: bytes) -> None:
        """Take a call that came by the shorter way."""
        self._take(message, partial(_answer_by, line, number))

    def _take(self, message: bytes, reply: Reply) -> None:
        try:
            head, data = split(message)
            call = ModelCall.model_validate_json(head)
        except (ValueError, ValidationError) as error:
            log.warning("a call cannot be read", extra={"error": str(error)})
            return
        task = self._loop.create_task(self._answer(reply, call, data))
        self._open[task] = _Open(reply, self._loop.time())
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._open.pop(task, None)
        if not task.cancelled() and task.exception() is not None:
            log.error("a call was not answered", exc_info=task.exception())

    async def _answer(self, reply: Reply, call: ModelCall, data: memoryview) -> None:
        began = self._loop.time()
        seats = self._of(Need(call.version_digest, call.environment_digest, call.owner_id))
        body: bytes | memoryview = b""
        if self._stopping or seats.queue >= self._queue:
            answer = self._busy("too many calls of this model wait already")
        else:
            try:
                tensors = await self._tensors(call, data)
                seat = await seats.take(call.patience)
                try:
                    answer, body = await self._computed(call, tensors, seat, began)
                finally:
                    seats.release(seat)
            except TimeoutError:
                answer = self._busy(f"no worker was free within {call.patience:g} s")
            except RunFault as fault:
                answer = self._failed(fault)
            except asyncio.CancelledError:
                stopped = RunFault(Reason.PLATFORM_ERROR, "the runner was stopped during this call")
                await reply(pack(self._failed(stopped)))
                raise
            except (VitrineError, SandboxGoneError) as error:
                answer = self._failed(as_fault(error))
        await reply(pack(answer, body))

    async def _computed(
        self, call: ModelCall, tensors: Mapping[str, Tensor], seat: Seat, began: float
    ) -> tuple[ModelAnswer, bytes]:
        waited = (self._loop.time() - began) * 1000
        cold, sandbox = seat.is_new, seat.worker.sandbox
        facts: dict[str, Any] = {"cold": cold, "waited_ms": waited, "runner": self._holder}
        if self._hatch.name is not None and self._carriage.shares_with(call.shared):
            facts["hatch"] = self._hatch.name
        if call.describe:
            loaded = sandbox.loaded
            inputs, results = (loaded.inputs, loaded.outputs) if loaded else ((), ())
            signature = {"inputs": _signatures(inputs), "results": _signatures(results)}
            return ModelAnswer(state="answered", **signature, **facts), b""
        try:
            found = await sandbox.call(tensors, call.outputs)
        except CallError as error:
            raise RunFault(Reason(error.reason.value), str(error)) from error
        except ValueError as error:
            raise RunFault(Reason.INPUT_INVALID, str(error)) from error
        parts = [(name, item.dtype, item.shape, len(item.data)) for name, item in found.tensors.items()]
        pieces = [item.data for item in found.tensors.values()]
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        answer = await self._loaded(call, parts, body, {**facts, "compute_ms": found.seconds * 1000})
        return answer, body if len(body) <= INLINE_BYTES else b""

    async def _loaded(
        self, call: ModelCall, parts: list[Part], body: bytes, facts: dict[str, Any]
    ) -> ModelAnswer:
        """Return the answer's head; a body that is too large for a message is put elsewhere."""
        freight = Freight()
        if len(body) > INLINE_BYTES:
            freight = await self._carriage.put(body, shared=self._carriage.shares_with(call.shared))
        return ModelAnswer(
            state="answered",
            tensors=tuple(parts),
            size=len(body),
            file=freight.file,
            staged=freight.staged,
            **facts,
        )

    async def _tensors(self, call: ModelCall, data: memoryview) -> Mapping[str, Tensor]:
        body: bytes | memoryview = data
        if call.file is not None or call.staged is not None:
            body = await self._carriage.take(call.file, call.staged, call.size)
        found, offset = {}, 0
        view = memoryview(body)
        for name, dtype, shape, size in call.tensors:
            found[name] = Tensor(dtype=dtype, shape=shape, data=bytes(view[offset : offset + size]))
            offset += size
        return found

    def _of(self, need: Need) -> Seats:
        seats = self._seats.get(need)
        if seats is None:
            seats = Seats(self._pool, need, self._cores, lambda: self._listen(need.version_digest))
            self._seats[need] = seats
        return seats

    def _listen(self, digest: str) -> None:
        """Hear calls of a version directly, now that it has a worker here."""
        subject = warm_subject(digest)
        if subject not in self._warm and not self._stopping and self._client is not None:
            self._in_background(self._subscribe(subject))

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _subscribe(self, subject: str) -> None:
        assert self._client is not None
        if subject not in self._warm:
            self._warm[subject] = await self._client.subscribe(subject, queue=QUEUE, cb=self._heard)

    async def _tend(self) -> None:
        for need, seats in list(self._seats.items()):
            seats.tend()
            if seats.is_unused:
                del self._seats[need]
        needed = living(self._pool.workers) | set(self._seats)
        wanted = {warm_subject(need.version_digest) for need in needed}
        for need in living(self._pool.workers):
            self._listen(need.version_digest)
        for subject in set(self._warm) - wanted:
            await self._warm.pop(subject).unsubscribe()
        await self._sign()

    async def _sign(self) -> None:
        now = self._loop.time()
        for working in list(self._open.values()):
            if now - working.signed >= SIGN_SECONDS:
                working.signed = now
                with suppress(NatsError):  # of the bus; those who came by the shorter way still hear it
                    await working.reply(pack(ModelAnswer(state="working", runner=self._holder)))

    def _busy(self, text: str) -> ModelAnswer:
        return ModelAnswer(state="busy", message=text, retry_after=BUSY_SECONDS, runner=self._holder)

    def _failed(self, fault: RunFault) -> ModelAnswer:
        return ModelAnswer(
            state="failed", reason=fault.reason, message=fault.message[:2000], runner=self._holder
        )


async def _answer_by(line: Line, number: int, answer: bytes) -> None:
    """Answer by the shorter way; whoever has gone needs no answer."""
    with suppress(Unavailable):
        line.send(number, answer)


def _signatures(items: tuple[TensorSignature, ...]) -> tuple[Signature, ...]:
    return tuple(Signature(name=item.name, dtype=item.dtype, shape=item.shape) for item in items)
