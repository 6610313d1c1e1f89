"""The shared nests of an engine: one for each environment and owner, kept while there is room."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from vitrine_engine.process.handle import Handle
from vitrine_engine.process.imports import candidates
from vitrine_engine.process.nest import Nest, NestGoneError
from vitrine_engine.process.packets import Packet
from vitrine_engine.process.verifying import UntrustedError
from vitrine_engine.process.zygote import Admit, ThreadedError, Zygote
from vitrine_engine.protocol import SandboxSpec, StartError
from vitrine_engine.zygotes import ZygoteFigures, ZygotePolicy

log = logging.getLogger(__name__)

TEND_SECONDS = 5.0
RENEW_SECONDS = 2.0
"""Time for runs to end, and for more to be learned, before a zygote is made that knows it."""
MOST_MODULES = 300
"""Modules that a zygote imports at most."""


@dataclass(eq=False)
class Shelter:
    """A shared nest with what is known of it. `users` are the sandboxes in it."""

    key: str
    spec: SandboxSpec
    starting: asyncio.Task[Nest]
    zygote: asyncio.Task[Zygote | None] | None = None
    users: int = 0
    idle_since: float = field(default_factory=time.monotonic)
    environment: tuple[int, int] | None = None
    """Device and inode of the environment's directory: one that was made again at its place is another."""
    retired: bool = False
    """Whether new sandboxes get a newer one."""

    async def fork(self, init: Handle, request: Packet, admit: Admit) -> int | None:
        """Make a fork of the zygote in a cell; None where there is no zygote that can be trusted.

        Raises `CellGoneError`, which says nothing of the zygote, `UntrustedError`, `NestGoneError`.
        """
        if self.zygote is None:
            return None
        zygote = await asyncio.shield(self.zygote)
        if zygote is None or not zygote.alive:
            return None
        try:
            return await zygote.fork(init, request, admit)
        except UntrustedError as error:
            log.warning("a zygote is not trusted any more: %s", error, extra={"nest": self.key})
            await zygote.root_out()
            raise
        except NestGoneError:
            log.warning("a zygote does not answer any more", extra={"nest": self.key})
            await zygote.root_out()
            raise

    @property
    def ready_zygote(self) -> Zygote | None:
        """The zygote, where there is one that can be asked."""
        found = self._zygote
        return found if found is not None and found.alive else None

    @property
    def _zygote(self) -> Zygote | None:
        if self.zygote is None or not self.zygote.done() or self.zygote.cancelled():
            return None
        return self.zygote.result()

    def end_zygote(self) -> None:
        """End the zygote; cells go on."""
        if self._zygote is not None:
            self._zygote.kill()


