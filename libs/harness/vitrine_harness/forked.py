"""Programs that are forks of the zygote: asked for at the gate, begun when their inputs have arrived."""

from __future__ import annotations

import json
import os

from vitrine_harness.cell import Gate
from vitrine_harness.program import Started

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

REPORT_BYTES = 64 * 1024


class Fork:
    """A fork of the zygote that waits in this cell for what to execute; `streams` are our ends by name."""

    def __init__(self, streams: dict[str, int]) -> None:
        self._streams = streams
        self._pid = 0
        self._report = b""

    @property
    def status(self) -> int:
        """A descriptor from which its wait status can be read at its end: four bytes, little-endian."""
        return self._streams["status"]

    def begin(self, call: dict[str, Any]) -> None:
        """Tell it what to execute."""
        with open(self._streams.pop("call"), "wb") as stream:
            stream.write(json.dumps(call).encode())

    def started(self) -> Started:
        """Return what it prints to and how its end is told."""
        return Started(self._streams["stdout"], self._streams["stderr"], status=self.status)

    def kill(self, number: int) -> None:
        """Send it a signal; nothing where it has ended, or not begun."""
        if not self._pid:
            self._pid = int.from_bytes(self._said(4), "little")
        # It says its number itself. Whatever it says, no process but those of this cell can be meant.
        if 1 < self._pid < 1 << 22:
            try:
                os.kill(self._pid, number)
            except ProcessLookupError:
                return

    def report(self) -> bytes:
        """Return what it said about the modules that it imported, once it has ended."""
        if "report" in self._streams:
            self._report = self._said(REPORT_BYTES)[0 if self._pid else 4 :]
        return self._report

    def close(self) -> None:
        """Let go of it, all but its status and its report."""
        self.report()
        for name in ("call", "report", "stdout", "stderr"):
            if name in self._streams:
                os.close(self._streams.pop(name))

    def discard(self) -> None:
        """End it before it has begun anything: nothing to execute will come."""
        self.close()
        os.close(self._streams.pop("status"))

    def _said(self, most: int) -> bytes:
        os.set_blocking(self._streams["report"], False)
        try:
            return os.read(self._streams["report"], most)
        except BlockingIOError:
            return b""


def ask(gate: Gate, given: dict[str, int] | None = None) -> Fork | None:
    """Return a fork of the zygote, or None where there is none to be had.

    `given` are descriptors that it shall have: its standard streams (`stdin`, `stdout`, `stderr`) where they
    are not new pipes, or the `control` socket of a model that it shall serve. They stay the caller's.
    """
    theirs, ours = dict(given or {}), {}
    new = {}
    for name, end in (("call", 0), ("status", 1), ("stdout", 1), ("stderr", 1), ("report", 1)):
        if name not in theirs:
            pipe = os.pipe2(os.O_CLOEXEC)
            theirs[name] = new[name] = pipe[end]
            ours[name] = pipe[1 - end]
    found = gate.fork(theirs)
    for descriptor in new.values():
        os.close(descriptor)
    if found:
        return Fork(ours)
    for descriptor in ours.values():
        os.close(descriptor)
    return None
