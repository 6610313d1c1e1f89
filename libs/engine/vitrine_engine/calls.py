"""Calls with tensors on a loaded model: a stream for many of them, answered in their order.

A stream is a run that stays open (`vitrine_harness.calls` says what travels on it), so it holds a place of
the model until a run of the other kind wants it. A call costs one message there and one back: no files,
no tasks, no locks. A model that may serve several calls at a time has as many streams.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
import struct
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, cast

from vitrine_engine import checks
from vitrine_engine.checks import DTYPE, ViolationError
from vitrine_engine.events import Answer, Reason, Tensor
from vitrine_engine.place import Host
from vitrine_engine.protocol import MIB, CallError, Limits, SandboxGoneError
from vitrine_harness import frames
from vitrine_harness.frames import FrameError

TEXTS = "object"
PLACE = "calls"
"""How the ids of runs begin that carry calls."""
END_SECONDS = 2.0
_LENGTH = struct.Struct("<I")
Place = Callable[[str], contextlib.AbstractAsyncContextManager[Host]]


class Calls:
    """The calls of one sandbox: as many at once as the model may serve, each stream in order.

    Args:
        place: where the model is loaded.
        turn: held while a stream is open; runs of the other kind take it, too.
        limits: of the sandbox.
        streams: how many calls are computed at a time.
    """

    def __init__(self, place: Place, turn: asyncio.Semaphore, limits: Limits, streams: int) -> None:
        self._turn = turn
        self._lanes = [_Lane(place, turn, limits, f"{PLACE}-{number}") for number in range(streams)]
        self._waiting = 0

    async def call(self, tensors: Mapping[str, Tensor], outputs: Sequence[str]) -> Answer:
        """Call the model; see `Sandbox.call`."""
        lane = self._best()
        lane.users += 1
        try:
            stream = await lane.opened()
            answer = stream.call(tensors, outputs)
            if self._waiting:
                stream.finish()
            return await answer
        finally:
            lane.users -= 1

    @contextlib.contextmanager
    def giving_way(self) -> Iterator[None]:
        """While a run of the other kind waits for the model: close streams once their calls are answered."""
        self._waiting += 1
        for lane in self._lanes:
            lane.finish()
        try:
            yield
        finally:
            self._waiting -= 1

    def finish_unused(self) -> None:
        """Close streams without calls: a run beside them would not be alone."""
        for lane in self._lanes:
            if not lane.users:
                lane.finish()

    def _best(self) -> _Lane:
        """Return the stream with the fewest calls, of these an open one: others have to wait for a turn."""
        lanes = [lane for lane in self._lanes if lane.is_open] if self._turn.locked() else []
        return min(lanes or self._lanes, key=lambda lane: (lane.users, not lane.is_open))


class _Lane:
    """A stream that is opened when it is needed. `users` are the calls that were given to it."""

    def __init__(self, place: Place, turn: asyncio.Semaphore, limits: Limits, name: str) -> None:
        self.users = 0
        self._place = place
        self._turn = turn
        self._limits = limits
        self._name = name
        self._opening = asyncio.Lock()
        self._stream: _Stream | None = None
        self._closing: asyncio.Task[None] | None = None

    @property
    def is_open(self) -> bool:
        """Whether calls can be sent at once."""
        return self._stream is not None and self._stream.is_open

    def finish(self) -> None:
        """Close the stream once its calls are answered."""
        if self._stream is not None:
            self._stream.finish()

    async def opened(self) -> _Stream:
        """Return the open stream."""
        if self._stream is not None and self._stream.is_open:
            return self._stream
        async with self._opening:
            if self._stream is not None and self._stream.is_open:
                return self._stream
            if self._closing is not None:
                await asyncio.shield(self._closing)
            async with contextlib.AsyncExitStack() as holds:
                await self._turn.acquire()
                holds.callback(self._turn.release)
                host = await holds.enter_async_context(self._place(self._name))
                self._stream = await _open(host, self._limits, self._name)
                ending = self._ended(self._stream, host, holds.pop_all())
                self._closing = asyncio.create_task(ending, name="calls")
                return self._stream

    async def _ended(self, stream: _Stream, host: Host, holds: contextlib.AsyncExitStack) -> None:
        """Give the model's place back when the stream has ended."""
        async with holds:
            await stream.ended.wait()
            if stream.fault is not None:
                await host.destroy()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(END_SECONDS):
                    await host.wait_ended(self._name)
            stream.conclude()


