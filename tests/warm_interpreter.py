"""A small interpreter with imports done that executes Python command lines in forks, and the shell's way."""

from __future__ import annotations

import json
import os
import selectors
import socket
import subprocess
import venv
from pathlib import Path
from typing import Any, Self

HARNESS = Path(__file__).parents[1] / "libs" / "harness"
WARM = (
    *(
        "argparse",
        "asyncio",
        "concurrent.futures.process",
        "csv",
        "dataclasses",
        "decimal",
        "inspect",
        "json",
    ),
    *("logging.handlers", "multiprocessing.pool", "multiprocessing.spawn", "multiprocessing.synchronize"),
    *("pickle", "random", "subprocess", "tempfile", "threading", "traceback", "typing", "unittest", "uuid"),
    *("numpy", "warmed"),
)
PROGRAM = """
import importlib, json, os, socket, sys
sys.path.insert(0, {harness!r})
from vitrine_harness import interpreter, memory, start_state
for name in {warm!r}:
    importlib.import_module(name)
start_state.prepare()
memory.settle()
control = socket.socket(fileno={descriptor})

def serve():
    data, descriptors, _, _ = socket.recv_fds(control, 1 << 20, 4)
    if not data:
        os._exit(0)
    job = json.loads(data)
    child = os.fork()
    if child == 0:
        call = interpreter.parse(job["argv"], job["env"], {programs!r})
        for target, descriptor in enumerate(descriptors[:3]):
            os.dup2(descriptor, target)
        report = os.dup(descriptors[3])
        os.set_inheritable(report, False)
        control.close()
        os.closerange(3, report)
        if call is None:
            os._exit(99)
        interpreter.run(call, job["directory"], job["env"], 1, report)
    for descriptor in descriptors:
        os.close(descriptor)
    _, status = os.waitpid(child, 0)
    control.send(json.dumps(os.waitstatus_to_exitcode(status)).encode())

while True:
    serve()
"""


def make_environment(root: Path, packages: Path) -> Path:
    """Make a virtual environment with numpy, from `packages`, and two modules of its own."""
    venv.create(root, symlinks=True, with_pip=False)
    site = next(root.glob("lib/python*/site-packages"))
    for found in packages.glob("numpy*"):
        (site / found.name).symlink_to(found)
    (site / "warmed.py").write_text("import atexit\nvalue = 1\n")
    (site / "heavy").mkdir()
    (site / "heavy" / "__init__.py").write_text("import warmed\nvalue = 2\n")
    return root


class Outcome:
    """What a program left: both streams, its status (negative: a signal), the files, the modules."""

    def __init__(self, out: bytes, err: bytes, status: int, directory: Path, learnt: list[str]) -> None:
        self.out, self.err, self.status, self.learnt = (
            out.decode(errors="backslashreplace"),
            err.decode(),
            status,
            learnt,
        )
        self.files = {
            str(path.relative_to(directory)): path.read_bytes()
            for path in sorted(directory.rglob("*"))
            if path.is_file() and path.suffix != ".pyc"
        }

    def shown(self) -> dict[str, Any]:
        """Return what must be equal."""
        return {"out": self.out, "err": self.err, "status": self.status, "files": self.files}


class WarmInterpreter:
    """The interpreter and the connection to it; a context manager."""

    def __init__(self, environment: Path, options: tuple[str, ...] = ()) -> None:
        self.programs = environment / "bin"
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        program = PROGRAM.format(
            harness=str(HARNESS), warm=WARM, descriptor=theirs.fileno(), programs=str(self.programs)
        )
        self._process = subprocess.Popen(
            [self.programs / "python", *options, "-c", program],
            pass_fds=[theirs.fileno()],
            env={"PATH": f"{self.programs}:/usr/bin:/bin", "LANG": "C.UTF-8", "OPENBLAS_NUM_THREADS": "1"},
            stdin=subprocess.DEVNULL,
        )
        theirs.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._control.close()
        self._process.wait(10)

    def fork(
        self,
        argv: list[str],
        directory: Path,
        env: dict[str, str],
        act: Any = None,
        stdout: int | None = None,
    ) -> Outcome:
        """Execute in a fork. `act` gets the number that the program prints first."""
        out, err, learnt = os.pipe(), os.pipe(), os.pipe()
        with Path(os.devnull).open("rb") as null:
            given = [null.fileno(), out[1] if stdout is None else stdout, err[1], learnt[1]]
            message = {"argv": argv, "directory": str(directory), "env": env}
            socket.send_fds(self._control, [json.dumps(message).encode()], given)
        for pipe in (out, err, learnt):
            os.close(pipe[1])
        streams = _drain({"out": out[0], "err": err[0], "learnt": learnt[0]}, act)
        status = json.loads(self._control.recv(4096))
        names = json.loads(streams["learnt"] or b"[]")
        return Outcome(streams["out"], streams["err"], status, directory, names)

    def shell(
        self,
        argv: list[str],
        directory: Path,
        env: dict[str, str],
        act: Any = None,
        stdout: int | None = None,
    ) -> Outcome:
        """Execute as a shell does."""
        out, err = os.pipe(), os.pipe()
        process = subprocess.Popen(
            argv,
            cwd=directory,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=out[1] if stdout is None else stdout,
            stderr=err[1],
            executable=self.programs / argv[0],
        )
        os.close(out[1])
        os.close(err[1])
        streams = _drain({"out": out[0], "err": err[0]}, act)
        return Outcome(streams["out"], streams["err"], process.wait(), directory, [])


def _drain(pipes: dict[str, int], act: Any) -> dict[str, bytes]:
    found = dict.fromkeys(pipes, b"")
    with selectors.DefaultSelector() as selector:
        for name, descriptor in pipes.items():
            selector.register(descriptor, selectors.EVENT_READ, name)
        while selector.get_map():
            for key, _ in selector.select():
                data = os.read(key.fd, 1 << 16)
                found[key.data] += data
                if not data:
                    selector.unregister(key.fd)
                    os.close(key.fd)
                if act is not None and found["out"].endswith(b"\n"):
                    act(int(found["out"].split()[0]))
                    act = None
    return found
