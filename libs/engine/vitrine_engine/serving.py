"""What every sandbox does that has a harness inside: load a model, give each run its turn and a place."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path
from typing import Any

from vitrine_engine import checks, loading
from vitrine_engine.calls import Calls
from vitrine_engine.channel import Channel
from vitrine_engine.events import Answer, Reason, RunEvent, Tensor
from vitrine_engine.place import Host
from vitrine_engine.protocol import (
    Loaded,
    LoadedModel,
    LoadError,
    Model,
    OnnxModel,
    RunRequest,
    SandboxGoneError,
    SandboxSpec,
    ScriptModel,
    StartError,
)
from vitrine_engine.run import Run, died
from vitrine_harness import PROTOCOL
from vitrine_harness.frames import FrameError

DEATH_SECONDS = 5.0
"""How long a harness has to tell how a model's process ended."""


class Serving(ABC):
    """The part of `Sandbox` that engines share. `spool` is where outputs wait for the service."""

    def __init__(self, spec: SandboxSpec, spool: Path) -> None:
        self.spec = spec
        self.limits = spec.limits
        self.is_script = True
        self.stopping = False
        self._output_names: tuple[str, ...] = ()
        self._spool = spool
        self._loop = asyncio.get_running_loop()
        self._loaded = False
        self.loaded: Loaded | None = None
        self._calls: Calls | None = None
        self._slots = asyncio.Semaphore(spec.max_runs)
        self._runs: dict[str, Run] = {}
        self._served: set[Run] = set()
        self._streams = 0
        """How many streams of calls are open, which compute beside the runs."""

    @property
    def id(self) -> str:
        """The id of the spec."""
        return self.spec.id

    @property
    @abstractmethod
    def alive(self) -> bool:
        """Whether the sandbox can still take runs."""

    @abstractmethod
    async def stop(self) -> None:
        """Kill everything and leave nothing behind; see `Sandbox.stop`."""

    @abstractmethod
    async def wait_exited(self) -> None:
        """Return when the sandbox is gone."""

    @abstractmethod
    def _place(self, run_id: str) -> contextlib.AbstractAsyncContextManager[Host]:
        """Give a run its place for the block; raises `StartError` where none can be made."""

    @abstractmethod
    async def _serve_scripts(self, model: ScriptModel) -> None:
        """Get ready for runs of a script model."""

    @abstractmethod
    async def _serve_one_model(self) -> Host:
        """Get ready for a loaded model, and return the place in which it is loaded."""

    async def load(self, model: Model) -> Loaded:
        """Make the model ready; see `Sandbox.load`."""
        if not self.alive:
            raise SandboxGoneError(f"sandbox {self.id} has ended; start another one")
        if self._loaded:
            raise ValueError(f"sandbox {self.id} has a model already")
        self._loaded = True
        if isinstance(model, ScriptModel):
            await self._serve_scripts(model)
            self.loaded = Loaded(kind="script", milliseconds=0.0)
            return self.loaded
        is_onnx = isinstance(model, OnnxModel)
        runs = self.spec.max_runs
        request = loading.request(model, runs)
        self.is_script = False
        self._slots = asyncio.Semaphore(runs)
        self._output_names = tuple(str(item["name"]) for item in model.outputs)
        self.loaded = await self._load_or_stop(model, request)
        if is_onnx:
            self._calls = Calls(self._place_of_calls, self._slots, self.limits, runs)
        return self.loaded

    @abstractmethod
    async def expect_run(self) -> None:
        """Get ready for a run that will probably come; see `Sandbox.expect_run`."""

    async def _load_or_stop(self, model: LoadedModel, request: dict[str, Any]) -> Loaded:
        """Load; raises `LoadError`, having stopped the sandbox."""
        host = await self._serve_one_model()
        kills = host.meter.out_of_memory_kills()
        try:
            async with asyncio.timeout(self.limits.wall_seconds):
                return await _load(host, model, request)
        except LoadError:
            await self.stop()
            raise
        except TimeoutError as error:
            await self.stop()
            text = f"the model did not load within {self.limits.wall_seconds:g} s"
            raise LoadError(Reason.TIMEOUT, text) from error
        except (checks.ViolationError, FrameError) as error:
            await self.stop()
            raise LoadError(Reason.SANDBOX_VIOLATION, f"the sandbox broke the protocol: {error}") from error
        except (OSError, EOFError) as error:
            raise await self._lost(host, kills) from error

    async def _lost(self, host: Host, kills: int) -> LoadError:
        """Find out why the model's process ended while it was loaded."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DEATH_SECONDS):
                await self.wait_exited()
        await host.destroy()
        out_of_memory = host.meter.out_of_memory_kills() > kills
        await self.stop()
        if out_of_memory:
            return LoadError(Reason.OUT_OF_MEMORY, "the model does not fit into its memory")
        if host.death:
            return LoadError(Reason.USER_ERROR, died(host.death, "while it was loaded"))
        return LoadError(Reason.PLATFORM_ERROR, "the sandbox ended while the model was loaded")

    async def run(self, request: RunRequest) -> AsyncGenerator[RunEvent, None]:
        """Run once and report; see `Sandbox.run`."""
        checks.check_request(request, script=self.is_script)
        if not self._loaded:
            raise ValueError(f"sandbox {self.id} has no model yet; call load first")
        if request.id in self._runs:
            raise ValueError(f"run {request.id} is going on already")
        run = Run(request, self._spool / request.id, self.limits, self._output_names)
        self._runs[request.id] = run
        try:
            if not await self._take_slot(run):
                yield run.refused(Reason.CANCELLED, "the run was cancelled")
                return
            try:
                async with contextlib.aclosing(self._placed(run)) as events:
                    async for event in events:
                        yield event
            finally:
                self._slots.release()
        finally:
            self._runs.pop(request.id, None)

    async def call(self, tensors: Mapping[str, Tensor], outputs: Sequence[str] = ()) -> Answer:
        """Call a loaded model; see `Sandbox.call`."""
        if self._calls is None:
            raise ValueError(f"sandbox {self.id} has no model that takes tensors")
        if not self.alive:
            raise SandboxGoneError(f"sandbox {self.id} has ended; start another one")
        try:
            return await self._calls.call(tensors, outputs)
        except StartError as error:
            raise SandboxGoneError(str(error)) from error

    async def _placed(self, run: Run) -> AsyncGenerator[RunEvent, None]:
        if not self.alive:
            reason = Reason.CANCELLED if self.stopping else Reason.PLATFORM_ERROR
            yield run.refused(reason, f"sandbox {self.id} has ended")
            return
        self._serve(run)
        try:
            async with (
                self._place(run.request.id) as place,
                contextlib.aclosing(run.events(place)) as events,
            ):
                async for event in events:
                    yield event
        except StartError as error:
            reason = Reason.CANCELLED if self.stopping else Reason.PLATFORM_ERROR
            yield run.refused(reason, str(error))
        finally:
            self._served.discard(run)
            self._note_company()

    @contextlib.asynccontextmanager
    async def _place_of_calls(self, name: str) -> AsyncGenerator[Host, None]:
        """Give a stream of calls its place, and count it for the block."""
        async with self._place(name) as host:
            self._streams += 1
            self._note_company()
            try:
                yield host
            finally:
                self._streams -= 1
                self._note_company()

    def _serve(self, run: Run) -> None:
        self._served.add(run)
        if self._calls is not None:
            self._calls.finish_unused()
        self._note_company()

    def _note_company(self) -> None:
        if not self.alive:
            # Of what has ended, it counts who was there when it did.
            return
        is_alone = self.is_script or len(self._served) + self._streams == 1
        for run in self._served:
            run.is_alone = is_alone

    async def _take_slot(self, run: Run) -> bool:
        """Wait for a free slot; False when the run is cancelled before."""
        if not self._slots.locked():
            await self._slots.acquire()
            return True
        with self._calls.giving_way() if self._calls is not None else contextlib.nullcontext():
            return await self._wait_for_slot(run)

    async def _wait_for_slot(self, run: Run) -> bool:
        slot = self._loop.create_task(self._slots.acquire())
        cancelled = self._loop.create_task(run.wait_cancelled())
        try:
            await asyncio.wait({slot, cancelled}, return_when=asyncio.FIRST_COMPLETED)
            if slot.done() and not cancelled.done():
                return True
        except asyncio.CancelledError:
            if slot.done() and not slot.cancelled():
                self._slots.release()
            raise
        finally:
            cancelled.cancel()
            if not slot.done():
                slot.cancel()
        if slot.done() and not slot.cancelled():
            self._slots.release()
        return False

    async def cancel(self, run_id: str) -> None:
        """End a run; see `Sandbox.cancel`."""
        run = self._runs.get(run_id)
        if run is not None:
            await run.cancel()


async def _load(host: Host, model: LoadedModel, request: dict[str, Any]) -> Loaded:
    ours, theirs = socket.socketpair()
    channel = Channel(ours)
    try:
        with theirs:
            await host.hand_over({"do": "load", "kind": request["kind"]}, theirs)
        await channel.send(request)
        frame = await channel.receive()
        if frame is None:
            raise EOFError
        return loading.answer(frame[0], loading.kind_of(model))
    finally:
        channel.close()


def check_greeting(answer: bytes) -> None:
    """Refuse anything but a harness that is ready and of this version; raises `ValueError`."""
    ready = json.loads(answer)
    if not isinstance(ready, dict) or ready.get("is") != "ready" or ready.get("protocol") != PROTOCOL:
        raise ValueError(f"the harness does not speak protocol {PROTOCOL}")
