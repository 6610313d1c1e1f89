"""One cell of a sandbox as the engine sees it: where a run, or a loaded model, takes place."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import Callable
from typing import Any, Protocol

from vitrine_engine import checks
from vitrine_engine.checks import ViolationError
from vitrine_engine.process.handle import Handle
from vitrine_engine.process.meter import Meter
from vitrine_engine.process.nest import Nest, NestGoneError
from vitrine_engine.process.packets import Door, Packet, PacketError
from vitrine_engine.process.verifying import UntrustedError
from vitrine_engine.process.zygote import Admit, CellGoneError
from vitrine_harness.boot import CONTROL_BYTES

PLACE_SECONDS = 30.0


class Forker(Protocol):
    """Makes forks of the zygote in cells."""

    async def fork(self, init: Handle, request: Packet, admit: Admit) -> int | None:
        """Return the fork's process, or None where there is none to be had."""


class ProcessCell:
    """Implements `vitrine_engine.place.Host`.

    `order` says what the cell is made of; `forker` gives forks of the zygote, None of none; `admit` puts a
    process under the sandbox's limits; `on_lost` is called when the sandbox cannot go on.
    """

    def __init__(
        self,
        name: str,
        order: dict[str, Any],
        *,
        nest: Nest,
        meter: Meter,
        forker: Forker | None,
        admit: Admit,
        is_stopping: Callable[[], bool],
        on_lost: Callable[[], None],
    ) -> None:
        self.name = name
        self.meter = meter
        self._order = order
        self.is_script = True
        self.death: int | None = None
        """Status with which a model's process ended, as it says."""
        self.pids: list[int] = []
        """The init, and who waits for each forked program; below them are the tenant's processes."""
        self._nest = nest
        self._forker = forker
        self._admit = admit
        self._is_stopping = is_stopping
        self._on_lost = on_lost
        self._gate: Door | None = None
        self._init: Handle | None = None
        self._admitting: asyncio.Task[None] | None = None
        """The move of the init under the sandbox's limits, and what it forks from then on."""
        self._control: socket.socket | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._ended: dict[str, asyncio.Event] = {}
        self._loop = asyncio.get_running_loop()
        nest.expect(name)

    @property
    def stopping(self) -> bool:
        """Whether the service has asked the sandbox to stop."""
        return self._is_stopping()

    async def open_model(self) -> None:
        """Open the cell for a model, which `hand_over` then reaches; raises `OSError`."""
        self.is_script = False
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        self._control = ours
        with theirs:
            await self._open("model", [theirs.fileno()])
        self._tasks.append(self._loop.create_task(self._read_control(ours)))

    async def open_script(self) -> None:
        """Open the cell for a script's run, which may come later; raises `OSError`."""
        await self._open("run", [])

    @property
    def is_ready(self) -> bool:
        """Whether the cell is open and lives."""
        return self._admitting is not None and self._nest.alive and not self._nest.has_ended(self.name)

    async def hand_over(self, message: dict[str, Any], sock: socket.socket) -> None:
        """Give the cell its script's run, or send a message to the model; raises `OSError`."""
        if self._control is None:
            if self._admitting is None:
                await self.open_script()
            assert self._gate is not None
            assert self._admitting is not None
            await asyncio.shield(self._admitting)
            self._gate.send({"do": "run"}, [sock.fileno()])
            return
        data = json.dumps(message).encode()
        while True:
            try:
                socket.send_fds(self._control, [data], [sock.fileno()])
            except BlockingIOError:
                await asyncio.sleep(0.001)
            else:
                return

    async def kill_run(self, run_id: str) -> None:  # noqa: ARG002 - a cell has one run, or a model that is one
        """Kill the cell and wait until it is gone."""
        await self.kill()

    async def kill(self) -> None:
        """Kill the cell and wait until it is gone."""
        await self._nest.kill(self.name)
        if not self.is_script:
            self._on_lost()

    def expect(self, run_id: str) -> None:
        """Note that a run begins, whose end will be waited for."""
        self._ended[run_id] = asyncio.Event()

    def forget(self, run_id: str) -> None:
        """Note that nobody waits for a run any more."""
        self._ended.pop(run_id, None)

    async def wait_ended(self, run_id: str) -> None:
        """Return when nothing of a run is left, or nothing of the cell is."""
        if self.is_script:
            await self._nest.wait_ended(self.name)
        elif (ended := self._ended.get(run_id)) is not None:
            gone = self._loop.create_task(self._nest.wait_ended(self.name))
            told = self._loop.create_task(ended.wait())
            try:
                await asyncio.wait({gone, told}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                gone.cancel()
                told.cancel()

    async def wait_gone(self) -> None:
        """Return when nothing of the cell is left."""
        await self._nest.wait_ended(self.name)

    async def destroy(self) -> None:
        """Kill the cell, in which something broke the protocol, and the sandbox with it."""
        self._on_lost()
        await self.kill()

    async def close(self) -> None:
        """Kill the cell and free what the engine holds for it. Idempotent."""
        await self._nest.kill(self.name)
        self._nest.forget(self.name)
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        if self._gate is not None:
            self._gate.close()
        if self._control is not None:
            self._control.close()
        if self._admitting is not None:
            await asyncio.gather(self._admitting, return_exceptions=True)
        if self._init is not None:
            self._init.close()

    async def _open(self, kind: str, streams: list[int]) -> None:
        self._gate = gate = Door()
        message = {"do": kind, "id": self.name, "cell": self._order}
        await self._nest.tell(message, [*streams, gate.theirs.fileno()])
        gate.hand_out()
        try:
            async with asyncio.timeout(PLACE_SECONDS):
                packet = await gate.receive()
        except (PacketError, TimeoutError) as error:
            raise ConnectionResetError(f"the cell could not be made: {error}") from error
        packet.close()
        self._init = init = Handle(packet.pid)
        self.pids.append(init.pid)
        self._admitting = self._loop.create_task(self._admit(init))
        if not self.is_script:
            await asyncio.shield(self._admitting)
        # A script's init asks for its fork meanwhile, which is admitted by itself; it has no run before.
        gate.send({"do": "begin"})
        self._tasks.append(self._loop.create_task(self._serve_gate(init, gate)))

    async def _read_control(self, control: socket.socket) -> None:
        """Note which runs of a model have ended, and how its process did; it says so itself."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError, ViolationError):
            while data := await self._hear(control):
                message = json.loads(data)
                if message["is"] == "ended" and message["id"] in self._ended:
                    self._ended[message["id"]].set()
                elif message["is"] == "died":
                    self.death = checks.whole(message["code"], most=255)

    async def _hear(self, control: socket.socket) -> bytes:
        try:
            return await self._loop.sock_recv(control, CONTROL_BYTES)
        except ConnectionResetError:
            # It ended with a message of ours unread: the kernel tells that before what it said itself.
            return await self._loop.sock_recv(control, CONTROL_BYTES)

    async def _serve_gate(self, init: Handle, gate: Door) -> None:
        """Answer the init's wishes for forks until the cell ends."""
        with contextlib.suppress(PacketError, OSError):
            while True:
                packet = await gate.receive()
                try:
                    found = await self._fork(init, packet)
                finally:
                    packet.close()
                gate.send({"is": "forked" if found else "refused"})

    async def _fork(self, init: Handle, packet: Packet) -> bool:
        if self._forker is None:
            return False
        with contextlib.suppress(CellGoneError, NestGoneError, UntrustedError):
            pid = await self._forker.fork(init, packet, self._admit)
            if pid is not None:
                self.pids.append(pid)
                return True
        return False
