"""An interpreter that has imported an environment's modules, and forks for every cell.

It runs the author's packages, so nothing that it says or does is trusted: the engine looks at each fork,
and at the zygote, from outside before the fork is given any data (`vitrine_engine.process.verifying`).

Messages on the control socket (packets). To the engine: `{"is": "zygote", "modules": […], "threaded": […]}`
once. From the engine: an empty object with the descriptor of a gate, for which this process forks.

The fork says on its gate that it is there, and waits. From there it gets `{"descriptors": [names]}` with
descriptors of the namespaces `user`, `mnt`, `pid`, `ipc`, `net`, which it enters, and others, which are for
its work and which this process never sees. It gives up every capability, tells so, and waits for the word
to go on. Then it reads what to execute from `call` (JSON, to its end), executes it in a child, and writes
the child's wait status to `status`.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import socket
import sys

from vitrine_harness import interpreter, memory, models, run, start_state, system
from vitrine_harness.cell import KINDS
from vitrine_harness.program import settle
from vitrine_harness.workspace import WORK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

MESSAGE_BYTES = 64 * 1024
MOST_DESCRIPTORS = 16


def main(descriptor: int, modules: list[str]) -> None:
    """Import the modules, then fork on demand until the engine hangs up."""
    sys.path[:] = [path for path in sys.path if path not in {"", "/vitrine/harness"}]
    sys.argv[1:] = []
    control = socket.socket(fileno=descriptor)
    control.set_inheritable(False)
    imported, threaded = _import_all(modules)
    start_state.prepare()
    memory.settle()
    # Nobody waits for the forks: the kernel reaps them.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    control.send(json.dumps({"is": "zygote", "modules": imported, "threaded": threaded}).encode())
    while True:
        data, descriptors, _, _ = socket.recv_fds(control, MESSAGE_BYTES, 1)
        if not data:
            os._exit(0)
        if os.fork() == 0:
            control.close()
            _become(descriptors[0])
        os.close(descriptors[0])


def _import_all(modules: list[str]) -> tuple[list[str], list[str]]:
    """Import modules; return the names of those that could be, and of those that started threads."""
    imported, threaded = [], []
    threads = 1
    for name in modules:
        if _import(name):
            imported.append(name)
        now = len(os.listdir("/proc/self/task"))
        if now > threads:
            threaded.append(name)
        threads = now
    return imported, threaded


def _import(name: str) -> bool:
    try:
        importlib.import_module(name)
    except BaseException:  # noqa: BLE001 - whatever a package does here, it may do in the run that wants it
        return False
    return True


def _become(descriptor: int) -> NoReturn:
    """Enter a cell and execute what is called for."""
    status = 1
    try:
        gate = socket.socket(fileno=descriptor)
        gate.send(b"{}")
        data, handed, _, _ = socket.recv_fds(gate, MESSAGE_BYTES, MOST_DESCRIPTORS)
        descriptors = dict(zip(json.loads(data)["descriptors"], handed, strict=True))
        for name, kind in KINDS.items():
            system.enter(descriptors[name], kind)
            os.close(descriptors.pop(name))
        run.confine()
        # An engine that is no root may look at visible processes only; nobody else here could.
        system.prctl(system.PR_SET_DUMPABLE, 1)
        gate.send(b"{}")
        if gate.recv(MESSAGE_BYTES):
            gate.close()
            _execute(descriptors)
        status = 0
    finally:
        os._exit(status)


def _execute(descriptors: dict[str, int]) -> None:
    with open(descriptors.pop("call"), "rb") as stream:
        text = stream.read()
    if not text:
        return
    call = json.loads(text)
    status = descriptors.pop("status")
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    child = os.fork()
    if child == 0:
        os.close(status)
        _work(call, descriptors)
    for descriptor in descriptors.values():
        os.close(descriptor)
    _, ended = os.waitpid(child, 0)
    os.write(status, ended.to_bytes(4, "little"))


def _work(call: dict[str, Any], descriptors: dict[str, int]) -> NoReturn:
    """Be the program, as the cell's own process."""
    with contextlib.suppress(OSError):
        settle(call["processes"])
    os.umask(0o022)
    if call["kind"] == "model":
        _serve(call, descriptors["control"])
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if name in descriptors:
            os.dup2(descriptors[name], number)
    report = descriptors["report"]
    system.close_descriptors({report})
    # By its number in the cell, whoever asked for it can signal it.
    os.write(report, os.getpid().to_bytes(4, "little"))
    python = interpreter.parse(call["argv"], call["env"])
    if python is not None:
        interpreter.run(python, call["directory"], call["env"], call["threads"], report=report)
    os._exit(1)


def _serve(call: dict[str, Any], control: int) -> NoReturn:
    system.close_descriptors({control})
    os.environ.clear()
    os.environ.update(call["env"])
    os.chdir(WORK)
    models.serve_control(socket.socket(fileno=control), call["setup"])
    os._exit(0)
