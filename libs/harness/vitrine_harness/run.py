"""What the init of a cell serves: one run of a script from first mount to last output, or one loaded model.

Messages on the run's stream. From the engine: `start` (the request), then per input file `file` and
`data` frames, then `go`; `cancel` at any time after. To the engine: `started`, then `log`, `metric`,
`progress`, `disk` and checkpoint files; `exited`; output files; `end` last. A file is `file`, its `data`
frames, and `file_end`, whose `whole` says whether it stayed unchanged while it was read.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
from collections.abc import Callable, Sequence
from selectors import BaseSelector

from vitrine_harness import command_line, forked, outputs, seccomp, serving, system
from vitrine_harness.cell import Gate
from vitrine_harness.forked import Fork
from vitrine_harness.frames import CHUNK, Channel, FrameError
from vitrine_harness.program import CannotExecute, Ending, Program, Started, explain, spawn
from vitrine_harness.python_service import PythonService
from vitrine_harness.workspace import WORK, Workspace, environment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any
MOST_MODULES = 200
SHIMS = "/vitrine/harness/shims/forking"
PYTHON_SOCKET = "/vitrine/run/python.sock"


class Refused(Exception):
    """The run cannot go on; `reason` is the engine's."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def serve_cell(gate: socket.socket, order: dict[str, Any], *, overlay: bool) -> None:
    """Do the run of a cell, whenever it comes; for its init."""
    door = Gate(gate)
    made: Workspace | OSError
    try:
        made = _private(order, overlay=overlay)
    except OSError as error:
        made = error  # told to the run
    door.wait_placed()
    # The engine looks at what has run the author's packages before there are inputs.
    fork = forked.ask(door) if order["python"] and not isinstance(made, OSError) else None

    def workspace() -> Workspace:
        if isinstance(made, OSError):
            raise made
        return made

    serve(Channel(door.wait_run()), order, workspace, door, fork)


def serve_model(control: socket.socket, gate: socket.socket, order: dict[str, Any], *, overlay: bool) -> None:
    """Keep the process that loads and serves a model until it ends; for the init of its cell."""
    _private(order, overlay=overlay)
    door = Gate(gate)
    door.wait_placed()
    serving.serve(control, door, order)


def _private(order: dict[str, Any], *, overlay: bool) -> Workspace:
    workspace = Workspace(order["disk_bytes"], overlay=overlay, wanted=order["work"])
    system.loopback_up()
    confine()
    system.die_with_parent()
    return workspace


def serve(
    channel: Channel,
    setup: dict[str, Any],
    make_workspace: Callable[[], Workspace],
    gate: Gate | None = None,
    fork: Fork | None = None,
) -> None:
    """Do one run in the workspace that is made for it, and report its end.

    With a `gate`, a Python program is a fork of the zygote where one is to be had; `fork` is one that
    waits already.
    """
    try:
        Run(channel, setup, make_workspace(), gate, fork).serve()
    except Refused as refusal:
        channel.send(_end(refusal.reason, str(refusal)))
        # The engine may still be sending; closing now would cut it off before it reads this end.
        while channel.receive() is not None:
            pass
    except OSError as error:
        full = error.errno in {errno.ENOSPC, errno.EDQUOT}
        reason = "disk_full" if full else "platform_error"
        channel.send(_end(reason, f"the run's directory could not be made: {error}"))


def confine() -> None:
    """Give up all capabilities, hide from the tenant, and filter system calls, for good."""
    system.drop_privileges()
    system.hide()
    filter_calls()


def filter_calls() -> None:
    """Filter the system calls of this process and its children, where the architecture has a table."""
    program = seccomp.tenant_filter(system.machine())
    if program is not None:
        system.install_filter(program)


def _end(reason: str | None, message: str, *, truncated: bool = False) -> dict[str, Any]:
    return {"is": "end", "reason": reason, "message": message[:2000], "truncated": truncated}


