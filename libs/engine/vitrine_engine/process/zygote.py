"""The engine's hold on a zygote: asks it for forks, and trusts none that it has not looked at."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vitrine_engine.process import verifying
from vitrine_engine.process.handle import Handle
from vitrine_engine.process.meter import children, descendants
from vitrine_engine.process.nest import Nest, NestGoneError
from vitrine_engine.process.packets import Door, Packet, PacketError
from vitrine_engine.process.verifying import Expected, UntrustedError
from vitrine_harness import seccomp, system
from vitrine_harness.cell import KINDS

IMPORT_SECONDS = 120.0
FORK_SECONDS = 10.0
Admit = Callable[[Handle], Coroutine[Any, Any, None]]
"""Puts a process under a cell's limits; raises `OSError`."""
SETTLE_ROUNDS = 100
"""How often a zygote is looked at again, a millisecond apart, until it has closed what it handed on."""


class ThreadedError(Exception):
    """Modules started threads, which do not survive a fork; `modules` names those that did."""

    def __init__(self, modules: frozenset[str]) -> None:
        super().__init__(f"threads are started by the import of {', '.join(sorted(modules)) or 'a module'}")
        self.modules = modules


class CellGoneError(Exception):
    """The cell for which a fork was wanted has ended."""


@dataclass(slots=True)
class _Birth:
    """A fork that is being made: for whom, and what there is of it."""

    init: Handle
    request: Packet
    namespaces: dict[str, str]
    """Of the cell."""
    admit: Admit
    fork: Handle | None = None
    admitting: asyncio.Task[None] | None = None


