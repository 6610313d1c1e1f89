"""One run of a loaded model, from its first frame to its last.

Frames from the engine: `start` (the request), then per input `file` or `tensor` with `data` frames, then
`go`; `cancel` at any time. To the engine: `started`; `log`, `value`, `file`, `tensor`, `metric` and
`progress` as they come; `exited`; `end` last.
"""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from vitrine_harness.frames import CHUNK, pack

LINE = 4096
MAX_VALUE = 12 * 1024 * 1024
"""Largest JSON text of one value: a frame's header must hold it."""
MAX_REPORTS = 10_000
_dumps = json.dumps


class Failed(Exception):
    """The run cannot succeed; `reason` is the engine's."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class CancelationException(BaseException):
    """Raised in the author's code when its run is cancelled or out of time. Spelled as Cog spells it."""


class Upload(str):
    """The path of a file that was given to a run; nothing that a visitor writes can be one."""

    __slots__ = ()


class Job:
    """One run. Its methods may be called from any thread.

    `values`: JSON by input name. `files`: by input name, an `Upload` below `directory`, or the bytes where no
    directory was given. `tensors`: raw ones by name, as (header, bytes).
    """

    def __init__(self, name: str, sock: socket.socket, directory: str | None) -> None:
        self.name = name
        self.socket = sock
        self.directory = directory
        self.request: dict[str, Any] = {}
        self.files: dict[str, Any] = {}
        self.tensors: dict[str, tuple[dict[str, Any], bytes]] = {}
        self.is_stream = False
        """Whether it is no run but a stream of calls (`vitrine_harness.calls`), read by who serves it."""
        self.stopped: str | None = None
        """Why the run was told to stop: `cancelled` or `timeout`."""
        self.ended = False
        self.executing = False
        """Whether the author's code runs, which an interruption may be raised in."""
        self.sending = False
        self.missed = False
        """Whether an interruption came while a frame was sent, which must not be cut in two."""
        self.lock = threading.RLock()
        self._writing = threading.RLock()
        self._interrupt: Callable[[], None] | None = None
        self._lines: dict[str, bytearray] = {"stdout": bytearray(), "stderr": bytearray()}
        self._log_left = 0
        self._output_left = 0
        self._reports_left = MAX_REPORTS
        self._truncated = False

    @property
    def values(self) -> dict[str, Any]:
        """The JSON values by input name."""
        values: dict[str, Any] = self.request.get("values", {})
        return values

    def begin(self, header: dict[str, Any]) -> None:
        """Take the request."""
        self.request = header
        self._log_left = int(header["log_bytes"])
        self._output_left = int(header["output_bytes"])

    # to the engine

    def send(self, header: dict[str, Any], payload: bytes | memoryview = b"") -> None:
        """Send one frame, whole; an engine that has gone hears nothing."""
        frame = pack(header, payload)
        with self._writing:
            if self.ended:
                return
            self.sending = True
            try:
                self.socket.sendall(frame)
            except OSError:
                pass
            finally:
                self.sending = False
        if self.missed and self.executing:
            self.missed = self.executing = False
            raise CancelationException

    def printed(self, stream: str, data: bytes) -> None:
        """Take what was printed; whole lines are sent at once, the rest with the next or at the end."""
        with self._writing:
            line = self._lines[stream]
            line += data
            if b"\n" in data or len(line) >= LINE:
                self._flush(stream)

    def flush(self) -> None:
        """Send what was printed without the end of a line."""
        with self._writing:
            for stream in self._lines:
                self._flush(stream)

    def _flush(self, stream: str) -> None:
        data = bytes(self._lines[stream])
        self._lines[stream].clear()
        kept = data[: self._log_left]
        self._truncated = self._truncated or len(kept) < len(data)
        self._log_left -= len(kept)
        for offset in range(0, len(kept), CHUNK):
            self.send({"is": "log", "stream": stream}, kept[offset : offset + CHUNK])

    def value(self, name: str, kind: str, value: Any, *, partial: bool = False) -> None:
        """Send a value, or one piece of it; raises `Failed` when it is no JSON or too large."""
        try:
            size = len(_dumps(value, allow_nan=False))
        except (TypeError, ValueError, RecursionError) as error:
            raise Failed("user_error", f"output `{name}` is no JSON value: {error}") from error
        if size > MAX_VALUE:
            text = f"output `{name}` has {size} bytes of JSON; give it as a file"
            raise Failed("output_too_large", text)
        self._count(size)
        self.send({"is": "value", "name": name, "type": kind, "value": value, "partial": partial})

    def file(self, output: str, name: str, data: bytes) -> None:
        """Send bytes as a file of an output; raises `Failed` when the outputs are too large."""
        self._count(len(data))
        with self._writing:
            self._announce(output, name, len(data))
            self._send_data(data)
            self.send({"is": "file_end", "whole": True})

    def file_at(self, output: str, name: str, descriptor: int) -> None:
        """Send the content of a descriptor as a file; raises `Failed` when the outputs are too large."""
        size = os.fstat(descriptor).st_size
        self._count(size)
        with self._writing:
            self._announce(output, name, size)
            left = size
            while left > 0 and (data := os.read(descriptor, min(CHUNK, left))):
                left -= len(data)
                self.send({"is": "data"}, data)
            self.send({"is": "file_end", "whole": left == 0})

    def tensor(self, name: str, dtype: str, shape: list[int], data: bytes) -> None:
        """Send a raw tensor; raises `Failed` when the outputs are too large."""
        self._count(len(data))
        with self._writing:
            self.send({"is": "tensor", "name": name, "dtype": dtype, "shape": shape, "size": len(data)})
            self._send_data(data)

    def report(self, header: dict[str, Any]) -> None:
        """Send a metric or progress; a flood of them is cut off."""
        if self._reports_left > 0:
            self._reports_left -= 1
            self.send(header)

    def end(self, reason: str | None, message: str = "") -> None:
        """Report the end, once; later calls have no effect."""
        with self.lock:
            if self.ended:
                return
            with self._writing:
                self.flush()
                truncated = {"truncated": self._truncated}
                self.send({"is": "end", "reason": reason, "message": message[:2000], **truncated})
                self.ended = True

    def _announce(self, output: str, name: str, size: int) -> None:
        self.send({"is": "file", "kind": "output", "name": name, "size": size, "outputs": [output]})

    def _send_data(self, data: bytes) -> None:
        view = memoryview(data)
        for offset in range(0, len(view), CHUNK):
            self.send({"is": "data"}, view[offset : offset + CHUNK])

    def _count(self, size: int) -> None:
        most = self.request.get("output_bytes", 0)
        if size > self._output_left:
            raise Failed("output_too_large", f"the outputs have more than {most} bytes")
        self._output_left -= size

    # stopping

    def stop(self, reason: str) -> None:
        """Ask the run to end; what has not begun ends when its turn comes."""
        with self.lock:
            if self.ended or self.stopped:
                return
            self.stopped = reason
            if self._interrupt is not None:
                self._interrupt()

    @contextmanager
    def interrupted_by(self, interrupt: Callable[[], None]) -> Iterator[None]:
        """Let `stop` call `interrupt` while the block runs; raises `Failed` when it is too late to begin."""
        with self.lock:
            self.check()
            self._interrupt = interrupt
            self.executing = True
        try:
            yield
        finally:
            self.executing = False
            with self.lock:
                self._interrupt = None

    def on_stop(self, interrupt: Callable[[], None]) -> None:
        """Let `stop` call `interrupt` from now on."""
        with self.lock:
            self._interrupt = interrupt
            if self.stopped is not None:
                interrupt()

    def end_stopped(self) -> None:
        """Report that the run ended because it was told to stop."""
        self.end(self.stopped or "cancelled", self.stop_message)

    def check(self) -> None:
        """Raise `Failed` when the run was told to stop."""
        if self.stopped is not None:
            raise Failed(self.stopped, self.stop_message)

    @property
    def stop_message(self) -> str:
        """Why the run was told to stop, for people."""
        if self.stopped == "timeout":
            return f"the run took longer than {self.request.get('wall_seconds', 0):g} s"
        return "the run was cancelled"
