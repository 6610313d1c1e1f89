"""What one container uses: from its control groups where this host shows them, else from the daemon."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vitrine_engine.process.cgroups import CONTROLLERS, Group, mounts
from vitrine_engine.protocol import Usage

NOTHING = Usage(memory_bytes=0, cpu_seconds=0.0, processes=0, disk_bytes=0)


class Figures:
    """Measures of one container, kept after its end. `group` is None where only the daemon can measure."""

    def __init__(self, group: Group | None) -> None:
        self._group = group
        self._peak = 0
        self._kills = 0

    @property
    def is_local(self) -> bool:
        """Whether the control groups can be read here."""
        return self._group is not None

    def usage(self) -> Usage:
        """Measure by the control groups; zeros where they cannot be read or are gone."""
        group = self._group
        if group is None:
            return NOTHING
        return Usage(
            memory_bytes=group.memory_bytes() or 0,
            cpu_seconds=group.cpu_seconds() or 0.0,
            processes=group.processes() or 0,
            disk_bytes=0,
        )

    def reset_peak(self) -> None:
        """Begin a new peak."""
        self._peak = 0
        if self._group is not None:
            self._group.reset_peak()

    def peak_bytes(self) -> int | None:
        """Largest memory use seen since `reset_peak`."""
        self._look()
        return self._peak or None

    def out_of_memory_kills(self) -> int:
        """How many processes were killed at the memory limit."""
        self._look()
        return self._kills

    def note(self, stats: Mapping[str, Any]) -> Usage:
        """Take figures of the daemon (`GET /containers/{id}/stats`) and return them."""
        memory = stats.get("memory_stats") or {}
        table = memory.get("stats") or {}
        cache = table.get("total_inactive_file", table.get("inactive_file", 0))
        used = max(0, int(memory.get("usage", 0)) - int(cache))
        self._peak = max(self._peak, int(memory.get("max_usage", 0)), used)
        nanoseconds = int((stats.get("cpu_stats") or {}).get("cpu_usage", {}).get("total_usage", 0))
        processes = int((stats.get("pids_stats") or {}).get("current", 0))
        return Usage(memory_bytes=used, cpu_seconds=nanoseconds / 1e9, processes=processes, disk_bytes=0)

    def note_end(self, *, out_of_memory: bool) -> None:
        """Take the daemon's word that the container met its memory limit, which the groups may not tell."""
        self._look()
        if out_of_memory and not self._kills:
            self._kills = 1

    def _look(self) -> None:
        if self._group is not None:
            self._peak = max(self._peak, self._group.peak_bytes() or 0)
            self._kills = max(self._kills, self._group.out_of_memory_kills() or 0)


def local_group(container: str, pid: int) -> Group | None:
    """Return the control groups of a container whose first process is `pid`, if they are in sight.

    A daemon elsewhere, or another PID namespace, may mean something else by `pid`: only a process that says
    that it is in a group of this container's counts.
    """
    try:
        memberships = Path(f"/proc/{pid}/cgroup").read_text()
        found = mounts(Path("/proc/self/mountinfo").read_text(), memberships)
    except OSError:
        return None
    homes = [item for item in found if container in str(item.home) and item.home.is_dir()]
    first = {name: item.home for item in homes if item.version == 1 for name in item.controllers}
    if first:
        return Group(1, first)
    second = next((item.home for item in homes if item.version == 2), None)
    return None if second is None else Group(2, dict.fromkeys(CONTROLLERS, second))


def local_process(container: str, pid: int) -> int | None:
    """Return a descriptor of the container's first process, if it is in sight; close it."""
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        return None
    try:
        if container in Path(f"/proc/{pid}/cgroup").read_text():
            signal.pidfd_send_signal(descriptor, 0)
            return descriptor
    except OSError:
        pass
    os.close(descriptor)
    return None
