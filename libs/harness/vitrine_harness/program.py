"""Executing a tenant's command line and carrying what it prints to the engine."""

from __future__ import annotations

import os
import resource
import selectors
import signal
import time
from collections.abc import Callable

from vitrine_harness import metric_lines, system
from vitrine_harness.frames import Channel
from vitrine_harness.workspace import METRICS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from vitrine_harness.python_service import PythonService

READ = 64 * 1024
TAIL = 4096
TICK_SECONDS = 1.0
OPEN_FILES = 4096
KILL_ROUNDS = 1000


class CannotExecute(Exception):
    """The command is not there or is no program."""


class Ending:
    """How the program ended: `code` is its status (128 + signal), `reason` why it was stopped, if it was."""

    def __init__(self) -> None:
        self.code: int | None = None
        self.reason: str | None = None
        self.tails = {"stdout": b"", "stderr": b""}
        self.truncated = False


class Started:
    """A program that was begun: the read ends of its streams, and how its end is told.

    `pid` is its process where it is a child; else its wait status comes through the descriptor `status`.
    """

    def __init__(self, stdout: int, stderr: int, *, pid: int = -1, status: int | None = None) -> None:
        self.stdout = stdout
        self.stderr = stderr
        self.pid = pid
        self.status = status


class Program:
    """One command line, from its begin until nothing is left; for the init of a PID namespace only."""

    def __init__(self, channel: Channel, request: dict[str, Any], on_tick: Callable[[], None]) -> None:
        self.channel = channel
        self.request = request
        self.on_tick = on_tick
        self.ending = Ending()
        self._log_left = int(request["log_bytes"])
        self._reports_left = metric_lines.MAX_EVENTS
        self._lines = {"stdout": metric_lines.Lines(), "metrics": metric_lines.Lines()}
        self._pid = -1
        self._status: int | None = None

    def execute(
        self,
        begin: Callable[[], Started],
        serve: Callable[[selectors.BaseSelector], PythonService] | None = None,
    ) -> Ending:
        """Begin the program and see it through to its end; raises `CannotExecute`.

        `serve` makes what answers the `python` that the program may call.
        """
        wake, waker = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
        reports = os.open(METRICS, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        with selectors.DefaultSelector() as selector:
            service = serve(selector) if serve is not None else None
            started = begin()
            self._pid = started.pid
            streams = ((started.stdout, "stdout"), (started.stderr, "stderr"), (reports, "metrics"))
            deadline = time.monotonic() + float(self.request["wall_seconds"])
            for descriptor, name in streams:
                os.set_blocking(descriptor, False)
                selector.register(descriptor, selectors.EVENT_READ, name)
            if started.status is not None:
                selector.register(started.status, selectors.EVENT_READ, "status")
            selector.register(wake, selectors.EVENT_READ, "child")
            selector.register(self.channel.socket, selectors.EVENT_READ, "engine")
            self._pump(selector, deadline)
            if service is not None:
                service.close()
        self._kill_all()
        for descriptor, name in streams:
            while self._carry(descriptor, name):
                pass
        if self._status is not None:
            code = os.waitstatus_to_exitcode(self._status)
            self.ending.code = code if code >= 0 else 128 - code
        return self.ending

    def _pump(self, selector: selectors.BaseSelector, deadline: float) -> None:
        tick = time.monotonic() + TICK_SECONDS
        while self._status is None and self.ending.reason is None:
            now = time.monotonic()
            if now >= deadline:
                self.ending.reason = "timeout"
            elif now >= tick:
                self.on_tick()
                tick = time.monotonic() + TICK_SECONDS
            else:
                for key, _ in selector.select(min(deadline, tick) - now):
                    self._handle(key, selector)

    def _handle(self, key: selectors.SelectorKey, selector: selectors.BaseSelector) -> None:
        if key.data == "child":
            os.read(key.fd, 4096)
            self._reap()
        elif key.data == "status":
            told = os.read(key.fd, 4)
            # Whoever waits for a forked program says nothing only if it was killed itself.
            self._status = int.from_bytes(told, "little") if len(told) == 4 else signal.SIGKILL
        elif key.data == "engine":
            # The engine's only word now is to stop; so is its disappearance.
            self.channel.receive()
            self.ending.reason = "cancelled"
        elif callable(key.data):
            key.data()
        elif self._carry(key.fd, key.data) == b"":
            selector.unregister(key.fd)

    def _carry(self, descriptor: int, name: str) -> bytes | None:
        """Move what can be read and return it: empty at the end of the stream, None when there is nothing."""
        try:
            data = os.read(descriptor, READ)
        except BlockingIOError:
            return None
        if not data:
            return data
        if name != "metrics":
            self._log(name, data)
        if name == "metrics" or (name == "stdout" and self.request["metrics"]):
            self._report(self._lines[name].feed(data))
        return data

    def _log(self, name: str, data: bytes) -> None:
        tails = self.ending.tails
        tails[name] = (tails[name] + data[-TAIL:])[-TAIL:]
        kept = data[: self._log_left]
        if len(kept) < len(data):
            self.ending.truncated = True
        if kept:
            self._log_left -= len(kept)
            self.channel.send({"is": "log", "stream": name}, kept)

    def _report(self, lines: list[bytes]) -> None:
        for line in lines:
            header = metric_lines.parse(line)
            if header is not None and self._reports_left > 0:
                self._reports_left -= 1
                self.channel.send(header)

    def _reap(self, flags: int = os.WNOHANG) -> bool:
        """Collect dead processes; return whether any child is left."""
        try:
            while True:
                pid, status = os.waitpid(-1, flags)
                if pid == 0:
                    return True
                if pid == self._pid:
                    self._status = status
        except ChildProcessError:
            return False

    def _kill_all(self) -> None:
        """Kill every process of the namespace but this one; forks cannot outrun it (kill(2), pid -1)."""
        for _ in range(KILL_ROUNDS):
            try:
                os.kill(-1, signal.SIGKILL)
            except ProcessLookupError:
                break
            if not self._reap():
                # What is left is no child of this process: whoever forked it reaps it in a moment.
                time.sleep(0.001)
        while self._reap():
            time.sleep(0.001)


def spawn(argv: list[str], directory: str, env: dict[str, str], processes: int | None) -> Started:
    """Start a program as a child; raises `CannotExecute`."""
    stdout, stderr, failure = (os.pipe2(os.O_CLOEXEC) for _ in range(3))
    pid = os.fork()
    if pid == 0:
        try:
            os.dup2(stdout[1], 1)
            os.dup2(stderr[1], 2)
            os.dup2(failure[1], 3, inheritable=False)
            system.close_descriptors({3})
            settle(processes)
            os.chdir(directory)
            os.execvpe(argv[0], argv, env)
        except OSError as error:
            os.write(3, (error.strerror or "cannot be executed").encode())
        finally:
            os._exit(127)
    for _, writer in (stdout, stderr, failure):
        os.close(writer)
    with open(failure[0], "rb") as stream:
        problem = stream.read()
    if problem:
        raise CannotExecute(f"`{argv[0]}` cannot be started: {problem.decode()}")
    return Started(stdout[0], stderr[0], pid=pid)


def settle(processes: int | None) -> None:
    """Become what a tenant's program finds itself as: session, standard input, signals, limits."""
    null = os.open("/dev/null", os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.setsid()
    for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    system.prctl(system.PR_SET_DUMPABLE, 1)
    # Out of memory, the kernel shall take the tenant's processes before the harness.
    system.write("/proc/self/oom_score_adj", "1000")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = OPEN_FILES if most == resource.RLIM_INFINITY else min(OPEN_FILES, most)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    if processes is not None:
        resource.setrlimit(resource.RLIMIT_NPROC, (processes, processes))


def explain(ending: Ending) -> str:
    """Return one line for people: the signal that ended the program, and the last that it said."""
    said = _last_line(ending)
    code = ending.code or 0
    if code - 128 in set(signal.Signals):
        ended = f"the program was ended by {signal.Signals(code - 128).name}"
        return f"{ended}; the last it said: {said}" if said else ended
    return said or f"the program ended with status {code} and printed nothing"


def _last_line(ending: Ending) -> str:
    for name in ("stderr", "stdout"):
        lines = [line.strip() for line in ending.tails[name].decode(errors="replace").splitlines()]
        said = [line for line in lines if line]
        if said:
            return said[-1][:500]
    return ""
