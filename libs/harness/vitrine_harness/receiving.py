"""The one thread that hears the engine: control messages, the inputs of runs, their cancellation."""

from __future__ import annotations

import json
import os
import selectors
import shutil
import socket
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from vitrine_harness import frames
from vitrine_harness.jobs import Job, Upload

CONTROL_BYTES = 64 * 1024


class Receiver:
    """Receives runs on `control` and hands each to `submit` when its inputs are there.

    `in_files` says whether input files are put on the disk; else their bytes are kept. Returns from `serve`
    when the engine hangs up.
    """

    def __init__(self, control: socket.socket, submit: Callable[[Job], None], *, in_files: bool) -> None:
        self._control = control
        self._submit = submit
        self._in_files = in_files
        self._selector = selectors.DefaultSelector()
        self._open: dict[str, _Incoming] = {}

    def serve(self) -> None:
        """Serve until the engine hangs up."""
        self._selector.register(self._control, selectors.EVENT_READ, None)
        while True:
            for key, _ in self._selector.select(self._pause()):
                if key.data is not None:
                    self._read(key.data)
                elif not self._answer():
                    return
            self._stop_overdue()

    def finished(self, job: Job) -> None:
        """Note that a run has reported its end and its code has returned."""
        if job.directory is not None:
            shutil.rmtree(job.directory, ignore_errors=True)
        with job.lock:
            incoming = self._open.get(job.name)
            if incoming is None or incoming.job is not job:
                return
            incoming.is_finished = True
            if incoming.has_gone:
                self._close(incoming)

    def _pause(self) -> float | None:
        ends = [item.deadline for item in list(self._open.values()) if item.deadline is not None]
        return max(0.0, min(ends) - time.monotonic()) if ends else None

    def _stop_overdue(self) -> None:
        now = time.monotonic()
        for incoming in list(self._open.values()):
            if incoming.deadline is not None and now >= incoming.deadline:
                incoming.deadline = None
                incoming.job.stop("timeout")

    def _answer(self) -> bool:
        data, descriptors, _, _ = socket.recv_fds(self._control, CONTROL_BYTES, 1)
        if not data:
            return False
        message = json.loads(data)
        if message.get("do") == "run" and descriptors:
            sock = socket.socket(fileno=descriptors[0])
            directory = tempfile.mkdtemp(prefix="vitrine-run-") if self._in_files else None
            incoming = _Incoming(Job(message["id"], sock, directory))
            self._open[message["id"]] = incoming
            self._selector.register(sock, selectors.EVENT_READ, incoming)
        return True

    def _read(self, incoming: _Incoming) -> None:
        job = incoming.job
        try:
            data = job.socket.recv(incoming.missing, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._selector.unregister(job.socket)
            job.stop("cancelled")
            with job.lock:
                incoming.has_gone = True
                incoming.deadline = None
                if incoming.is_finished or not incoming.is_submitted:
                    self._close(incoming)
            return
        try:
            frame = incoming.feed(data)
            if frame is not None:
                self._take(incoming, *frame)
        except OSError as error:
            # The engine goes on sending; what comes is read and dropped, or it would never read this end.
            incoming.is_refused = True
            job.end("disk_full", f"the inputs cannot be stored: {error.strerror}")

    def _take(self, incoming: _Incoming, header: dict[str, Any], payload: bytes) -> None:
        job = incoming.job
        if incoming.is_refused:
            return
        match header["do"]:
            case "start":
                job.begin(header)
            case "file" | "tensor":
                incoming.announce(header)
            case "data":
                incoming.add(payload)
            case "go":
                incoming.is_submitted = True
                incoming.deadline = time.monotonic() + float(job.request["wall_seconds"])
                self._submit(job)
            case "calls":
                self._selector.unregister(job.socket)
                job.is_stream = incoming.is_submitted = incoming.has_gone = True
                self._submit(job)
            case "cancel":
                job.stop("cancelled")

    def _close(self, incoming: _Incoming) -> None:
        if self._open.get(incoming.job.name) is incoming:
            del self._open[incoming.job.name]
            incoming.close()
            with suppress(OSError):
                self._control.send(json.dumps({"is": "ended", "id": incoming.job.name}).encode())


class _Incoming:
    """The frames of one run as they arrive, and its inputs as far as they are there."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.deadline: float | None = None
        self.is_submitted = False
        self.is_finished = False
        self.has_gone = False
        self.is_refused = False
        self._buffer = bytearray()
        self._lengths: tuple[int, int] | None = None
        self._header: dict[str, Any] = {}
        self._bytes = bytearray()
        self._file: int | None = None
        self._left = 0

    @property
    def missing(self) -> int:
        """Bytes that the frame lacks; never one of the next, which may be for somebody else to read."""
        size = frames.PREFIX.size + sum(self._lengths or (0, 0))
        return min(size - len(self._buffer), frames.CHUNK)

    def feed(self, data: bytes) -> tuple[dict[str, Any], bytes] | None:
        """Return the frame if `data` completes it."""
        self._buffer += data
        if self._lengths is None and len(self._buffer) == frames.PREFIX.size:
            self._lengths = frames.lengths(bytes(self._buffer))
        start = frames.PREFIX.size
        if self._lengths is None or len(self._buffer) < start + sum(self._lengths):
            return None
        middle = start + self._lengths[0]
        frame = frames.parse_header(bytes(self._buffer[start:middle])), bytes(self._buffer[middle:])
        self._buffer.clear()
        self._lengths = None
        return frame

    def announce(self, header: dict[str, Any]) -> None:
        """Begin an input of known size."""
        self._header, self._left, self._bytes = header, int(header["size"]), bytearray()
        if header["do"] == "file" and self.job.directory is not None:
            folder = tempfile.mkdtemp(dir=self.job.directory)
            path = os.path.join(folder, os.path.basename(header.get("path") or "") or header["name"])
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
            self.job.files[header["name"]] = Upload(path)
        if not self._left:
            self._complete()

    def add(self, payload: bytes) -> None:
        """Take the next bytes of the input."""
        self._left -= len(payload)
        if self._file is not None:
            view = memoryview(payload)
            while view:
                view = view[os.write(self._file, view) :]
        else:
            self._bytes += payload
        if self._left <= 0:
            self._complete()

    def _complete(self) -> None:
        name = self._header["name"]
        if self._file is not None:
            os.close(self._file)
            self._file = None
        elif self._header["do"] == "file":
            self.job.files[name] = bytes(self._bytes)
        else:
            self.job.tensors[name] = (self._header, bytes(self._bytes))

    def close(self) -> None:
        """Free the socket."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
        self.job.socket.close()
