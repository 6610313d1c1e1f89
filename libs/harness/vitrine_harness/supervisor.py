"""The sandbox's first process: starts a run per message, reaps, and kills on demand.

It reads no byte that a tenant wrote: every run has a stream of its own to the engine, handed over as a
descriptor. Messages on the control socket (one JSON object a packet):

- from the engine: `{"do": "load"}` and `{"do": "run", "id": …}`, each with a descriptor;
  `{"do": "kill", "id": …}`
- to the engine: `{"is": "ready", …}` once, `{"is": "ended", "id": …}` when nothing of a run is left
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket

from vitrine_harness import run, system
from vitrine_harness.frames import Channel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CONTROL_BYTES = 64 * 1024


def serve(control: socket.socket, setup: dict[str, Any], *, overlay: bool) -> None:
    """Serve until the engine closes the socket. Returning ends the sandbox."""
    Supervisor(control, setup, overlay=overlay).serve()


class Supervisor:
    """Runs by id, each as the process that holds its namespaces."""

    def __init__(self, control: socket.socket, setup: dict[str, Any], *, overlay: bool) -> None:
        self.control = control
        self.setup = setup
        self.overlay = overlay
        self.runs: dict[int, str] = {}
        self.serve_model: Any = None

    def serve(self) -> None:
        """Answer messages and child deaths, in one thread and without polling."""
        wake, waker = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
        # Not select(), which takes no descriptor above 1023: the control socket has the number that it had in
        # the service, where thousands may be open.
        watched = select.poll()
        for descriptor in (self.control.fileno(), wake):
            watched.register(descriptor, select.POLLIN)
        while True:
            ready = {descriptor for descriptor, _ in watched.poll()}
            if wake in ready:
                with contextlib.suppress(BlockingIOError):
                    os.read(wake, 4096)
                self._reap()
            if self.control.fileno() in ready and not self._answer():
                return

    def _answer(self) -> bool:
        data, descriptors, _, _ = socket.recv_fds(self.control, CONTROL_BYTES, 1)
        if not data:
            return False
        message = json.loads(data)
        if message["do"] == "kill":
            self._kill(message["id"])
        elif message["do"] == "load":
            self._load(socket.socket(fileno=descriptors[0]))
        elif message["do"] == "run":
            self._run(message["id"], socket.socket(fileno=descriptors[0]))
        return True

    def _load(self, sock: socket.socket) -> None:
        # Imported here: a script model's sandbox has no use for it.
        from vitrine_harness import onnx

        run.prepare_model(self.setup)
        with sock:
            self.serve_model = onnx.load(Channel(sock), self.setup)

    def _run(self, name: str, sock: socket.socket) -> None:
        with sock:
            if self.serve_model is not None:
                self.serve_model(Channel(sock))
                sock.close()
                self._ended(name)
                return
            child = os.fork()
            if child == 0:
                self._become_run(sock)
            self.runs[child] = name

    def _become_run(self, sock: socket.socket) -> None:
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            system.die_with_parent()
            self.control.close()
            system.close_descriptors({sock.fileno()})
            status = run.isolate(sock, self.setup, overlay=self.overlay)
        finally:
            os._exit(status)

    def _kill(self, name: str) -> None:
        for child, run_name in self.runs.items():
            if run_name == name:
                os.kill(child, signal.SIGKILL)

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while True:
                child, _ = os.waitpid(-1, os.WNOHANG)
                if child == 0:
                    return
                name = self.runs.pop(child, None)
                if name is not None:
                    self._ended(name)

    def _ended(self, name: str) -> None:
        self.control.send(json.dumps({"is": "ended", "id": name}).encode())
