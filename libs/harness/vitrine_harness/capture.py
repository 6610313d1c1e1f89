"""What the author's code prints, carried to the run that printed it.

Python's `print` knows its run by a context variable. What goes around Python (C libraries, child processes)
arrives by pipes in place of descriptors 1 and 2, and threads that the author started know no run: both
belong to the only run that is served, else to all of them.
"""

from __future__ import annotations

import io
import os
import selectors
import sys
import threading
from contextvars import ContextVar
from typing import Any

from vitrine_harness import metric_lines
from vitrine_harness.jobs import Job
from vitrine_harness.workspace import METRICS

READ = 64 * 1024
DRAINS = 64
"""Most reads at the end of a run: a flood must not keep it from ending."""
KEPT = 64 * 1024
current: ContextVar[Job | None] = ContextVar("vitrine_run", default=None)


class Capture:
    """Takes over standard output and error of this process, for good."""

    def __init__(self) -> None:
        self.active: set[Job] = set()
        self.unclaimed = bytearray()
        """The end of what was printed while no run was served: by the import and `setup`."""
        self._lock = threading.Lock()
        self._reading = threading.Lock()
        self._pipes: dict[str, int] = {}
        # Open for writing, too: a child that has reported and ended must not close the pipe for others.
        self._pipes["metrics"] = os.open(METRICS, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self._lines = metric_lines.Lines()
        for number, stream in ((1, "stdout"), (2, "stderr")):
            reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
            os.set_blocking(writer, True)
            os.dup2(writer, number, inheritable=True)
            os.close(writer)
            self._pipes[stream] = reader
        sys.stdout = _Printed(self, "stdout")
        sys.stderr = _Printed(self, "stderr")
        threading.Thread(target=self._carry, daemon=True, name="vitrine output").start()

    def add(self, job: Job) -> None:
        """Begin to serve a run, which also gets what was printed before anybody asked."""
        with self._lock:
            self.active.add(job)
            text, self.unclaimed = bytes(self.unclaimed), bytearray()
        if text:
            job.printed("stderr", text)

    def remove(self, job: Job) -> None:
        """End to serve a run: what it printed around Python is collected first."""
        self.drain()
        with self._lock:
            self.active.discard(job)

    def take(self, stream: str, data: bytes) -> None:
        """Take what was printed, for the run of this context."""
        jobs = self._concerned()
        if not jobs:
            with self._lock:
                self.unclaimed = (self.unclaimed + data)[-KEPT:]
        for job in jobs:
            job.printed(stream, data)

    def report(self, line: bytes) -> None:
        """Take a line in which a number or progress is reported; what is no report is dropped."""
        header = metric_lines.parse(line)
        if header is not None:
            for job in self._concerned():
                job.report(header)

    def _concerned(self) -> list[Job]:
        job = current.get()
        with self._lock:
            return [job] if job is not None else list(self.active)

    def drain(self) -> None:
        """Take what lies in the pipes now."""
        for stream, reader in self._pipes.items():
            for _ in range(DRAINS):
                if not self._read(stream, reader):
                    break

    def _read(self, stream: str, reader: int) -> bool:
        with self._reading:
            try:
                data = os.read(reader, READ)
            except BlockingIOError:
                return False
            token = current.set(None)
            if stream == "metrics":
                for line in self._lines.feed(data):
                    self.report(line)
            else:
                self.take(stream, data)
            current.reset(token)
        return bool(data)

    def _carry(self) -> None:
        with selectors.DefaultSelector() as selector:
            for stream, reader in self._pipes.items():
                selector.register(reader, selectors.EVENT_READ, stream)
            while True:
                for key, _ in selector.select():
                    self._read(key.data, key.fd)


class _Printed(io.TextIOBase):
    """Standard output or error as Python code sees it."""

    def __init__(self, capture: Capture, stream: str) -> None:
        self._capture = capture
        self._stream = stream
        self.buffer = _Bytes(capture, stream)

    encoding = "utf-8"
    errors = "backslashreplace"

    @property
    def name(self) -> str:
        return f"<{self._stream}>"

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return 1 if self._stream == "stdout" else 2

    def write(self, text: str) -> int:
        self._capture.take(self._stream, text.encode("utf-8", "backslashreplace"))
        return len(text)

    def flush(self) -> None:
        job = current.get()
        if job is not None:
            job.flush()


class _Bytes(io.RawIOBase):
    """The binary side of it."""

    def __init__(self, capture: Capture, stream: str) -> None:
        self._capture = capture
        self._stream = stream

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return 1 if self._stream == "stdout" else 2

    def write(self, data: Any) -> int:
        piece = bytes(data)
        self._capture.take(self._stream, piece)
        return len(piece)
