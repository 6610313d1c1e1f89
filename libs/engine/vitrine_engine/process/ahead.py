"""A cell that is made before the run that it is for has come."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

from vitrine_engine.process.cell import ProcessCell

log = logging.getLogger(__name__)

KEPT_SECONDS = 10.0
"""How long a cell waits for its run."""


class Ahead:
    """The one cell of a sandbox that waits for a run, if there is one; unused, it goes by itself."""

    def __init__(self) -> None:
        self._cell: ProcessCell | None = None
        self._opening: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._closing: set[asyncio.Task[None]] = set()

    @property
    def cells(self) -> Iterable[ProcessCell]:
        """The cell that waits."""
        return () if self._cell is None else (self._cell,)

    def begin(self, cell: ProcessCell) -> None:
        """Have a cell opened and keep it; there must be none yet."""
        assert self._cell is None, "one cell waits at a time"
        loop = asyncio.get_running_loop()
        self._cell, self._opening = cell, loop.create_task(_open(cell))
        self._timer = loop.call_later(KEPT_SECONDS, self.drop)

    async def take(self) -> ProcessCell | None:
        """Return the cell once it is open, for the caller to close; None where there is none that lives."""
        if self._cell is None or self._opening is None:
            return None
        cell, opening = self._cell, self._opening
        # Its run has come, however long it still takes to open.
        self._stop_timer()
        try:
            # Not the task itself: a cell that is dropped meanwhile would cancel the run that waits for it.
            await asyncio.wait([opening])
        except asyncio.CancelledError:
            self.drop()
            raise
        if self._cell is not cell:
            return None
        if not cell.is_ready:
            self.drop()
            return None
        self._forget()
        return cell

    def drop(self) -> None:
        """Close the cell that waits."""
        if self._cell is None or self._opening is None:
            return
        task = asyncio.get_running_loop().create_task(_close(self._cell, self._opening))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
        self._forget()

    async def aclose(self) -> None:
        """Close the cell that waits, and return when it is gone."""
        self.drop()
        if self._closing:
            await asyncio.wait(self._closing)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _forget(self) -> None:
        self._stop_timer()
        self._cell = self._opening = None


async def _open(cell: ProcessCell) -> None:
    try:
        await cell.open_script()
    except OSError as error:
        log.info("no cell was made ahead: %s", error)


async def _close(cell: ProcessCell, opening: asyncio.Task[None]) -> None:
    opening.cancel()
    await asyncio.wait([opening])
    await cell.close()