class Nests:
    """Shelters by key.

    Args:
        launch: starts a nest for a spec; raises `StartError`.
        policy: how many zygotes are kept, and for how long.
        directory: where it is noted which modules runs imported.
    """

    def __init__(
        self, launch: Callable[[SandboxSpec], Awaitable[Nest]], policy: ZygotePolicy, directory: Path
    ) -> None:
        self._launch = launch
        self.policy = policy
        self._directory = directory
        self._current: dict[str, Shelter] = {}
        self._shelters: set[Shelter] = set()
        self._learned: dict[str, list[str]] = {}
        self._distrusted: set[str] = set()
        self._renewing: dict[str, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._tending: asyncio.Task[None] | None = None

    @property
    def shelters(self) -> list[Shelter]:
        """The nests that live."""
        return list(self._shelters)

    def figures(self) -> Iterator[ZygoteFigures]:
        """Describe the zygotes that are ready."""
        for shelter in self._shelters:
            zygote = shelter.ready_zygote
            if zygote is not None and shelter.spec.environment is not None:
                yield ZygoteFigures(
                    environment=shelter.spec.environment,
                    owner=shelter.spec.owner or "",
                    pid=zygote.pid,
                    memory_bytes=zygote.memory_bytes,
                    modules=tuple(sorted(zygote.modules)),
                    sandboxes=shelter.users,
                    forks=zygote.made,
                )

    async def take(self, key: str, spec: SandboxSpec) -> tuple[Shelter, Nest]:
        """Return the nest for a sandbox, started if need be; raises `StartError`. Give it back by `leave`."""
        if self._tending is None:
            self._tending = asyncio.get_running_loop().create_task(self._tend_forever())
        shelter = self._current.get(key)
        if shelter is None or _is_lost(shelter):
            if shelter is not None:
                shelter.retired = True
                if not shelter.users:
                    self._close_soon(shelter)
            shelter = self._open(key, spec)
        shelter.users += 1
        try:
            return shelter, await asyncio.shield(shelter.starting)
        except BaseException:
            self.leave(shelter)
            raise

    def leave(self, shelter: Shelter) -> None:
        """Note that a sandbox has ended."""
        shelter.users -= 1
        shelter.idle_since = time.monotonic()
        if not shelter.users and (shelter.retired or _is_lost(shelter)):
            self._close_soon(shelter)

    async def warm(self, key: str, spec: SandboxSpec) -> None:
        """Have a zygote ready for sandboxes to come; raises `StartError`."""
        shelter, _ = await self.take(key, spec)
        try:
            if shelter.zygote is not None:
                await asyncio.shield(shelter.zygote)
        finally:
            self.leave(shelter)

    def learn(self, shelter: Shelter, modules: list[str]) -> None:
        """Note what a run imported; the next zygote has it, and is made once this one is not in use."""
        known = self._known(shelter.key)
        added = [name for name in modules if name not in known][: MOST_MODULES - len(known)]
        if not added:
            return
        known += added
        with contextlib.suppress(OSError):
            (self._directory / f"{shelter.key}.json").write_text(json.dumps(known))
        if shelter.key not in self._renewing and shelter.key not in self._distrusted:
            loop = asyncio.get_running_loop()
            self._renewing[shelter.key] = loop.create_task(self._renew(shelter.key))

    async def aclose(self) -> None:
        """Stop every nest."""
        if self._tending is not None:
            self._tending.cancel()
        for renewing in list(self._renewing.values()):
            renewing.cancel()
        for shelter in list(self._shelters):
            self._close_soon(shelter)
        if self._tasks:
            await asyncio.wait(list(self._tasks))

    # opening

    def _open(self, key: str, spec: SandboxSpec) -> Shelter:
        loop = asyncio.get_running_loop()
        shelter = Shelter(key, spec, loop.create_task(self._started(spec)), environment=_identity(spec))
        self._current[key] = shelter
        self._shelters.add(shelter)
        if key not in self._distrusted and self.policy.most > 0:
            shelter.zygote = loop.create_task(self._zygote(shelter, spec))
        return shelter

    async def _started(self, spec: SandboxSpec) -> Nest:
        return await self._launch(spec)

    async def _zygote(self, shelter: Shelter, spec: SandboxSpec) -> Zygote | None:
        try:
            nest = await asyncio.shield(shelter.starting)
        except StartError:
            return None
        modules = self._known(shelter.key)
        if not modules and spec.environment is not None:
            modules += candidates(spec.environment, spec.bundle)
        try:
            zygote = await _first_quiet(nest, modules)
        except (NestGoneError, ThreadedError) as error:
            log.warning("programs start without a zygote: %s", error, extra={"nest": shelter.key})
        except UntrustedError as error:
            self._distrusted.add(shelter.key)
            log.warning("programs start without a zygote: %s", error, extra={"nest": shelter.key})
        else:
            await asyncio.to_thread(zygote.measure)
            return zygote
        return None

    async def _renew(self, key: str) -> None:
        """Make nests whose zygotes know more until nothing new is learned; sandboxes to come get the last."""
        try:
            known = 0
            while known < len(self._known(key)) and key not in self._distrusted:
                await asyncio.sleep(RENEW_SECONDS)
                known = len(self._known(key))
                if (shelter := self._current.get(key)) is None:
                    return
                successor = self._open(key, shelter.spec)
                self._current[key] = shelter
                await self._succeed(shelter, successor)
        finally:
            self._renewing.pop(key, None)

    async def _succeed(self, shelter: Shelter, successor: Shelter) -> None:
        if successor.zygote is not None:
            await asyncio.wait([successor.zygote])
        if successor.ready_zygote is None or self._current.get(shelter.key) is not shelter:
            self._close_soon(successor)
            return
        shelter.retired = True
        self._current[shelter.key] = successor
        if not shelter.users:
            self._close_soon(shelter)

    def _known(self, key: str) -> list[str]:
        if key not in self._learned:
            found: object = []
            with contextlib.suppress(OSError, ValueError):
                found = json.loads((self._directory / f"{key}.json").read_text())
            names = found if isinstance(found, list) else []
            self._learned[key] = [name for name in names if isinstance(name, str)]
        return self._learned[key]

    # closing

    def _close_soon(self, shelter: Shelter) -> None:
        if shelter not in self._shelters:
            return
        self._shelters.discard(shelter)
        if self._current.get(shelter.key) is shelter:
            del self._current[shelter.key]
        self._background(self._close(shelter))

    async def _close(self, shelter: Shelter) -> None:
        if shelter.zygote is not None:
            shelter.zygote.cancel()
            await asyncio.wait([shelter.zygote])
            shelter.end_zygote()
        await asyncio.wait([shelter.starting])
        if not shelter.starting.cancelled() and shelter.starting.exception() is None:
            await shelter.starting.result().stop()

    def _background(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _tend_forever(self) -> None:
        while True:
            await asyncio.sleep(TEND_SECONDS)
            zygotes = [zygote for shelter in self._shelters if (zygote := shelter.ready_zygote) is not None]
            await asyncio.to_thread(_measure, zygotes)
            self._tend(time.monotonic())

    def _tend(self, now: float) -> None:
        """Close what nobody has used for long, and the least recently used where there are too many."""
        idle = sorted((item for item in self._shelters if not item.users), key=lambda item: item.idle_since)
        over = len(self._shelters) - self.policy.most
        held = {item: _memory(item) for item in self._shelters}
        for shelter in idle:
            is_old = now - shelter.idle_since > self.policy.idle_seconds
            if is_old or over > 0 or sum(held.values()) > self.policy.memory_bytes:
                over -= 1
                held.pop(shelter, None)
                self._close_soon(shelter)


async def _first_quiet(nest: Nest, modules: list[str]) -> Zygote:
    """Start a zygote with as many of the modules as start no threads; raises like `Zygote.start`."""
    wanted = list(modules)
    while True:
        try:
            return await Zygote.start(nest, wanted)
        except ThreadedError as error:
            left = [name for name in wanted if name not in error.modules]
            if len(left) == len(wanted):
                raise
            log.info("not imported ahead: %s", error, extra={"nest": nest.name})
            wanted = left


def _identity(spec: SandboxSpec) -> tuple[int, int] | None:
    try:
        found = (spec.environment or Path("/")).stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _is_lost(shelter: Shelter) -> bool:
    """Whether no sandbox can be made in a nest any more, or its environment is no longer there."""
    starting = shelter.starting
    if _identity(shelter.spec) != shelter.environment:
        return True
    if not starting.done():
        return False
    return starting.cancelled() or starting.exception() is not None or not starting.result().alive


def _measure(zygotes: Iterable[Zygote]) -> None:
    for zygote in zygotes:
        zygote.measure()


def _memory(shelter: Shelter) -> int:
    zygote = shelter.ready_zygote
    return 0 if zygote is None else zygote.memory_bytes
