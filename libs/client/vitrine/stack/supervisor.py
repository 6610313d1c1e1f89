"""The loop that keeps the stack alive: start, wait until healthy, restart what dies, stop in order.

One thread, plain system calls, no event loop: this process is forked for every service.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

from vitrine.stack import logs, processes
from vitrine.stack.errors import StackError
from vitrine.stack.processes import Program
from vitrine.stack.settings import StackSettings
from vitrine.stack.state import PartState, StackState, created_at, write_state

log = logging.getLogger(__name__)

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_STARTING_TICK = 0.05
_EARLY_EXITS = 3


class StopRequested(Exception):
    """Somebody asked the stack to stop while it was starting."""


@dataclass
class Part:
    """One process that is kept alive.

    A service is healthy once it wrote its ready line; a server once `probe` says so.
    """

    name: str
    program: Program
    shown: PartState
    probe: Callable[[], bool] | None = None
    ready: int | None = None
    started: float = 0.0
    due: float | None = None
    exits: int = 0
    was_healthy: bool = False

    @property
    def healthy(self) -> bool:
        """Whether it works now, as far as is known."""
        return self.shown.state == "healthy"


@dataclass
class Supervisor:
    """Runs parts until it is asked to stop; see the module."""

    settings: StackSettings
    state: StackState
    parts: dict[str, Part] = field(default_factory=dict)
    _stopping: bool = False
    _kill_now: bool = False
    _wake: tuple[int, int] | None = None
    _looked_at_logs: float = 0.0

    @contextmanager
    def signals(self) -> Iterator[None]:
        """Take over signals and orphans for the time of the block."""
        processes.adopt_orphans()
        read, write = os.pipe()
        os.set_blocking(read, False)
        os.set_blocking(write, False)
        self._wake = (read, write)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        before = {number: signal.signal(number, self._asked_to_stop) for number in _STOP_SIGNALS}
        before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        try:
            yield
        finally:
            signal.set_wakeup_fd(-1)
            for number, handler in before.items():
                signal.signal(number, handler)
            os.close(read)
            os.close(write)
            self._wake = None

    def start(self, part: Part) -> None:
        """Add `part` and start it."""
        self.parts[part.name] = part
        self.state.parts[part.name] = part.shown
        self._start_process(part)

    def wait_healthy(self, names: Iterable[str]) -> None:
        """Block until all named parts are healthy.

        Raises StackError with the end of the log of a part that does not come up, StopRequested when asked
        to stop meanwhile.
        """
        waiting = [self.parts[name] for name in names]
        deadline = time.monotonic() + self.settings.timing.start
        while not all(part.healthy for part in waiting):
            if self._stopping:
                raise StopRequested
            for part in waiting:
                if part.exits >= _EARLY_EXITS and not part.was_healthy:
                    raise StackError(self._complaint(part, "does not stay up"))
            if time.monotonic() > deadline:
                late = next(part for part in waiting if not part.healthy)
                raise StackError(
                    self._complaint(late, f"is not ready after {self.settings.timing.start:g} s")
                )
            self.step()

    def run(self) -> None:
        """Keep the parts alive until asked to stop."""
        while not self._stopping:
            self.step()

    def step(self) -> None:
        """Wait for the next thing that happens, and deal with it."""
        self._sleep()
        self._read_ready_lines()
        self._reap()
        now = time.monotonic()
        for part in self.parts.values():
            if part.due is not None and now >= part.due:
                self._start_process(part)
            elif part.shown.state == "starting" and part.probe is not None and part.probe():
                self._became_healthy(part)
        if now - self._looked_at_logs > self.settings.timing.tick:
            self._looked_at_logs = now
            for rotated in logs.rotate(self.settings.log_dir):
                log.info("%s was rotated", rotated.name)

    def stop(self) -> None:
        """End every part, services before servers, then whatever they left behind."""
        self._stopping = True
        self._show("stopping")
        timing = self.settings.timing
        for kind, seconds in (("service", timing.stop_services), ("server", timing.stop_servers)):
            self._stop_parts([p for p in self.parts.values() if p.shown.kind == kind], seconds)
        deadline = time.monotonic() + timing.stop_servers
        while self._kill_orphans() and time.monotonic() < deadline:
            self._nap()
            self._reap()
        self._show("stopped")

    def _sleep(self) -> None:
        now = time.monotonic()
        waits = [self.settings.timing.tick]
        waits += [part.due - now for part in self.parts.values() if part.due is not None]
        if any(part.shown.state == "starting" and part.probe is not None for part in self.parts.values()):
            waits.append(_STARTING_TICK)
        descriptors = [part.ready for part in self.parts.values() if part.ready is not None]
        if self._wake is not None:
            descriptors.append(self._wake[0])
        readable, _, _ = select.select(descriptors, [], [], max(0.0, min(waits)))
        if self._wake is not None and self._wake[0] in readable:
            os.read(self._wake[0], 4096)

    def _start_process(self, part: Part) -> None:
        ready = os.pipe() if part.probe is None else None
        part.due = None
        part.started = time.monotonic()
        pid = processes.start(part.program, ready[1] if ready else None)
        if ready:
            os.close(ready[1])
            part.ready = ready[0]
        part.shown.pid, part.shown.created = pid, created_at(pid)
        part.shown.state = "starting"
        self._show()

    def _read_ready_lines(self) -> None:
        waiting = {part.ready: part for part in self.parts.values() if part.ready is not None}
        readable, _, _ = select.select(list(waiting), [], [], 0)
        for descriptor in readable:
            part = waiting[descriptor]
            said = os.read(descriptor, 256)
            self._close_ready(part)
            if said:
                self._became_healthy(part)

    def _became_healthy(self, part: Part) -> None:
        part.shown.state = "healthy"
        part.was_healthy = True
        log.info(
            "%s is healthy (process %s, %.2f s)", part.name, part.shown.pid, time.monotonic() - part.started
        )
        self._show()

    def _reap(self) -> None:
        """Collect every child that ended: parts, and orphans that were adopted from them."""
        by_pid = {part.shown.pid: part for part in self.parts.values() if part.shown.pid is not None}
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid in by_pid:
                self._ended(by_pid[pid], os.waitstatus_to_exitcode(status))

    def _ended(self, part: Part, code: int) -> None:
        """Clear up after a part that died, and plan its restart unless the stack is stopping."""
        pid = part.shown.pid
        part.shown.pid = part.shown.created = None
        self._close_ready(part)
        if pid is not None:
            processes.kill_group(pid, signal.SIGKILL)
        self._kill_orphans()
        if self._stopping:
            part.shown.state = "stopped"
            return
        timing = self.settings.timing
        lived = time.monotonic() - part.started
        part.exits = 1 if lived > timing.steady else part.exits + 1
        delay = min(timing.longest_backoff, timing.first_backoff * 2 ** (part.exits - 1))
        part.due = time.monotonic() + delay
        part.shown.state = "waiting"
        part.shown.restarts += 1
        how = signal.Signals(-code).name if code < 0 else f"status {code}"
        log.warning("%s ended with %s after %.1f s; it starts again in %.1f s", part.name, how, lived, delay)
        self._show()

    def _stop_parts(self, parts: list[Part], seconds: float) -> None:
        for part in parts:
            part.due = None
            self._close_ready(part)
            if part.shown.pid is None:
                part.shown.state = "stopped"
            else:
                os.kill(part.shown.pid, signal.SIGTERM)
        deadline = time.monotonic() + seconds
        while any(part.shown.pid is not None for part in parts):
            if self._kill_now or time.monotonic() > deadline:
                self._kill_parts(parts)
            self._nap()
            self._reap()

    def _kill_parts(self, parts: list[Part]) -> None:
        for part in parts:
            if part.shown.pid is not None:
                log.warning("%s did not stop in time and is killed", part.name)
                processes.kill_group(part.shown.pid, signal.SIGKILL)

    def _nap(self) -> None:
        descriptors = [self._wake[0]] if self._wake else []
        if select.select(descriptors, [], [], 0.1)[0] and self._wake:
            os.read(self._wake[0], 4096)

    def _kill_orphans(self) -> bool:
        """Kill adopted processes and say whether there were any.

        A service's children must not outlive it, and services do not daemonise.
        """
        orphans = processes.children() - {part.shown.pid for part in self.parts.values()}
        for pid in orphans:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        return bool(orphans)

    def _close_ready(self, part: Part) -> None:
        if part.ready is not None:
            os.close(part.ready)
            part.ready = None

    def _asked_to_stop(self, _number: int, _frame: FrameType | None) -> None:
        self._kill_now = self._stopping
        self._stopping = True

    def _show(self, state: str | None = None) -> None:
        """Write `stack.json`."""
        if state is None and self.state.state in {"healthy", "degraded"}:
            state = "healthy" if all(part.healthy for part in self.parts.values()) else "degraded"
        if state is not None:
            self.state = self.state.model_copy(update={"state": state})
        write_state(self.settings.data_dir, self.state)

    def announce_healthy(self) -> None:
        """Record that everything came up."""
        self._show("healthy")

    def _complaint(self, part: Part, what: str) -> str:
        end = logs.tail(part.program.log)
        where = f"its log, {part.program.log}, ends with:\n{end}" if end else f"its log is {part.program.log}"
        return f"{part.name} {what}; {where}"
