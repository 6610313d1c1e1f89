"""Environments get their bytecode after they are published: compiled and linked in while no build goes on.

An environment is of use at once, for Python compiles in memory what it finds no bytecode of; with bytecode
its first imports take a fraction of that. Files only ever appear in it, so what runs in it meanwhile goes on.
The file `bytecode.json` says that all of them are there; environments without it are looked for now and then,
so that what a killed builder began is ended by another.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from os import scandir
from pathlib import Path

from vitrine_builder.assembly import link_bytecode
from vitrine_builder.bytecode import Pauses
from vitrine_builder.compiled import BytecodeStore
from vitrine_builder.images.compiled import CompiledImages
from vitrine_builder.images.content import merge
from vitrine_builder.images.plan import plan_layers
from vitrine_builder.layers import Layer, LayerStore
from vitrine_builder.lock import Lock, SystemLock
from vitrine_common.usage import environment_use, layer_use

log = logging.getLogger(__name__)

MARKER = "bytecode.json"
_LOOK_SECONDS = 30.0
_LONGEST_PAUSE_SECONDS = 30.0
"""A build may wait for a slow index; then compiling goes on beside it, at a low priority."""
_MOST_TRIES = 3
_NAME = re.compile(r"[0-9a-f]{64}")


def is_complete(environment: Path) -> bool:
    """Whether all bytecode of a published environment is there."""
    return (environment / MARKER).exists()


class Completer:
    """Completes environments, one at a time, the newest first."""

    def __init__(self, layers: LayerStore) -> None:
        self.bytecode = BytecodeStore(layers)
        self.on_complete: Sequence[Callable[[str, float], Awaitable[None]]] = ()
        """Told an environment's digest and the milliseconds that its bytecode took, one after the other."""
        self.images: CompiledImages | None = None
        """Makes images with bytecode of environments that have one without."""
        self._workspace = layers.workspace
        self._layers = layers
        self._pauses = Pauses()
        self._builds = 0
        self._resuming: asyncio.TimerHandle | None = None
        self._queue: dict[str, frozenset[str]] = {}
        self._tries: dict[str, int] = {}
        self._wake = asyncio.Event()

    def add(self, environment: Path, wanted: frozenset[str] = frozenset()) -> None:
        """Complete a published environment soon, the packages `wanted` before those that they need."""
        self._queue.pop(environment.name, None)
        self._queue[environment.name] = wanted
        self._wake.set()

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Begin nothing while a build goes on in the block."""
        self._builds += 1
        if self._builds == 1:
            self._pauses.set(paused=True)
            loop = asyncio.get_running_loop()
            self._resuming = loop.call_later(_LONGEST_PAUSE_SECONDS, self._go_on)
        try:
            yield
        finally:
            self._builds -= 1
            if not self._builds:
                self._go_on()

    def _go_on(self) -> None:
        if self._resuming is not None:
            self._resuming.cancel()
        self._pauses.set(paused=False)

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            self._wake.clear()
            try:
                for name in await asyncio.to_thread(self._unfinished):
                    self._queue.setdefault(name, frozenset())
                while self._queue:
                    await self._pauses.over()
                    name, wanted = self._queue.popitem()
                    await self._try(self._workspace.root / name, wanted)
            except Exception:
                log.exception("looking for environments without bytecode failed; again in a moment")
            with contextlib.suppress(TimeoutError):
                # Not `wait_for`: it forgets a cancellation that comes with the news.
                async with asyncio.timeout(_LOOK_SECONDS):
                    await self._wake.wait()

    def _unfinished(self) -> list[str]:
        found = [entry.name for entry in scandir(self._workspace.root) if _NAME.fullmatch(entry.name)]
        given_up = {name for name, tries in self._tries.items() if tries >= _MOST_TRIES}
        return [
            name for name in found if name not in given_up and not is_complete(self._workspace.root / name)
        ]

    async def _try(self, environment: Path, wanted: frozenset[str]) -> None:
        started = time.perf_counter()
        try:
            if await self.complete(environment, wanted):
                spent = round((time.perf_counter() - started) * 1000, 1)
                for tell in self.on_complete:
                    await tell(f"sha256:{environment.name}", spent)
        except FileNotFoundError:
            log.info(
                "environment was removed before its bytecode was there", extra={"path": environment.name}
            )
        except Exception:
            self._tries[environment.name] = self._tries.get(environment.name, 0) + 1
            log.exception("bytecode failed; the environment works without", extra={"path": environment.name})

    async def complete(self, environment: Path, wanted: frozenset[str] = frozenset()) -> bool:
        """Give a published environment its bytecode; False where it has it, or another builder is at it.

        Raises:
            BuildFailure: bytecode cannot be written, or not in time.
            FileNotFoundError: the environment is gone.
        """
        table = self._workspace.uses
        with table.claims() as claims, table.open() as uses:
            if await self._has_all(environment) or not claims.take(f"completing {environment.name}"):
                return False
            await uses.add(environment_use(environment.name))
            lock = lock_of(environment)
            await uses.add(*(layer_use(self._layers.place(package).name) for package in lock.packages))
            if await self._has_all(environment):
                return False
            found = [self._layers.find(package) for package in lock.packages]
            layers = [layer for layer in found if layer is not None]
            failed = await self._fill(environment, lock, layers, wanted)
            # Layers may be gone: what is linked is all there will be.
            self._mark(environment, {"uncompiled": failed, "without": len(found) - len(layers)})
            return True

    async def _has_all(self, environment: Path) -> bool:
        return is_complete(environment) and not await self._wants_image(environment)

    async def _wants_image(self, environment: Path) -> bool:
        if self.images is None:
            return False
        return await asyncio.to_thread(self.images.wants, f"sha256:{environment.name}")

    async def _fill(
        self, environment: Path, lock: Lock, layers: Sequence[Layer], wanted: frozenset[str]
    ) -> int:
        """Compile and link in, and make the image with bytecode; return how many sources do not compile."""
        ordered = [layer for group in plan_layers(layers) for layer in group]
        owners = {path: layer.tree for path, (layer, _file) in merge(ordered).items()}
        done: list[Layer] = []
        ready: asyncio.Queue[Layer | None] = asyncio.Queue()

        async def link() -> None:
            while (layer := await ready.get()) is not None:
                await self._pauses.over()
                await asyncio.to_thread(link_bytecode, environment, layer, owners)
                done.append(layer)

        linking = asyncio.create_task(link())
        try:
            await self.bytecode.make(_useful_first(layers, wanted), ready.put_nowait, self._pauses)
            ready.put_nowait(None)
            await linking
        finally:
            linking.cancel()
            await asyncio.gather(linking, return_exceptions=True)
        if self.images is not None and len(done) == len(lock.packages):
            await self._pauses.over()
            if await self._wants_image(environment):
                digest = f"sha256:{environment.name}"
                await asyncio.to_thread(self.images.make, digest, lock, done, owners)
        return sum(layer.compiled.uncompiled for layer in done if layer.compiled is not None)

    def _mark(self, environment: Path, told: Mapping[str, int]) -> None:
        with self._workspace.draft() as draft:
            (draft / MARKER).write_text(json.dumps(told))
            (draft / MARKER).replace(environment / MARKER)


def lock_of(environment: Path) -> Lock:
    """Return the lock of a published environment. Raises FileNotFoundError: it is gone."""
    kept = json.loads((environment / "environment.json").read_bytes())
    lock = Lock.from_json(kept["packages"])
    if not kept.get("system"):
        return lock
    return replace(lock, system=SystemLock(kept["system"], kept["base"], tuple(kept["system_packages"])))


def _useful_first(layers: Sequence[Layer], wanted: frozenset[str]) -> list[Layer]:
    """Return what the author's own files import before what that needs, and small ones before large ones."""

    def sources(layer: Layer) -> int:
        return sum(file.size for file in layer.listing if file.path.endswith(".py"))

    return sorted(layers, key=lambda layer: (layer.name not in wanted, sources(layer), layer.name))
