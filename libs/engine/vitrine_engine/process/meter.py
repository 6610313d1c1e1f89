"""What one sandbox uses: from its control groups, else from the processes below its launcher."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from vitrine_engine.process.cgroups import Group

TICKS = os.sysconf("SC_CLK_TCK")
WATCH_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class ProcessFacts:
    """Facts of one process: private and shared memory in bytes, CPU time, threads."""

    pid: int
    memory_bytes: int
    cpu_seconds: float
    threads: int


def children(pid: int) -> list[int]:
    """Return the processes that a process has forked and that are alive; none where it has gone."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += [int(child) for child in (task / "children").read_text().split()]
    return found


def descendants(pid: int) -> list[int]:
    """Return `pid` and all processes below it, parents first."""
    found = [pid]
    for item in found:
        found += children(item)
    return found


def facts(pid: int) -> ProcessFacts | None:
    """Return what the kernel says about a process, or None when it has gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    table = dict(line.partition(":")[::2] for line in status.splitlines())
    memory = sum(int(table[key].split()[0]) * 1024 for key in ("RssAnon", "RssShmem") if key in table)
    return ProcessFacts(pid, memory, (int(stat[11]) + int(stat[12])) / TICKS, int(table.get("Threads", "1")))


class Meter:
    """Measures a sandbox, and enforces the memory limit where no control group does.

    `roots` gives the platform's own processes in it, below which the tenant's are.
    """

    def __init__(self, roots: Callable[[], Iterable[int]], group: Group, *, memory_bytes: int) -> None:
        self._roots = roots
        self._group = group
        self._limit = memory_bytes
        self._peak = 0
        self._kills = 0
        self._closed = False
        self._watch: asyncio.Task[None] | None = None
        if group.memory_bytes() is None:
            self._watch = asyncio.get_running_loop().create_task(self._watch_memory())

    def memory_bytes(self) -> int:
        """Memory in use now."""
        used = self._group.memory_bytes()
        return sum(item.memory_bytes for item in self._facts()) if used is None else used

    def cpu_seconds(self) -> float:
        """CPU time since the start; without a control group only of processes that are alive."""
        used = self._group.cpu_seconds()
        return sum(item.cpu_seconds for item in self._facts()) if used is None else used

    def processes(self) -> int:
        """Return how many processes and threads are alive."""
        used = self._group.processes()
        return sum(item.threads for item in self._facts()) if used is None else used

    def reset_peak(self) -> None:
        """Begin a new peak."""
        self._group.reset_peak()
        self._peak = 0

    def peak_bytes(self) -> int | None:
        """Largest memory use seen since `reset_peak`."""
        return (None if self._closed else self._group.peak_bytes()) or self._peak or None

    def out_of_memory_kills(self) -> int:
        """How many processes were killed at the memory limit."""
        kills = None if self._closed else self._group.out_of_memory_kills()
        return self._kills if kills is None else kills

    def close(self) -> None:
        """Stop watching and keep the last figures: the groups are about to be removed."""
        self._kills = self.out_of_memory_kills()
        self._peak = self.peak_bytes() or 0
        self._closed = True
        if self._watch is not None:
            self._watch.cancel()

    def _facts(self, *, tenants: bool = False) -> list[ProcessFacts]:
        pids = [pid for root in self._roots() for pid in descendants(root)[1 if tenants else 0 :]]
        return [found for pid in pids if (found := facts(pid)) is not None]

    async def _watch_memory(self) -> None:
        while True:
            used = sum(item.memory_bytes for item in self._facts())
            self._peak = max(self._peak, used)
            if used > self._limit and (tenants := self._facts(tenants=True)):
                largest = max(tenants, key=lambda item: item.memory_bytes)
                self._kills += 1
                with contextlib.suppress(OSError):
                    os.kill(largest.pid, signal.SIGKILL)
            await asyncio.sleep(WATCH_SECONDS)
