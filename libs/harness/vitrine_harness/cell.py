"""A cell: the namespaces in which one run of a script, or one loaded model, is alone.

Two processes make it. The *holder*, a fork of the supervisor, shows the bundle and enters new namespaces
below a user namespace of its own; its child is their *init*, which makes the private directories and serves.
Both are the platform's and never execute a tenant's code. When either dies, the kernel ends what is inside.

The *gate* is a socket of packets between init and engine. To the engine: `{"is": "placed"}` first, so that
the kernel tells it the init's process id; later `{"do": "fork"}` with descriptors, which asks for a fork of
the zygote in this cell. From the engine: `{"do": "begin"}`; `{"is": "forked"}` or `{"is": "refused"}`; and at
any time after it began `{"do": "run"}` with the stream of a script's run.
"""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Callable

from vitrine_harness import system

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

TENANT = 1000
"""User and group id that tenants see."""
SHARED = "/vitrine/shared"
"""Where a nest of several versions keeps their bundles; only the platform's processes see it."""
BUNDLE = "/bundle"
KINDS = {
    "user": system.CLONE_NEWUSER,
    "mnt": system.CLONE_NEWNS,
    "pid": system.CLONE_NEWPID,
    "ipc": system.CLONE_NEWIPC,
    "net": system.CLONE_NEWNET,
}
"""Namespaces of a cell, by the names of their descriptors; the user namespace must be entered first."""
NAMESPACES = KINDS["mnt"] | KINDS["pid"] | KINDS["ipc"] | KINDS["net"]
GATE_BYTES = 4096


def hold(bundle: str | None, serve: Callable[[], None]) -> int:
    """Make the namespaces, let their init `serve` there, and wait for it.

    `bundle` names the directory below `SHARED` that is shown at `/bundle`; None where it is there already.
    """
    # A hidden process may not write its own id maps. Nothing of a tenant can see this one.
    system.prctl(system.PR_SET_DUMPABLE, 1)
    if bundle is not None:
        system.unshare(system.CLONE_NEWNS)
        system.show(f"{SHARED}/{bundle}", BUNDLE)
        system.cover(SHARED)
    system.enter_user_namespace(NAMESPACES, TENANT)
    system.hide()
    system.die_with_parent()
    child = os.fork()
    if child == 0:
        try:
            # As init of its namespace, this process can only be signalled from inside through handlers.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            system.die_with_parent()
            serve()
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    return 0


class Gate:
    """The init's end of the gate."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._stream: socket.socket | None = None

    def wait_placed(self) -> None:
        """Tell that the namespaces are made, and wait for the engine's word.

        A model's cell is under its limits by then. A script's may not be yet: it has no run before it is.
        """
        self._socket.send(json.dumps({"is": "placed"}).encode())
        self._hear()

    def wait_run(self) -> socket.socket:
        """Return the stream of the run that this cell is for, once there is one."""
        while self._stream is None:
            self._hear()
        return self._stream

    def fork(self, descriptors: dict[str, int]) -> bool:
        """Ask for a fork of the zygote in this cell, with descriptors by name; return whether there is one.

        The descriptors stay the caller's.
        """
        own = {name: os.open(f"/proc/self/ns/{name}", os.O_RDONLY | os.O_CLOEXEC) for name in KINDS}
        try:
            sent = {**own, **descriptors}
            message = json.dumps({"do": "fork", "descriptors": list(sent)}).encode()
            socket.send_fds(self._socket, [message], list(sent.values()))
            answer = self._hear()
            while "is" not in answer:
                answer = self._hear()
        finally:
            for descriptor in own.values():
                os.close(descriptor)
        return bool(answer["is"] == "forked")

    def _hear(self) -> dict[str, Any]:
        """Return the engine's next message, and keep the stream that may come with it."""
        data, descriptors, _, _ = socket.recv_fds(self._socket, GATE_BYTES, 1)
        if not data:
            os._exit(0)
        for descriptor in descriptors:
            self._stream = socket.socket(fileno=descriptor)
        message: dict[str, Any] = json.loads(data)
        return message
