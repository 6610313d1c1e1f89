"""The shorter way to the runner of this host: a socket, used while it is the instance's only runner.

With several runners the bus decides who takes a call, so that none of them is left out. What goes by the
socket are calls of versions that the runner has answered already, by the same messages.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from vitrine_common.errors import Unavailable
from vitrine_common.fleet import Fleet
from vitrine_common.hatch import Asking, reach
from vitrine_common.messages import ModelAnswer

log = logging.getLogger(__name__)

MAX_VERSIONS = 10_000


class Nearby:
    """What is known of the runner of this host.

    Args:
        directory: shared with it; None where nothing is.
        fleet: the runners.
        answered: given each answer that comes by the socket, and its call's number.
        lost: given a line on which no more answers come.
    """

    def __init__(
        self,
        directory: Path | None,
        fleet: Fleet,
        answered: Callable[[int, bytes], None],
        lost: Callable[[Asking], None],
    ) -> None:
        self._directory = directory
        self._fleet = fleet
        self._answered = answered
        self._lost = lost
        self._line: Asking | None = None
        self._holder = ""
        self._served: set[str] = set()
        self._reaching: asyncio.Task[None] | None = None
        self._closed = ""
        """Name of a socket that could not be reached, or is no more."""

    def line_for(self, version_digest: str) -> Asking | None:
        """Return the way by which a call of that version goes, if it is not the bus."""
        line = self._line
        if line is None or not line.is_open or version_digest not in self._served:
            return None
        return line if [beat.holder for beat in self._fleet.others("")] == [self._holder] else None

    def learn(self, version_digest: str, answer: ModelAnswer) -> None:
        """Take note of who answered a call of that version, and where it can be reached."""
        if answer.state == "busy":
            self._served.discard(version_digest)
        if answer.state != "answered" or answer.hatch is None:
            return
        if self._line is None and self._reaching is None and answer.hatch != self._closed:
            assert self._directory is not None, "a runner names its socket to who shares its directory"
            reached = self._reach(self._directory, answer.hatch, answer.runner)
            self._reaching = asyncio.create_task(reached, name="way to the runner of this host")
        if answer.runner == self._holder and version_digest not in self._served:
            if len(self._served) >= MAX_VERSIONS:
                self._served.clear()
            self._served.add(version_digest)

    def close(self) -> None:
        """End the connection."""
        if self._reaching is not None:
            self._reaching.cancel()
        if self._line is not None:
            self._line.close()

    async def _reach(self, directory: Path, name: str, holder: str) -> None:
        line = Asking(self._answered, lambda: self._ended(line))
        try:
            await reach(directory, name, line)
        except Unavailable as error:
            self._closed = name
            log.info("calls go by the bus: %s", error)
        else:
            if line.is_open:
                self._line, self._holder = line, holder
        finally:
            self._reaching = None

    def _ended(self, line: Asking) -> None:
        if self._line is line:
            self._line, self._holder = None, ""
            self._served.clear()
        self._lost(line)