async def _open(host: Host, limits: Limits, name: str) -> _Stream:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    stream = _Stream(host, limits)
    with theirs:
        try:
            await host.hand_over({"do": "run", "id": name}, theirs)
        except OSError as error:
            ours.close()
            raise SandboxGoneError("the sandbox has ended; start another one") from error
    await asyncio.get_running_loop().create_unix_connection(lambda: stream, sock=ours)
    return stream


class _Call:
    __slots__ = ("data", "future", "header", "missing")

    def __init__(self, future: asyncio.Future[Answer]) -> None:
        self.future = future
        self.header: dict[str, Any] | None = None
        self.data = bytearray()
        self.missing = 0


class _Stream(asyncio.Protocol):
    """One open stream. `fault` says why the sandbox must end; `ended` is set when the stream has."""

    def __init__(self, host: Host, limits: Limits) -> None:
        self.ended = asyncio.Event()
        self.fault: CallError | None = None
        self._host = host
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._kills = host.meter.out_of_memory_kills()
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._calls: deque[_Call] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._finishing = False

    @property
    def is_open(self) -> bool:
        """Whether it takes calls."""
        return not self._finishing and not self.ended.is_set() and self.fault is None

    def call(self, tensors: Mapping[str, Tensor], outputs: Sequence[str]) -> asyncio.Future[Answer]:
        """Send a call; its answer comes after those of the calls before it."""
        assert self._transport is not None, "a stream is used once it is connected"
        listed = [[name, item.dtype, item.shape, len(item.data)] for name, item in tensors.items()]
        parts = [item.data for item in tensors.values()]
        data = memoryview(parts[0] if len(parts) == 1 else b"".join(parts))
        header = {"do": "call", "tensors": listed, "outputs": list(outputs), "size": len(data)}
        call = _Call(self._loop.create_future())
        self._calls.append(call)
        if len(self._calls) == 1:
            self._time()
        self._transport.write(frames.pack(header, data[: frames.MAX_PAYLOAD]))
        for offset in range(frames.MAX_PAYLOAD, len(data), frames.MAX_PAYLOAD):
            rest = data[offset : offset + frames.MAX_PAYLOAD]
            self._transport.write(frames.pack({"do": "data"}, rest))
        return call.future

    def finish(self) -> None:
        """End the stream after the last answer."""
        self._finishing = True
        if not self._calls and self._transport is not None:
            self._transport.close()

    def conclude(self) -> None:
        """Fail the calls that were not answered."""
        reason, message = Reason.PLATFORM_ERROR, "the sandbox ended unexpectedly"
        if self._host.stopping:
            reason, message = Reason.CANCELLED, "the sandbox was stopped"
        elif self._host.meter.out_of_memory_kills() > self._kills:
            limit = self._limits.memory_bytes / MIB
            reason, message = Reason.OUT_OF_MEMORY, f"the call needed more than its {limit:g} MiB of memory"
        self._drop(self.fault or CallError(reason, message))

    # what the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say what the stream is for."""
        # Other event loops' transports are of no class that asyncio knows.
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(frames.pack({"do": "calls"}))

    def data_received(self, data: bytes) -> None:
        """Take what the sandbox sent, which is an attacker's word."""
        self._buffer += data
        try:
            while (frame := self._frame()) is not None:
                self._take(*frame)
        except (ViolationError, FrameError) as error:
            self._fail(Reason.SANDBOX_VIOLATION, f"the sandbox broke the protocol: {error}")

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the base class names it
        """Note that no more answers come; why, is known once nothing is left of the run."""
        self.ended.set()

    def _frame(self) -> tuple[dict[str, Any], bytes] | None:
        buffer, start = self._buffer, frames.PREFIX.size
        if len(buffer) < start:
            return None
        header, payload = frames.lengths(bytes(buffer[:start]))
        middle, end = start + header, start + header + payload
        if len(buffer) < end:
            return None
        frame = frames.parse_header(bytes(buffer[start:middle])), bytes(buffer[middle:end])
        del buffer[:end]
        return frame

    def _take(self, header: dict[str, Any], payload: bytes) -> None:
        if not self._calls:
            raise ViolationError("an answer that nobody waits for")
        call = self._calls[0]
        if call.header is None:
            call.header = header
            if header.get("is") == "answer":
                call.missing = checks.whole(header.get("size"), most=self._limits.output_bytes)
        elif header.get("is") != "data" or not payload:
            raise ViolationError("an answer has fewer bytes than announced")
        call.missing -= len(payload)
        if call.missing < 0:
            raise ViolationError("an answer has more bytes than announced")
        call.data += payload
        if call.missing == 0:
            answer = _answer(call.header, bytes(call.data))
            self._calls.popleft()
            self._time()
            if not call.future.done():
                if isinstance(answer, CallError):
                    call.future.set_exception(answer)
                else:
                    call.future.set_result(answer)
            if self._finishing:
                self.finish()

    def _time(self) -> None:
        """Give the call that is computed now its time."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._calls:
            self._timer = self._loop.call_later(self._limits.wall_seconds, self._overdue)

    def _overdue(self) -> None:
        self._fail(Reason.TIMEOUT, f"the call took longer than {self._limits.wall_seconds:g} s")

    def _fail(self, reason: Reason, message: str) -> None:
        """Give the sandbox up: whatever is still computed there is nobody's."""
        self.fault = CallError(reason, message)
        self._drop(self.fault)
        if self._transport is not None:
            self._transport.abort()

    def _drop(self, error: CallError) -> None:
        if self._timer is not None:
            self._timer.cancel()
        culprit = True
        while self._calls:
            future = self._calls.popleft().future
            if future.done():
                continue
            # Those behind the one that failed did nothing wrong: whoever asked may ask again.
            known = error if culprit else CallError(Reason.PLATFORM_ERROR, "an earlier call ended it")
            future.set_exception(known)
            culprit = False


