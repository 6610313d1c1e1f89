"""A sandbox of the process engine: cells of a nest under common limits."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

from vitrine_engine.events import Reason
from vitrine_engine.place import Host
from vitrine_engine.process.admission import Admission
from vitrine_engine.process.ahead import Ahead
from vitrine_engine.process.cell import ProcessCell
from vitrine_engine.process.cgroups import Group
from vitrine_engine.process.meter import Meter
from vitrine_engine.process.nest import Nest, remove
from vitrine_engine.process.nests import Shelter
from vitrine_engine.protocol import (
    Loaded,
    LoadError,
    Model,
    OnnxModel,
    SandboxSpec,
    ScriptModel,
    StartError,
    Usage,
)
from vitrine_engine.serving import Serving
from vitrine_harness import command_line
from vitrine_harness.workspace import base_environment

MODEL = "model"


class ProcessSandbox(Serving):
    """Implements `Sandbox`. Made by `ProcessEngine.start`.

    A run of a script has a cell to itself, which may be made before the run is there; a loaded model has one
    that serves all of its runs. `order` says what the cells are made of, `move` gives the nest of a zygote
    that knows more, and `release` gives a nest back when the sandbox has done with it.
    """

    def __init__(
        self,
        spec: SandboxSpec,
        order: dict[str, Any],
        *,
        nest: Nest,
        shelter: Shelter | None,
        group: Group,
        admission: Admission,
        spool: Path,
        learn: Callable[[Shelter, list[str]], None],
        move: Callable[[], Awaitable[tuple[Shelter, Nest]]],
        release: Callable[[Nest, Shelter | None], Awaitable[None]],
        forget: Callable[[ProcessSandbox], None],
    ) -> None:
        super().__init__(spec, spool)
        self.nest = nest
        self.meter = Meter(self._roots, group, memory_bytes=spec.limits.memory_bytes)
        self._order = order
        self._shelter = shelter
        self._learn = learn
        self._group = group
        self._admission = admission
        self._move = move
        self._moving = asyncio.Lock()
        self._release = release
        self._forget = forget
        self._cells: dict[str, ProcessCell] = {}
        self._numbers = itertools.count(1)
        self._ahead = Ahead()
        self._gone = asyncio.Event()
        self._ending: asyncio.Task[None] | None = None
        self._watching = [self._loop.create_task(self._watch_nest())]

    @property
    def pid(self) -> int | None:
        """The launcher where the nest is the sandbox's own, else the init of the loaded model's cell."""
        if self._shelter is None:
            return self.nest.pid
        model = self._cells.get(MODEL)
        return model.pids[0] if model is not None and model.pids else None

    @property
    def alive(self) -> bool:
        """Whether the sandbox can still take runs."""
        return not self.stopping and self._ending is None and self.nest.alive

    async def load(self, model: Model) -> Loaded:
        """Make the model ready; see `Sandbox.load`."""
        self._order["work"] = not isinstance(model, OnnxModel)
        return await super().load(model)

    async def usage(self) -> Usage:
        """Measure; see `Sandbox.usage`."""
        if self._gone.is_set():
            return Usage(memory_bytes=0, cpu_seconds=0.0, processes=0, disk_bytes=0)
        return Usage(
            memory_bytes=self.meter.memory_bytes(),
            cpu_seconds=self.meter.cpu_seconds(),
            processes=self.meter.processes(),
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

    async def _serve_scripts(self, model: ScriptModel) -> None:
        """Note whether runs will be forks of the zygote: cells can have theirs ready."""
        variables = {**base_environment(1, ""), **self.spec.env}
        is_python = command_line.parse(model.argv, variables) is not None
        self._order["python"] = self._order["forks"] and is_python

    async def expect_run(self) -> None:
        """Make the cell of the next run of a script, with its fork; see `Sandbox.expect_run`."""
        if not self.is_script or not self._loaded or not self._order["forks"]:
            return
        async with self._moving:
            await self._move_on()
            if self.alive and not self._cells and not self._ahead.cells:
                self._ahead.begin(self._cell(f"ahead{next(self._numbers)}"))

    async def _serve_one_model(self) -> Host:
        cell = self._cells[MODEL] = self._cell(MODEL)
        try:
            await cell.open_model()
        except OSError as error:
            await self.stop()
            raise LoadError(Reason.PLATFORM_ERROR, str(error)) from error
        self._model = cell
        self._watching.append(self._loop.create_task(self._watch_model(cell)))
        return cell

    @contextlib.asynccontextmanager
    async def _place(self, run_id: str) -> AsyncIterator[Host]:
        if not self.is_script:
            self._model.expect(run_id)
            try:
                yield self._model
            finally:
                self._model.forget(run_id)
            return
        async with self._moving:
            cell = await self._taken_ahead()
            if cell is None:
                await self._move_on()
                if not self.alive:
                    raise StartError(f"sandbox {self.id} has ended")
                cell = self._cell(run_id)
            self._cells[run_id] = cell
            shelter = self._shelter
        try:
            yield cell
        finally:
            del self._cells[run_id]
            await cell.close()
            imported = self._runs[run_id].imported
            if shelter is not None and imported:
                self._learn(shelter, imported)

    async def _taken_ahead(self) -> ProcessCell | None:
        """Return the cell that was made for the run, unless a newer nest has a zygote that knows more."""
        if self._shelter is not None and self._shelter.retired:
            self._ahead.drop()
        return await self._ahead.take()

    async def _move_on(self) -> None:
        """Go to a nest whose zygote knows more, where there is one and nothing runs here."""
        if self._shelter is None or not self._shelter.retired or self._cells or not self.alive:
            return
        await self._ahead.aclose()
        if not self.alive:
            return
        before, left = self.nest, self._shelter
        with contextlib.suppress(StartError):
            shelter, nest = await self._move()
            if not self.alive:
                # Its end has given back the nest that it had, or will; of this one it does not know.
                await self._release(nest, shelter)
                return
            self._shelter, self.nest = shelter, nest
            self._watching[0].cancel()
            self._watching[0] = self._loop.create_task(self._watch_nest())
            await self._release(before, left)

    def _cell(self, name: str) -> ProcessCell:
        return ProcessCell(
            f"{self.id}.{name}",
            self._order,
            nest=self.nest,
            meter=self.meter,
            forker=self._shelter,
            admit=lambda process: self._admission.admit(self._group, process),
            is_stopping=lambda: self.stopping,
            on_lost=self._end,
        )

    def _roots(self) -> Iterable[int]:
        return [pid for cell in (*self._cells.values(), *self._ahead.cells) for pid in cell.pids]

    # the end

    def _end(self) -> None:
        if self._ending is None:
            self._ending = self._loop.create_task(self._end_all())

    async def _watch_nest(self) -> None:
        await self.nest.exited.wait()
        self._end()

    async def _watch_model(self, cell: ProcessCell) -> None:
        await cell.wait_gone()
        self._end()

    async def _end_all(self) -> None:
        self.meter.close()
        model = self._cells.pop(MODEL, None)
        if model is not None:
            await model.close()
        await asyncio.gather(*(cell.kill() for cell in self._cells.values()), self._ahead.aclose())
        for watching in self._watching:
            watching.cancel()
        await self._release(self.nest, self._shelter)
        self._forget(self)
        await remove(self._group)
        self._gone.set()
