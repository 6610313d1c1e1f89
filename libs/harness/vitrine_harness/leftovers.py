"""Processes that runs of a loaded model leave behind, ended before the next run begins.

They are told apart from what the author's code still uses: nobody is left who could wait for them. Either
their parent has ended, so that they were adopted by the first process of the namespace, and they were not
there when the model was loaded; or `subprocess` keeps them, since their `Popen` was dropped while they ran.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time

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
                self._known = set(_adopted())
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
            found = [pid for pid, began in _adopted() if (pid, began) not in (self._known or ())]
            found += _dropped()
            if not found:
                return
            for pid in found:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(_PAUSE_SECONDS)


def _adopted() -> list[tuple[int, str]]:
    """Return the living processes whose parent has ended, each with the time when it began."""
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) in {_INIT, os.getpid()}:
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as stream:
                fields = stream.read().rpartition(b")")[2].split()
        except OSError:  # it has ended meanwhile
            continue
        if int(fields[1]) == _INIT and fields[0] not in {b"Z", b"X"}:
            found.append((int(name), fields[19].decode()))
    return found


def _dropped() -> list[int]:
    """Return the children whose `Popen` was dropped while they ran."""
    kept = getattr(sys.modules.get("subprocess"), "_active", None) or ()
    return [popen.pid for popen in list(kept) if popen.poll() is None]