def _answer(header: dict[str, Any], data: bytes) -> Answer | CallError:
    if header.get("is") == "refused":
        reason = checks.reason(header.get("reason")) or Reason.USER_ERROR
        return CallError(reason, checks.text(header.get("message"), most=2000))
    listed = header.get("tensors")
    if header.get("is") != "answer" or not isinstance(listed, list):
        raise ViolationError("an answer without tensors")
    found: dict[str, Tensor] = {}
    offset = 0
    for item in listed:
        if not isinstance(item, list) or len(item) != 4:
            raise ViolationError("a tensor is not described")
        size = checks.whole(item[3], most=len(data) - offset)
        found[checks.text(item[0], most=1000)] = _tensor(item[1], item[2], data[offset : offset + size])
        offset += size
    if offset != len(data):
        raise ViolationError("an answer has bytes that belong to no tensor")
    seconds = checks.whole(header.get("microseconds"), most=1 << 50) / 1e6
    return Answer(tensors=found, seconds=seconds)


def _tensor(dtype: object, shape: object, data: bytes) -> Tensor:
    if not isinstance(dtype, str) or not isinstance(shape, list) or len(shape) > 32:
        raise ViolationError("a tensor has no type or shape")
    sizes = tuple(checks.whole(size, most=1 << 40) for size in shape)
    if dtype == TEXTS:
        if count_texts(data) != math.prod(sizes):
            raise ViolationError("a tensor's texts do not fill its shape")
    elif not DTYPE.match(dtype) or math.prod(sizes) * width_of(dtype) != len(data):
        raise ViolationError("a tensor's bytes do not fill its shape")
    return Tensor(dtype=dtype, shape=sizes, data=data)


def width_of(dtype: str) -> int:
    """Return the bytes of one element."""
    return 1 if dtype == "bool" else int("".join(filter(str.isdigit, dtype))) // 8


def count_texts(data: bytes) -> int:
    """Return how many texts, each after its length, `data` holds; raises `ViolationError`."""
    number, offset = 0, 0
    while offset < len(data):
        if offset + _LENGTH.size > len(data):
            raise ViolationError("a tensor of texts is cut short")
        offset += _LENGTH.size + _LENGTH.unpack_from(data, offset)[0]
        number += 1
    if offset != len(data):
        raise ViolationError("a tensor of texts is cut short")
    return number
