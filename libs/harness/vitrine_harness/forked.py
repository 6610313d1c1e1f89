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
    """A fork of the zygote that waits in this cell for what to execute."""

    def __init__(self, streams: dict[str, int]) -> None:
        self._streams = streams

    def begin(self, call: dict[str, Any]) -> Started:
        """Tell it what to execute."""
        with open(self._streams.pop("call"), "wb") as stream:
            stream.write(json.dumps(call).encode())
        streams = self._streams
        return Started(streams["stdout"], streams["stderr"], status=streams["status"])

    def report(self) -> bytes:
        """Return what it said about the modules that it imported, once it has ended."""
        descriptor = self._streams["report"]
        os.set_blocking(descriptor, False)
        try:
            return os.read(descriptor, REPORT_BYTES)
        except BlockingIOError:
            return b""


def ask(gate: Gate, control: int | None = None) -> Fork | None:
    """Return a fork of the zygote, or None where there is none to be had.

    `control` is the socket of a model that the fork shall serve.
    """
    call, status, stdout, stderr, report = (os.pipe2(os.O_CLOEXEC) for _ in range(5))
    theirs = {
        "call": call[0],
        "status": status[1],
        "stdout": stdout[1],
        "stderr": stderr[1],
        "report": report[1],
    }
    ours = {
        "call": call[1],
        "status": status[0],
        "stdout": stdout[0],
        "stderr": stderr[0],
        "report": report[0],
    }
    given = theirs if control is None else {**theirs, "control": control}
    found = gate.fork(given)
    for descriptor in theirs.values():
        os.close(descriptor)
    if found:
        return Fork(ours)
    for descriptor in ours.values():
        os.close(descriptor)
    return None
