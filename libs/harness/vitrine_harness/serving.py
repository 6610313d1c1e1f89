"""The process that loads and serves a model, as the init of its cell keeps it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket

from vitrine_harness import forked, system
from vitrine_harness.cell import Gate
from vitrine_harness.program import settle
from vitrine_harness.workspace import WORK, base_environment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

BOOT = (
    "import sys; sys.path[0] = '/vitrine/harness'; from vitrine_harness.models import main; "
    "main({}, sys.argv[1])"
)
PYTHON = "/env/bin/python"
CONTROL = 3
SETUP = ("threads", "gpu", "env", "library_path", "disk_bytes", "processes")
"""What the model's process is told of its sandbox."""


def serve(control: socket.socket, gate: Gate | None, order: dict[str, Any]) -> None:
    """Start the model's process, a fork of the zygote where there is one, and tell the engine how it ends."""
    env = {**base_environment(order["threads"], order["library_path"]), **order["env"]}
    setup = {name: order[name] for name in SETUP}
    fork = None if gate is None else forked.ask(gate, {"control": control.fileno()})
    if fork is None:
        status = _wait_for(_spawn(control.fileno(), env, setup))
    else:
        call = {"kind": "model", "env": env, "setup": setup, "processes": order["processes"]}
        # The kernel reaps what the model's process leaves behind.
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        fork.begin(call)
        told = os.read(fork.status, 4)
        status = int.from_bytes(told, "little") if len(told) == 4 else signal.SIGKILL
    code = os.waitstatus_to_exitcode(status)
    with contextlib.suppress(OSError):
        control.send(json.dumps({"is": "died", "code": code if code >= 0 else 128 - code}).encode())


def _spawn(control: int, env: dict[str, str], setup: dict[str, Any]) -> int:
    child = os.fork()
    if child == 0:
        try:
            settle(setup["processes"])
            null = os.open("/dev/null", os.O_WRONLY)
            os.dup2(null, 1)
            os.dup2(null, 2)
            os.dup2(control, CONTROL, inheritable=True)
            # A descriptor that has the number already is left as it is by dup2(), closed by exec() then.
            os.set_inheritable(CONTROL, True)
            system.close_descriptors({CONTROL})
            os.chdir(WORK)
            os.execve(PYTHON, [PYTHON, "-c", BOOT.format(CONTROL), json.dumps(setup)], env)
        finally:
            os._exit(127)
    return child


def _wait_for(child: int) -> int:
    """Reap until `child` has ended, and return its status."""
    while True:
        pid, status = os.wait()
        if pid == child:
            return status