class Zygote:
    """One zygote of a nest. Made by `start`."""

    def __init__(
        self, nest: Nest, door: Door, held: frozenset[tuple[int, int]], pid: int, modules: frozenset[str]
    ) -> None:
        self.pid = pid
        self.modules = modules
        """What it has imported."""
        self.memory_bytes = 0
        """Its share of memory (PSS) when it was last measured."""
        self.made = 0
        """How many forks it has made."""
        self._nest = nest
        self._door = door
        self._pidfd = os.pidfd_open(pid)
        self._held = held
        self._forks: set[int] = set()
        self._admitted: set[int] = set()
        """Of the forks, those that are in a cell."""
        self._turn = asyncio.Lock()
        self._dead = False

    @property
    def alive(self) -> bool:
        """Whether it can be asked for forks."""
        return not self._dead and self._nest.alive

    @classmethod
    async def start(cls, nest: Nest, modules: list[str]) -> Zygote:
        """Start a zygote that imports `modules`.

        Raises `ThreadedError` for modules that start threads, `UntrustedError` for a zygote that cannot be
        forked safely, `NestGoneError` where none starts.
        """
        door = Door()
        held = verifying.identities([door.theirs.fileno()])
        try:
            await nest.tell({"do": "zygote", "modules": modules}, [door.theirs.fileno()])
            # Now, or a zygote that dies while it imports is not seen to have hung up.
            door.hand_out()
            async with asyncio.timeout(IMPORT_SECONDS):
                packet = await _hear(door)
            found = cls(nest, door, held, packet.pid, _names(packet, "modules") & set(modules))
        except BaseException as error:
            door.close()
            if isinstance(error, OSError | PacketError | TimeoutError):
                raise NestGoneError(f"no zygote: {error or 'it did not answer'}") from error
            raise
        try:
            await found._settle(_names(packet, "threaded"))
        except BaseException:
            await found.root_out()
            raise
        return found

    async def _settle(self, threaded: frozenset[str]) -> None:
        """Make it harmless before its first fork, and look at it."""
        if verifying.threads(self.pid) != 1:
            raise ThreadedError(threaded)
        if (await self._nest.ask("blind")).get("done") is not True:
            raise UntrustedError("its view of processes could not be taken away")
        await self._check()

    async def fork(self, init: Handle, request: Packet, admit: Admit) -> int:
        """Make a fork in the cell whose init is the process `init`, and let it wait for its call.

        `request` is the init's: descriptors by name, those of the cell's namespaces first. `admit` puts a
        process under the cell's limits. Returns the fork's process. Raises `UntrustedError`; `NestGoneError`;
        `CellGoneError` where the cell has ended, which says nothing of the zygote.

        The zygote stands still from when the fork is there until it is in its cell, and the fork is handed
        nothing before both were looked at: so there is no moment in which the fork sees the cell and has a
        way to the zygote, or by it to another cell.
        """
        async with self._turn:
            if not self.alive:
                raise NestGoneError("the zygote has ended")
            try:
                namespaces = verifying.namespaces(init.pid)
            except UntrustedError as error:
                raise CellGoneError from error
            if init.has_ended:
                raise CellGoneError
            making = asyncio.create_task(self._make(_Birth(init, request, namespaces, admit)))
            try:
                await asyncio.wait([making])
            except asyncio.CancelledError:
                # It was sent for, so it comes: nobody would know it, and the zygote would answer for it.
                await asyncio.wait([making])
                if isinstance(making.exception(), NestGoneError | UntrustedError):
                    await self.root_out()
                raise
            return making.result()

    async def _make(self, birth: _Birth) -> int:
        """Make a fork and admit it; one that fails is killed, and tells of the zygote if its cell lives."""
        with contextlib.closing(Door()) as gate, contextlib.ExitStack() as holds:
            try:
                return await self._admitted_fork(birth, gate, holds)
            except (OSError, PacketError, TimeoutError, UntrustedError) as error:
                if birth.fork is not None:
                    with contextlib.suppress(OSError):
                        birth.fork.signal(signal.SIGSTOP)
                    if not birth.fork.has_ended:
                        _kill_below(birth.fork.pid)
                    if birth.init.has_ended:
                        raise CellGoneError from error
                if isinstance(error, UntrustedError):
                    raise
                raise NestGoneError(f"the zygote does not fork: {error or 'it did not answer'}") from error
            finally:
                if birth.admitting is not None:
                    # A thread may be at it, which no cancelling ends.
                    await asyncio.gather(birth.admitting, return_exceptions=True)

    async def _admitted_fork(self, birth: _Birth, gate: Door, holds: contextlib.ExitStack) -> int:
        request = birth.request
        names = [str(name) for name in request.message["descriptors"]]
        given = [fd for name, fd in zip(names, request.descriptors, strict=True) if name not in KINDS]
        own = verifying.identities([gate.theirs.fileno()])
        self._door.send({}, [gate.theirs.fileno()])
        gate.hand_out()
        async with asyncio.timeout(FORK_SECONDS):
            fork = holds.enter_context(contextlib.closing(Handle((await _hear(gate)).pid)))
            # Before anything is done to it: the number that came may be a stranger's by now.
            verifying.check_child(fork.pid, self.pid)
            birth.fork = fork
            self._forks.add(fork.pid)
            # Takes the kernel some milliseconds, in which the fork is looked at.
            birth.admitting = asyncio.create_task(birth.admit(fork))
            expected = Expected(
                parent=self.pid,
                namespaces=birth.namespaces,
                held=own,
                filtered=seccomp.zygote_filter(system.machine()) is not None,
            )
            async with self._standing_still():
                verifying.check_waiting(fork.pid, expected)
                gate.send({"descriptors": names}, request.descriptors)
                await _hear(gate)
                expected = replace(expected, held=own | verifying.identities(given))
                verifying.check_placed(fork.pid, expected)
            await asyncio.shield(birth.admitting)
        self._admitted.add(fork.pid)
        self.made += 1
        gate.send({"do": "go"})
        return fork.pid

    @contextlib.asynccontextmanager
    async def _standing_still(self) -> AsyncIterator[None]:
        """Stop the zygote for the block, having looked at it."""
        for _ in range(SETTLE_ROUNDS):
            # It closes what it handed on before it waits for the next message.
            with contextlib.suppress(UntrustedError):
                verifying.check_descriptors(self.pid, self._held)
                break
            await asyncio.sleep(0.001)
        signal.pidfd_send_signal(self._pidfd, signal.SIGSTOP)
        try:
            while not verifying.is_stopped(self.pid):  # noqa: ASYNC110 - the kernel tells nobody but its parent
                await asyncio.sleep(0.0005)
            await self._check()
            yield
        finally:
            with contextlib.suppress(OSError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGCONT)

    def measure(self) -> None:
        """Measure its memory; the kernel walks all of it, which may take milliseconds."""
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{self.pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    self.memory_bytes = int(line.split()[1]) * 1024

    async def root_out(self) -> None:
        """End the zygote, and whatever it forked that is in no cell; cells go on."""
        if self._dead:
            return
        with contextlib.suppress(OSError):
            signal.pidfd_send_signal(self._pidfd, signal.SIGSTOP)
        for pid in children(self.pid):
            if pid not in self._admitted:
                _kill_below(pid)
        with contextlib.suppress(NestGoneError):
            await self._nest.ask("census")  # which kills those that have lost their parent
        self.kill()

    def kill(self) -> None:
        """End the zygote; cells go on. Idempotent."""
        if self._dead:
            return
        self._dead = True
        with contextlib.suppress(OSError):
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        os.close(self._pidfd)
        self._door.close()

    async def _check(self) -> None:
        """Raise `UntrustedError` if the zygote keeps a handle of a cell, or a process that could use one."""
        self._forks &= set(children(self.pid))
        if set(children(self.pid)) - self._forks:
            raise UntrustedError("the zygote has forked by itself")
        if (await self._nest.ask("census")).get("strangers") != 0:
            raise UntrustedError("the zygote has left processes behind")
        verifying.check_place(self.pid)
        verifying.check_descriptors(self.pid, self._held)


def _kill_below(pid: int) -> None:
    for process in reversed(descendants(pid)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def _names(packet: Packet, field: str) -> frozenset[str]:
    found = packet.message.get(field)
    return frozenset(str(name) for name in found) if isinstance(found, list) else frozenset()


async def _hear(door: Door) -> Packet:
    """Return the next packet; descriptors in it are nobody's."""
    packet = await door.receive()
    if packet.descriptors:
        packet.close()
        raise UntrustedError("a zygote sent descriptors")
    return packet
