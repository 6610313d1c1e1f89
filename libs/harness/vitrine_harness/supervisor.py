"""A nest's first process: makes a cell per message, reaps, and kills on demand.

It reads no byte that a tenant wrote: every run and every loaded model has a stream of its own to the engine,
handed over as a descriptor. Messages on the control socket (one JSON object a packet) from the engine:

- `{"do": "run", "id": …, "cell": {…}}` with a gate: a run of a script, whose stream comes there
- `{"do": "model", "id": …, "cell": {…}}` with a control socket and a gate: a model, loaded once to serve runs
- `{"do": "kill", "id": …}`
- `{"do": "zygote", "modules": […]}` with a control socket: start the interpreter whose forks enter cells
- `{"do": "blind"}`: take the view of processes from the zygote; answered by `{"is": "blind", "done": …}`
- `{"do": "census"}`: count and kill the children that nobody asked for, while there is a zygote; answered by
  `{"is": "census", "strangers": …}`

To the engine: `{"is": "ready", …}` once, `{"is": "ended", "id": …}` when nothing of a cell is left.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import sys
from collections.abc import Callable

from vitrine_harness import cell, run, system, zygote_start

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CONTROL_BYTES = 64 * 1024
DESCRIPTORS = 2
"""Most descriptors of a message."""


def serve(control: socket.socket, setup: dict[str, Any], *, overlay: bool) -> None:
    """Serve until the engine closes the socket. Returning ends the nest."""
    Supervisor(control, setup, overlay=overlay).serve()


class Supervisor:
    """Cells by id, each as the process that holds its namespaces."""

    def __init__(self, control: socket.socket, setup: dict[str, Any], *, overlay: bool) -> None:
        self.control = control
        self.setup = setup
        self.overlay = overlay
        self.holders: dict[int, str] = {}
        self.zygote: int | None = None

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
        data, descriptors, _, _ = socket.recv_fds(self.control, CONTROL_BYTES, DESCRIPTORS)
        if not data:
            return False
        message = json.loads(data)
        if message["do"] == "kill":
            self._kill(message["id"])
        elif message["do"] == "blind":
            self._tell({"is": "blind", "done": self._blind()})
        elif message["do"] == "census":
            self._tell({"is": "census", "strangers": self._strangers()})
        elif message["do"] == "zygote":
            self.zygote = zygote_start.start(descriptors[0], message["modules"], self.setup)
        elif message["do"] in {"run", "model"}:
            self._hold(message, descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        return True

    def _tell(self, message: dict[str, Any]) -> None:
        self.control.send(json.dumps(message).encode())

    def _hold(self, message: dict[str, Any], descriptors: list[int]) -> None:
        child = os.fork()
        if child == 0:
            self._become_holder(message, descriptors)
        self.holders[child] = message["id"]

    def _become_holder(self, message: dict[str, Any], descriptors: list[int]) -> None:
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            system.die_with_parent()
            self.control.close()
            system.close_descriptors(set(descriptors))
            order = {**self.setup, **message["cell"]}
            sockets = [socket.socket(fileno=descriptor) for descriptor in descriptors]
            serve: Callable[..., None] = run.serve_cell if message["do"] == "run" else run.serve_model
            status = cell.hold(order["bundle"], lambda: serve(*sockets, order, overlay=self.overlay))
        except BaseException:
            # The engine logs what comes here: nobody else is told why a cell ended before it could speak.
            sys.excepthook(*sys.exc_info())
            raise
        finally:
            os._exit(status)

    def _kill(self, name: str) -> None:
        for child, held in self.holders.items():
            if held == name:
                os.kill(child, signal.SIGKILL)

    def _blind(self) -> bool:
        return self.zygote is not None and zygote_start.blind(self.zygote)

    def _strangers(self) -> int:
        """Count, and kill, children that were not forked here: what a zygote forked and left behind."""
        self._reap()
        with open("/proc/self/task/1/children") as stream:
            children = {int(pid) for pid in stream.read().split()}
        strangers = children - self.holders.keys() - {self.zygote}
        for stranger in strangers:
            os.kill(stranger, signal.SIGKILL)
        return len(strangers)

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while True:
                child, _ = os.waitpid(-1, os.WNOHANG)
                if child == 0:
                    return
                if child == self.zygote:
                    self.zygote = None
                name = self.holders.pop(child, None)
                if name is not None:
                    self._tell({"is": "ended", "id": name})
