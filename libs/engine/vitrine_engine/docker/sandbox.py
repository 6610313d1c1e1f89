"""A sandbox of the docker engine: containers made ahead, one for each run of a script, or one for a model."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

from vitrine_engine.docker.cell import Cell
from vitrine_engine.docker.container import Recipe, share
from vitrine_engine.docker.daemon import Daemon, DaemonError
from vitrine_engine.docker.figures import NOTHING
from vitrine_engine.place import Host
from vitrine_engine.protocol import ScriptModel, StartError, Usage
from vitrine_engine.serving import Serving


class DockerSandbox(Serving):
    """Implements `Sandbox`. Made by `DockerEngine.start`, which calls `open`.

    A script's run gets a container to itself, in which the bundle has been copied to `/work` before the
    run was asked for; while it runs, the next one is made. `max_runs` of them share the sandbox's limits
    evenly. A loaded model has one container with all of the limits.
    """

    def __init__(
        self,
        recipe: Recipe,
        *,
        daemon: Daemon,
        directory: Path,
        spool: Path,
        on_gone: Callable[[DockerSandbox], None],
    ) -> None:
        super().__init__(recipe.spec, spool)
        self._recipe = recipe
        self._daemon = daemon
        self._directory = directory
        self._on_gone = on_gone
        self._numbers = itertools.count(1)
        self._idle: deque[Cell] = deque()
        self._cells: set[Cell] = set()
        self._making: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[None] | None = None
        self._gone = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def pid(self) -> int | None:
        """None: containers come and go, and may be on another host."""
        return None

    @property
    def image_digest(self) -> str:
        """The image that the containers are made from, by its configuration's digest."""
        return self._recipe.image

    @property
    def alive(self) -> bool:
        """Whether the sandbox can still take runs."""
        return not self.stopping and self._ending is None

    @property
    def containers(self) -> list[str]:
        """Ids of the containers that exist now."""
        return [cell.container for cell in self._cells if cell.container is not None]

    async def open(self) -> None:
        """Make the first container; raises `StartError`."""
        self._directory.mkdir(mode=0o755, parents=True)
        try:
            await self._make()
        except BaseException:
            await self.stop()
            raise

    async def usage(self) -> Usage:
        """Measure; see `Sandbox.usage`."""
        if self._gone.is_set():
            return NOTHING
        found = [await cell.usage() for cell in list(self._cells)]
        return Usage(
            memory_bytes=sum(item.memory_bytes for item in found),
            cpu_seconds=sum(item.cpu_seconds for item in found),
            processes=sum(item.processes for item in found),
            disk_bytes=sum(run.disk_bytes for run in self._runs.values()),
        )

    async def stop(self) -> None:
        """Kill everything and leave nothing behind; see `Sandbox.stop`."""
        self.stopping = True
        self._end()
        await self._gone.wait()

    async def wait_exited(self) -> None:
        """Return when the sandbox is gone."""
        await self._gone.wait()

    # places for runs

    async def _serve_scripts(self, model: ScriptModel) -> None:  # noqa: ARG002 - a container does any
        for cell in self._idle:
            cell.tell({"do": "prepare"})

    async def expect_run(self) -> None:
        """Nothing is to be done: containers wait already."""

    async def _serve_one_model(self) -> Host:
        cell = self._idle[0]
        cell.is_script = False
        if self.spec.max_runs > 1:
            with contextlib.suppress(DaemonError):
                await cell.resize(share(self.limits, 1, self._recipe.bundle_bytes))
        return cell

    @contextlib.asynccontextmanager
    async def _place(self, run_id: str) -> AsyncIterator[Host]:
        cell = await self._take() if self.is_script else self._idle[0]
        cell.expect(run_id)
        try:
            yield cell
        finally:
            cell.forget(run_id)
            if self.is_script:
                self._background(self._discard(cell))

    async def _take(self) -> Cell:
        """Take a free container, and begin to make the next one."""
        while not self._idle:
            self._make_next()
            assert self._making is not None
            await asyncio.shield(self._making)
        cell = self._idle.popleft()
        if not self._idle:
            self._make_next()
        return cell

    def _make_next(self) -> None:
        if self._making is None or self._making.done():
            self._making = self._background(self._make())

    async def _make(self) -> None:
        number = next(self._numbers)
        parts = self.spec.max_runs if self.is_script else 1
        cell = Cell(
            f"vitrine-{self._recipe.tag}-{self.id}-{number}",
            daemon=self._daemon,
            recipe=self._recipe,
            limits=share(self.limits, parts, self._recipe.bundle_bytes),
            directory=self._directory / str(number),
            on_lost=self._on_lost,
            is_stopping=lambda: self.stopping,
        )
        if not self.alive:
            raise StartError(f"sandbox {self.id} has ended")
        self._cells.add(cell)
        try:
            await cell.start()
        except BaseException:
            self._cells.discard(cell)
            raise
        self._idle.append(cell)
        if self._loaded and self.is_script:
            cell.tell({"do": "prepare"})

    # the end

    def _on_lost(self, cell: Cell) -> None:
        """End the sandbox with a container, unless that only served a run, which tells by itself."""
        if cell.is_broken or cell in self._idle or not self.is_script:
            self._end()

    def _end(self) -> None:
        if self._ending is None:
            self._ending = self._loop.create_task(self._end_all())

    async def _end_all(self) -> None:
        while self._tasks or self._cells:
            if self._making is not None:
                self._making.cancel()
            await asyncio.gather(*(self._discard(cell) for cell in list(self._cells)))
            if self._tasks:
                await asyncio.wait(self._tasks)
        with contextlib.suppress(OSError):
            self._directory.rmdir()
        self._gone.set()
        self._on_gone(self)

    async def _discard(self, cell: Cell) -> None:
        await cell.discard()
        self._cells.discard(cell)

    def _background(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            # Whoever waits for a container is told; when nobody does, the next run tries again.
            task.exception()