class Run:
    """Inputs in, program, outputs out."""

    def __init__(
        self,
        channel: Channel,
        setup: dict[str, Any],
        workspace: Workspace,
        gate: Gate | None,
        ready: Fork | None,
    ) -> None:
        self.channel = channel
        self.setup = setup
        self.workspace = workspace
        self.gate = gate
        self.ready = ready
        self.request: dict[str, Any] = {}
        self.root = WORK
        self._seen: dict[str, tuple[int, ...]] = {}
        self._sent: dict[str, tuple[int, ...]] = {}
        self._called: list[Fork] = []
        """What the program called as `python`."""

    def serve(self) -> None:
        """Do the run and report its end."""
        self.request = self._next("start")
        self.root = os.path.normpath(os.path.join(WORK, self.request["workdir"]))
        os.makedirs(self.root, exist_ok=True)
        env = environment(self.setup, self.request)
        fork = self._fork_for(env)
        calls_python = self.gate is not None and self.setup["forks"] and fork is None
        if calls_python:
            env["PATH"] = f"{SHIMS}:{env['PATH']}"
        self._receive_files()
        self.channel.send({"is": "started", "work": self.workspace.mode})

        def begin() -> Started:
            if fork is None:
                return spawn(self.request["argv"], self.root, env, self.setup["processes"])
            fork.begin(self._call(self.request["argv"], self.root, env))
            return fork.started()

        program = Program(self.channel, self.request, self._tick)
        try:
            ending = program.execute(begin, self._serve_python if calls_python else None)
        except CannotExecute as error:
            raise Refused("user_error", str(error)) from None
        self._tell_imports([one.report() for one in (fork, *self._called) if one is not None])
        full = self.workspace.is_full()
        self.channel.send({"is": "exited", "code": ending.code})
        if ending.reason != "cancelled":
            self._send_checkpoints(final=True)
        reason, message = self._judge(ending, full=full)
        if reason is None:
            reason, message = self._send_outputs()
        self.channel.send(_end(reason, message, truncated=ending.truncated))

    def _fork_for(self, env: dict[str, str]) -> Fork | None:
        """Return a fork of the zygote for the command, if it is one that a fork can do."""
        if self.gate is None or not self.setup["forks"]:
            return None
        if command_line.parse(self.request["argv"], env) is not None:
            # Before the inputs arrive: the engine looks at what has run the author's packages.
            return self.ready or forked.ask(self.gate)
        if self.ready is not None:
            self.ready.discard()
        return None

    def _judge(self, ending: Ending, *, full: bool) -> tuple[str | None, str]:
        if ending.reason == "timeout":
            return "timeout", f"the run took longer than {self.request['wall_seconds']:g} s"
        if ending.reason is not None:
            return ending.reason, "the run was cancelled"
        if ending.code == 0:
            return None, ""
        message = explain(ending)
        if full or b"No space left on device" in ending.tails["stderr"]:
            return "disk_full", f"the disk of {self.setup['disk_bytes']} bytes is full: {message}"
        if message.startswith("MemoryError") or "MemoryError:" in message.split(" ", 1)[0]:
            return "out_of_memory", message
        return "user_error", message

    def _serve_python(self, selector: BaseSelector) -> PythonService:
        """Answer the `python` of a program that is something else, such as a shell script."""

        def fork(
            call: command_line.PythonCall, directory: str, env: dict[str, str], streams: tuple[int, int, int]
        ) -> Fork | None:
            assert self.gate is not None
            found = forked.ask(self.gate, dict(zip(("stdin", "stdout", "stderr"), streams, strict=True)))
            if found is not None:
                found.begin(self._call(call.argv, directory, env))
                self._called.append(found)
            return found

        return PythonService(PYTHON_SOCKET, selector, fork)

    def _call(self, argv: Sequence[str], directory: str, env: dict[str, str]) -> dict[str, Any]:
        return {
            "kind": "python",
            "argv": list(argv),
            "directory": directory,
            "env": env,
            "threads": self.setup["threads"],
            "processes": self.setup["processes"],
        }

    def _tell_imports(self, reports: list[bytes]) -> None:
        names: dict[str, None] = {}
        for report in reports:
            with contextlib.suppress(ValueError, TypeError, RecursionError):
                names |= dict.fromkeys(json.loads(report or b"[]"))
        if names:
            self.channel.send({"is": "imported", "modules": list(names)[:MOST_MODULES]})

    # inputs

    def _next(self, expected: str) -> dict[str, Any]:
        header, _ = self._frame()
        if header.get("do") != expected:
            raise Refused("platform_error", f"the engine sent {header.get('do')} instead of {expected}")
        return header

    def _frame(self) -> tuple[dict[str, Any], bytes]:
        frame = self.channel.receive()
        if frame is None:
            raise Refused("cancelled", "the engine has gone")
        if frame[0].get("do") == "cancel":
            raise Refused("cancelled", "the run was cancelled")
        return frame

    def _receive_files(self) -> None:
        header, _ = self._frame()
        while header["do"] == "file":
            self._receive_file(header)
            header, _ = self._frame()

    def _receive_file(self, header: dict[str, Any]) -> None:
        path = os.path.join(self.root, header["path"])
        left = int(header["size"])
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            if os.path.lexists(path):
                os.unlink(path)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            with open(os.open(path, flags, 0o644), "wb") as file:
                while left > 0:
                    _, data = self._frame()
                    left -= file.write(data)
        except OSError as error:
            reason = "disk_full" if error.errno == errno.ENOSPC else "input_invalid"
            text = f"input {header['name']} cannot be written to {header['path']}: {error.strerror}"
            raise Refused(reason, text) from error
        self.workspace.remember(os.path.relpath(path, WORK))

    # while it runs

    def _tick(self) -> None:
        self.channel.send({"is": "disk", "bytes": self.workspace.used_bytes()})
        self._send_checkpoints(final=False)

    def _send_checkpoints(self, *, final: bool) -> None:
        """Send matching files whose content has not changed since the last look, or any at the end."""
        patterns = [(pattern, "") for pattern in self.request["checkpoints"]]
        if not patterns:
            return
        for found in outputs.find(self.root, patterns, self._is_changed):
            settled = final or self._seen.get(found.name) == found.version
            self._seen[found.name] = found.version
            small_enough = found.status.st_size <= self.request["output_bytes"]
            if settled and small_enough and self._sent.get(found.name) != found.version:
                self._send_file(found, "checkpoint")
                self._sent[found.name] = found.version

    # outputs

    def _is_changed(self, path: str, status: os.stat_result) -> bool:
        inside = os.path.relpath(os.path.join(self.root, path), WORK)
        return self.workspace.is_changed(inside, status)

    def _send_outputs(self) -> tuple[str | None, str]:
        """Send what the request asks for; return the reason and message of a failure."""
        specs = self.request["outputs"]
        patterns = [(spec["pattern"], spec["name"]) for spec in specs]
        found = outputs.find(self.root, patterns, self._is_changed)
        if len(found) > outputs.MAX_FILES:
            return "output_too_large", f"the outputs are {len(found)} files, more than {outputs.MAX_FILES}"
        total, most = sum(item.status.st_size for item in found), self.request["output_bytes"]
        if total > most:
            return "output_too_large", f"the outputs have {total} bytes, more than {most}"
        for item in found:
            self._send_file(item, "output")
        for spec in specs:
            matcher = outputs.expression(spec["pattern"])
            if spec["required"] and not any(matcher.match(item.name) for item in found):
                return "user_error", f"the program ended but wrote no file that matches {spec['pattern']}"
        return None, ""

    def _send_file(self, found: outputs.Found, kind: str) -> None:
        try:
            descriptor = outputs.open_file(self.root, found)
        except OSError:
            return
        with open(descriptor, "rb", buffering=0) as file:
            size = os.fstat(descriptor).st_size
            names = list(found.outputs)
            self.channel.send(
                {"is": "file", "kind": kind, "name": found.name, "size": size, "outputs": names}
            )
            left = size
            while left > 0:
                data = file.read(min(CHUNK, left))
                if not data:
                    break
                left -= len(data)
                self.channel.send({"is": "data"}, data)
            now = os.fstat(descriptor)
            whole = left == 0 and (now.st_size, now.st_mtime_ns) == (size, found.status.st_mtime_ns)
            self.channel.send({"is": "file_end", "whole": whole})


__all__ = ["FrameError", "Refused", "confine", "filter_calls", "serve", "serve_cell", "serve_model"]
