"""The journal of synchronous calls: each is written to a local file before it is answered.

A journal is a row of segments, files of JSON lines that are only appended to. The one that is written to is
locked by its process; a segment without a lock is what a killed process left, and whoever opens the journal
next takes it over. A segment goes when everything in it is in the database. A process that is killed loses
nothing of it, since the kernel has what was written; a machine that dies may lose what came after the last
`sync`.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from vitrine_common.documents import RunRequest
from vitrine_common.errors import Unavailable
from vitrine_common.ids import new_id

log = logging.getLogger(__name__)

SUFFIX = ".jsonl"


@dataclass(eq=False)
class Segment:
    """One file of the journal, and how many calls it holds."""

    path: Path
    descriptor: int
    calls: int = 0

    def requests(self) -> list[RunRequest]:
        """Return the calls, read from the file; half a line at its end was never answered."""
        return list(_read(self.path))

    def remove(self) -> None:
        """Delete the file: everything in it is stored elsewhere."""
        self.path.unlink(missing_ok=True)
        os.close(self.descriptor)


class Journal:
    """Appends calls, and hands whole segments to whoever stores them.

    Args:
        directory: of all processes that share it.
        sync_seconds: how often what was written is forced to disk; 0 for before every answer.
    """

    def __init__(self, directory: Path, sync_seconds: float) -> None:
        self._directory = directory
        self._sync_seconds = sync_seconds
        self._segment: Segment | None = None
        self._unsynced = False
        self._syncing: asyncio.Task[None] | None = None

    def open(self) -> list[Segment]:
        """Begin a segment and return those that killed processes left. Raises Unavailable."""
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            left = list(self._left_behind())
            self._segment = self._new()
        except OSError as error:
            text = f"VITRINE_API_STATE_DIR: {self._directory} cannot be used: {error.strerror}"
            raise Unavailable(text) from error
        return left

    def append(self, call: bytes) -> None:
        """Write one call down, the JSON of its `RunRequest`; then a kill of this process does not lose it.

        Raises Unavailable when the disk does not take it: then the call must not be answered.
        """
        segment = self._segment
        if segment is None:
            raise Unavailable("the journal of calls is closed; try again in a moment")
        line = call + b"\n"
        try:
            written = os.write(segment.descriptor, line)
        except OSError as error:
            log.exception("the journal of calls cannot be written")
            raise Unavailable("the call cannot be written down; try again in a moment") from error
        if written != len(line):
            # Half a line is no line: replay leaves it out, and the next one begins on a line of its own.
            with suppress(OSError):
                os.write(segment.descriptor, b"\n")
            raise Unavailable("the call cannot be written down: the disk is full")
        segment.calls += 1
        self._unsynced = True

    async def settled(self) -> None:
        """Return when what was appended is as durable as the operator wants answers to be."""
        if self._sync_seconds:
            return
        while self._unsynced:
            if self._syncing is None:
                self._syncing = asyncio.create_task(self._sync(), name="sync journal")
            await asyncio.shield(self._syncing)

    async def sync_forever(self) -> None:
        """Force what was written to disk, again and again."""
        while True:
            await asyncio.sleep(self._sync_seconds or 1.0)
            if self._unsynced and self._syncing is None:
                await self._sync()

    def turn(self) -> Segment | None:
        """Begin a new segment and return the one before it; None where that is empty."""
        segment = self._segment
        if segment is None or not segment.calls:
            return None
        self._segment = self._new()
        return segment

    def close(self) -> Segment | None:
        """Take no more; return the last segment, or None where there is nothing in it."""
        segment, self._segment = self._segment, None
        if segment is not None and not segment.calls:
            segment.remove()
            return None
        return segment

    async def _sync(self) -> None:
        segment = self._segment
        self._unsynced = False
        try:
            if segment is not None:
                await asyncio.to_thread(os.fsync, segment.descriptor)
        except OSError:
            log.exception("the journal of calls could not be forced to disk")
        finally:
            self._syncing = None

    def _new(self) -> Segment:
        path = self._directory / f"{new_id('calls')}{SUFFIX}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        descriptor = os.open(path, flags, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return Segment(path, descriptor)

    def _left_behind(self) -> Iterator[Segment]:
        for path in sorted(self._directory.glob(f"*{SUFFIX}")):
            try:
                descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(descriptor)
                continue
            calls = path.read_bytes().count(b"\n")
            log.warning("calls of a process that was killed", extra={"calls": calls})
            yield Segment(path, descriptor, calls)


def _read(path: Path) -> Iterator[RunRequest]:
    for line in path.read_bytes().splitlines():
        try:
            yield RunRequest.model_validate_json(line)
        except ValidationError:
            log.warning("half a line in the journal of calls", extra={"segment": path.name})
