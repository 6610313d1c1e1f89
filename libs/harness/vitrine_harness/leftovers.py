"""Processes that runs of a loaded model leave behind, ended before the next run begins.

They are told apart from what the author's code still uses: they were not there when the model was loaded,
and nobody is left who could wait for them. Either their parent has ended, so that they were adopted by the
first process of the namespace; or `subprocess` keeps them, since their `Popen` was dropped while they ran.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from typing import NamedTuple

_INIT = 1
_ROUNDS = 50
_PAUSE_SECONDS = 0.002


class Leftovers:
    """Counts runs; when none goes on, ends what they left behind. Any thread may call it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._runs = 0
        self._known: set[tuple[int, str]] | None = None

    def begin(self) -> None:
        """Note that a run begins; what is there before the first one stays."""
        with self._lock:
            if self._known is None:
                self._known = {(process.pid, process.began) for process in _others()}
            self._runs += 1

    def end(self) -> None:
        """Note that a run is over, before its end is told."""
        with self._lock:
            self._runs -= 1
            if not self._runs:
                self._clear()

    def _clear(self) -> None:
        """End them and what they leave in turn; they are gone when this returns, or cannot be ended."""
        for _ in range(_ROUNDS):
            found = self._left()
            if not found:
                return
            for pid in found:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(_PAUSE_SECONDS)

    def _left(self) -> list[int]:
        known, dropped = self._known or set(), _dropped()
        return [
            process.pid
            for process in _others()
            if (process.is_adopted or process.pid in dropped) and (process.pid, process.began) not in known
        ]


class _Process(NamedTuple):
    """A process of the namespace. `began` is when, in ticks of the kernel: numbers are used again."""

    pid: int
    began: str
    is_adopted: bool
    """Whether its parent has ended."""


def _others() -> list[_Process]:
    """Return the processes beside the first one and this; of the adopted, those that live."""
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) in {_INIT, os.getpid()}:
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as stream:
                fields = stream.read().rpartition(b")")[2].split()
        except OSError:  # it has ended meanwhile
            continue
        is_adopted = int(fields[1]) == _INIT
        if not is_adopted or fields[0] not in {b"Z", b"X"}:
            found.append(_Process(int(name), fields[19].decode(), is_adopted))
    return found


def _dropped() -> set[int]:
    """Return the children whose `Popen` was dropped while they ran."""
    kept = getattr(sys.modules.get("subprocess"), "_active", None) or ()
    return {popen.pid for popen in list(kept) if popen.poll() is None}
