"""The harness as the first process of a container, as the docker engine starts it.

The container's runtime has made the namespaces, the limits, the read-only view and the private directories,
and has left this process no capability. So there is nothing to undo and no second run to keep apart: a
container serves one run of a script model, or one loaded model. The messages are the supervisor's, and
`{"do": "prepare"}` fills `/work` ahead of the run.
"""

from __future__ import annotations

import json
import os
import signal
import socket

from vitrine_harness import PROTOCOL, run, serving, system
from vitrine_harness.frames import Channel
from vitrine_harness.supervisor import CONTROL_BYTES
from vitrine_harness.workspace import METRICS, ContainerWorkspace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def main(path: str) -> None:
    """Serve the engine that listens on the Unix socket at `path`, until it hangs up."""
    os.umask(0o022)
    # As init of its namespace, this process can only be signalled from inside through handlers.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    control = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    control.connect(path)
    setup = json.loads(control.recv(CONTROL_BYTES))
    system.prctl(system.PR_SET_NO_NEW_PRIVS, 1)
    system.require_no_privileges()
    system.hide()
    run.filter_calls()
    system.close_descriptors({control.fileno()})
    control.send(json.dumps({"is": "ready", "protocol": PROTOCOL}).encode())
    Cell(control, setup).serve()


class Cell:
    """What one container serves."""

    def __init__(self, control: socket.socket, setup: dict[str, Any]) -> None:
        self.control = control
        self.setup = setup
        self.workspace: ContainerWorkspace | OSError | None = None

    def serve(self) -> None:
        """Answer messages, one after the other."""
        while True:
            if self._is_model_wanted():
                return
            data, descriptors, _, _ = socket.recv_fds(self.control, CONTROL_BYTES, 1)
            if not data:
                return
            message = json.loads(data)
            if message["do"] == "prepare":
                self._prepare()
            elif message["do"] == "run":
                self._run(socket.socket(fileno=descriptors[0]))
                self.control.send(json.dumps({"is": "ended", "id": message["id"]}).encode())

    def _is_model_wanted(self) -> bool:
        """Serve a model if the next message asks for one, which its process receives itself."""
        data = self.control.recv(CONTROL_BYTES, socket.MSG_PEEK)
        message = json.loads(data) if data else {"do": None}
        if message["do"] != "load":
            return False
        if message["kind"] == "onnx":
            # The file is read where it lies: a copy of its weights would be memory.
            os.mkfifo(METRICS, 0o600)
        else:
            self._prepare()
        if isinstance(self.workspace, OSError):
            raise self.workspace
        serving.serve(self.control, None, self.setup)
        return True

    def _prepare(self) -> None:
        try:
            self.workspace = ContainerWorkspace()
        except OSError as error:
            self.workspace = error

    def _run(self, sock: socket.socket) -> None:
        with sock:
            run.serve(Channel(sock), self.setup, self._take_workspace)

    def _take_workspace(self) -> ContainerWorkspace:
        """Return the prepared workspace; raises the error of preparing it, and for a second run."""
        found, self.workspace = self.workspace, OSError("this container has served its run")
        if found is None:
            raise OSError("nothing was prepared")
        if isinstance(found, OSError):
            raise found
        return found
