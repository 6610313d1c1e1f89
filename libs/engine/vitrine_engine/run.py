"""One run as the engine sees it: send the request, check and translate what comes back, judge the end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import signal
import socket
from collections.abc import AsyncGenerator, Coroutine
from pathlib import Path
from typing import Any, TypeVar

from vitrine_engine import checks
from vitrine_engine.channel import Channel
from vitrine_engine.checks import ViolationError
from vitrine_engine.events import Finished, Log, Outcome, OutputFile, OutputValue, Reason, RunEvent, Timings
from vitrine_engine.incoming import Incoming
from vitrine_engine.place import Host
from vitrine_engine.protocol import MIB, InputFile, Limits, RunRequest
from vitrine_harness import BROKEN
from vitrine_harness.frames import CHUNK, FrameError

GRACE_SECONDS = 10.0
"""How much longer than the harness the engine waits before it takes the harness for hung."""
CANCEL_SECONDS = 2.0
COLLECT_SECONDS = 120.0
"""Longest silence of a harness that sends outputs."""
Result = TypeVar("Result")


class Run:
    """From request to `Finished`.

    `disk_bytes` is what the run's file systems held last, `imported` which modules it loaded that may be
    loaded ahead.
    """

    def __init__(
        self, request: RunRequest, spool: Path, limits: Limits, output_names: tuple[str, ...] = ()
    ) -> None:
        self.request = request
        self.disk_bytes = 0
        self.imported: list[str] = []
        self.is_alone = True
        """Whether its place serves no other run now."""
        self._died_alone = True
        self._limits = limits
        self._spool = spool
        self._loop = asyncio.get_running_loop()
        self._asked = self._loop.time()
        self._marks: dict[str, float] = {}
        self._cancelled = asyncio.Event()
        self._place: Host | None = None
        self._channel: Channel | None = None
        self._left = 0.0
        self._log_left = limits.log_bytes
        self._exit_code: int | None = None
        self._has_exited = False
        self._end: Outcome | None = None
        self._failure: tuple[Reason, str] | None = None
        declared = (*(spec.name for spec in request.outputs), *output_names)
        self._incoming = Incoming(spool, declared, limits.output_bytes)
        self._children: set[asyncio.Task[None]] = set()

    @property
    def _host(self) -> Host:
        assert self._place is not None, "a run that has begun has a place"
        return self._place

    @property
    def wall_seconds(self) -> float:
        """Wall clock limit of this run."""
        return self.request.wall_seconds or self._limits.wall_seconds

    async def cancel(self) -> None:
        """Ask the harness to end the run; kill it when it does not listen."""
        if self._cancelled.is_set():
            return
        self._cancelled.set()
        task = self._loop.create_task(self._press())
        self._children.add(task)
        task.add_done_callback(self._children.discard)

    async def wait_cancelled(self) -> None:
        """Return when `cancel` was called."""
        await self._cancelled.wait()

    def refused(self, reason: Reason, message: str) -> Finished:
        """Return the end of a run that never began."""
        return Finished(outcome=Outcome(reason=reason, message=message))

    async def events(self, place: Host) -> AsyncGenerator[RunEvent, None]:
        """Do the run. Closing the iterator kills it."""
        self._place = place
        kills = self._host.meter.out_of_memory_kills()
        self._host.meter.reset_peak()
        try:
            async for event in self._serve():
                yield event
            self._close_channel()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CANCEL_SECONDS):
                    await self._host.wait_ended(self.request.id)
        finally:
            await self._release()
        yield Finished(outcome=self._judge(self._host.meter.out_of_memory_kills() - kills))

    async def _serve(self) -> AsyncGenerator[RunEvent, None]:
        self._left = self.wall_seconds + GRACE_SECONDS
        try:
            await self._within(self._begin())
            while self._end is None:
                frame = await self._within(self._receive())
                event = await self._within(self._translate(*frame))
                if event is not None:
                    yield event
                    if isinstance(event, OutputFile):
                        event.file.unlink(missing_ok=True)
        except TimeoutError:
            self._failure = (Reason.TIMEOUT, f"the run took longer than {self.wall_seconds:g} s")
            await self._host.kill_run(self.request.id)
        except (ViolationError, FrameError) as error:
            self._failure = (Reason.SANDBOX_VIOLATION, f"the sandbox broke the protocol: {error}")
            await self._host.destroy()
        except (OSError, EOFError):
            # The stream ended early: `_judge` finds out why.
            self._died_alone = self.is_alone
            return

    async def _within(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Await with what is left of the run's time; time that the consumer takes does not count."""
        began = self._loop.time()
        try:
            async with asyncio.timeout(COLLECT_SECONDS if self._has_exited else max(0.0, self._left)):
                return await work
        finally:
            self._left -= self._loop.time() - began

    async def _begin(self) -> None:
        ours, theirs = socket.socketpair()
        self._channel = Channel(ours)
        with theirs:
            await self._host.hand_over({"do": "run", "id": self.request.id}, theirs)
        if self._cancelled.is_set():
            raise EOFError
        await self._channel.send(self._start())
        for file in self.request.files:
            await self._send_file(file)
        for name, tensor in self.request.tensors.items():
            shape = list(tensor.shape)
            header = {"do": "tensor", "name": name, "dtype": tensor.dtype, "shape": shape}
            await self._channel.send({**header, "size": len(tensor.data)})
            await self._send_data(tensor.data)
        await self._channel.send({"do": "go"})

    def _start(self) -> dict[str, Any]:
        request, limits = self.request, self._limits
        return {
            "do": "start",
            "argv": list(request.argv),
            "workdir": request.workdir,
            "env": variables(request),
            "values": dict(request.values),
            "wall_seconds": self.wall_seconds,
            "outputs": [
                {"pattern": item.pattern, "name": item.name, "required": item.required}
                for item in request.outputs
            ],
            "checkpoints": request.checkpoints,
            "metrics": request.metrics,
            "log_bytes": limits.log_bytes,
            "output_bytes": limits.output_bytes,
        }

    async def _send_file(self, file: InputFile) -> None:
        assert self._channel is not None
        header = {"do": "file", "name": file.name, "path": file.destination}
        if isinstance(file.source, bytes):
            await self._channel.send({**header, "size": len(file.source)})
            await self._send_data(file.source)
            return
        try:
            stream = file.source.open("rb")
        except OSError as error:
            text = f"input {file.name}: {file.source} cannot be read: {error.strerror}"
            self._failure = (Reason.PLATFORM_ERROR, text)
            raise
        with stream:
            left = stream.seek(0, 2)
            stream.seek(0)
            await self._channel.send({**header, "size": left})
            while left > 0:
                data = await asyncio.to_thread(stream.read, min(CHUNK, left))
                if not data:
                    raise EOFError
                left -= len(data)
                await self._channel.send({"do": "data"}, data)

    async def _send_data(self, data: bytes) -> None:
        assert self._channel is not None
        view = memoryview(data)
        for offset in range(0, len(view), CHUNK):
            await self._channel.send({"do": "data"}, view[offset : offset + CHUNK])

    async def _receive(self) -> tuple[dict[str, Any], bytes]:
        assert self._channel is not None
        frame = await self._channel.receive()
        if frame is None:
            raise EOFError
        return frame

    async def _translate(self, header: dict[str, Any], payload: bytes) -> RunEvent | None:
        """Return the event of a frame, or None for a frame that only changes state."""
        assert self._channel is not None
        kind = header.get("is")
        event: RunEvent | None = None
        match header.get("is"):
            case "log":
                event = self._log(header, payload)
            case "metric":
                event = checks.metric(header)
            case "progress":
                event = checks.progress(header)
            case "file":
                event = await self._incoming.receive(header, self._channel)
            case "value":
                event = self._value(header)
            case "tensor":
                size = checks.whole(header.get("size"), most=self._limits.output_bytes)
                event = checks.tensor(header, await self._incoming.receive_bytes(size, self._channel))
            case kind:
                self._note(kind, header)
        return event

    def _note(self, kind: object, header: dict[str, Any]) -> None:
        if kind == "started" and "started" not in self._marks:
            self._mark("started")
        elif kind == "imported":
            self.imported = checks.modules(header.get("modules"))
        elif kind == "disk":
            self.disk_bytes = checks.whole(header.get("bytes"), most=1 << 50)
        elif kind == "exited" and not self._has_exited:
            self._mark("user")
            code = header.get("code")
            self._exit_code = None if code is None else checks.whole(code, most=1000)
            self._has_exited = True
        elif kind == "end":
            self._mark("collected")
            self._end = Outcome(
                reason=checks.reason(header.get("reason")),
                message=checks.text(header.get("message"), most=2000),
                log_truncated=header.get("truncated") is True,
            )
        else:
            raise ViolationError(f"an unexpected message {str(kind)[:40]!r}")

    def _log(self, header: dict[str, Any], payload: bytes) -> Log:
        self._log_left -= len(payload)
        if self._log_left < 0:
            raise ViolationError("more log than allowed")
        if header.get("stream") == "stdout":
            return Log(stream="stdout", data=payload)
        if header.get("stream") == "stderr":
            return Log(stream="stderr", data=payload)
        raise ViolationError("a log of no known stream")

    def _value(self, header: dict[str, Any]) -> OutputValue:
        value = header.get("value")
        self._incoming.count(len(json.dumps(value)))
        name, kind = checks.text(header.get("name"), most=200), checks.text(header.get("type"), most=20)
        return OutputValue(name=name, type=kind, value=value, partial=header.get("partial") is True)

    def _mark(self, name: str) -> None:
        self._marks[name] = round((self._loop.time() - self._asked) * 1000, 3)

    async def _press(self) -> None:
        with contextlib.suppress(OSError):
            if self._channel is not None:
                await self._channel.send({"do": "cancel"})
                await asyncio.sleep(CANCEL_SECONDS)
        if self._end is None and self._place is not None:
            await self._place.kill_run(self.request.id)

    async def _release(self) -> None:
        """Leave nothing behind, also when the consumer went away in the middle."""
        if self._channel is not None and self._end is None and not await self._has_obeyed():
            await self._host.kill_run(self.request.id)
        children = list(self._children)
        for task in children:
            task.cancel()
        if children:
            await asyncio.wait(children)
        self._close_channel()
        if self._spool.exists():
            await asyncio.to_thread(shutil.rmtree, self._spool, ignore_errors=True)

    async def _has_obeyed(self) -> bool:
        """Hang up on a loaded model and say whether it has let go of the run: others may need it."""
        if self._host.is_script or self._failure is not None:
            return False
        self._close_channel()
        try:
            async with asyncio.timeout(CANCEL_SECONDS):
                await self._host.wait_ended(self.request.id)
        except TimeoutError:
            return False
        return True

    def _close_channel(self) -> None:
        if self._channel is not None:
            self._channel.close()

    def _judge(self, kills: int) -> Outcome:
        reason, message = self._reason(kills)
        return Outcome(
            reason=reason,
            exit_code=self._exit_code,
            message=message,
            timings=Timings(
                started=self._marks.get("started"),
                user=self._marks.get("user"),
                collected=self._marks.get("collected"),
            ),
            peak_memory_bytes=self._host.meter.peak_bytes(),
            log_truncated=self._end.log_truncated if self._end else self._log_left <= 0,
        )

    def _reason(self, kills: int) -> tuple[Reason | None, str]:
        if self._failure is not None:
            return self._failure
        if self._end is not None and self._end.reason is None:
            return None, ""
        if self._cancelled.is_set() or self._host.stopping:
            return Reason.CANCELLED, "the run was cancelled"
        if kills > 0 and (self._end is None or self._end.reason is Reason.USER_ERROR):
            limit = self._limits.memory_bytes / MIB
            return Reason.OUT_OF_MEMORY, f"the run needed more than its {limit:g} MiB of memory"
        if self._end is not None and self._end.reason is not Reason.CANCELLED:
            return self._end.reason, self._end.message
        return self._unexpected()

    def _unexpected(self) -> tuple[Reason, str]:
        death = self._host.death
        if not death:
            return Reason.PLATFORM_ERROR, "the sandbox ended unexpectedly"
        if self._died_alone:
            return Reason.USER_ERROR, died(death, "while it served the run")
        # Of several runs nobody knows which one it was: they are tried again, each alone.
        return Reason.PLATFORM_ERROR, died(death, "while it served several runs")


def variables(request: RunRequest) -> dict[str, str]:
    """Return the environment variables that a request adds: its inputs, its own, the trace context."""
    found = {}
    for file in request.files:
        if file.destination is not None:
            found[variable(file.name)] = file.destination
    for name, value in request.values.items():
        if value is not None:
            found[variable(name)] = value if isinstance(value, str) else json.dumps(value)
    if request.traceparent:
        found["TRACEPARENT"] = request.traceparent
    return {**found, **request.env}


def variable(name: str) -> str:
    """Return the environment variable that carries an input."""
    return "VITRINE_INPUT_" + name.upper().replace("-", "_")


def died(status: int, when: str) -> str:
    """Say for people how a model's process ended by itself."""
    if status == BROKEN:
        return f"the model broke the platform's code in its process {when}"
    if status > 128:
        with contextlib.suppress(ValueError):
            return f"the model's process was ended by {signal.Signals(status - 128).name} {when}"
    return f"the model ended its process with status {status} {when}"
