"""Limits and measures by control groups, version 1 or 2, where this process may make them.

A sandbox gets one group per available controller, below the group that the service itself is in, so that
the operator's limits on the service still hold. Names begin with a tag of the engine's state directory:
what a killed engine left is found and removed by the next one on the same directory.
Source: the kernel's admin guides `cgroup-v1/` and `cgroup-v2`.
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from vitrine_engine.process.handle import Handle

PERIOD_MICROSECONDS = 100_000
CONTROLLERS = ("memory", "pids", "cpu", "cpuacct")
HARNESS_PROCESSES = 8
"""Processes of the engine and harness inside a sandbox's groups, on top of the tenant's limit."""


@dataclass(frozen=True, slots=True)
class Mount:
    """One hierarchy mounted at `point`, and the group in it that this process belongs to."""

    version: int
    controllers: frozenset[str]
    home: Path
    point: Path


def mounts(mountinfo: str, memberships: str) -> list[Mount]:
    """Parse `/proc/self/mountinfo` and `/proc/self/cgroup`."""
    own: dict[str, str] = {}
    for line in memberships.splitlines():
        _, names, path = line.split(":", 2)
        own |= dict.fromkeys(names.split(","), path)
    found = []
    for line in mountinfo.splitlines():
        fields, _, tail = line.partition(" - ")
        root, point = fields.split()[3:5]
        kind, _, options = tail.split(" ", 2)
        held = frozenset(options.split(",")) & frozenset(CONTROLLERS) if kind == "cgroup" else frozenset({""})
        group = next((own[name] for name in held if name in own), None)
        if kind in {"cgroup", "cgroup2"} and group is not None:
            found.append(
                Mount(1 if kind == "cgroup" else 2, held, _inside(Path(point), root, group), Path(point))
            )
    return found


def _inside(point: Path, root: str, path: str) -> Path:
    if root != "/" and (path == root or path.startswith(root + "/")):
        path = path[len(root) :]
    return point / path.lstrip("/")


class Group:
    """The control groups of one sandbox; measures are None where no group gives them."""

    def __init__(self, version: int, directories: dict[str, Path]) -> None:
        self.version = version
        self.directories = directories

    @property
    def entries(self) -> list[Path]:
        """Files that take the id of a process which shall join."""
        return [path / "cgroup.procs" for path in dict.fromkeys(self.directories.values())]

    def admit(self, process: Handle) -> None:
        """Let a process join, with what it forks from now on; raises `OSError`, also where it has ended."""
        for entry in self.entries:
            # Members are killed at the end: whoever has the number by then is none of ours.
            if process.has_ended:
                raise ProcessLookupError(f"process {process.pid} has ended")
            entry.write_text(str(process.pid))

    def memory_bytes(self) -> int | None:
        """Memory in use, without file contents that the kernel could drop."""
        used = self._number("memory", "memory.usage_in_bytes", "memory.current")
        return None if used is None else max(0, used - self._file_cache())

    def peak_bytes(self) -> int | None:
        """Largest memory use since `reset_peak` (version 1) or since the start (version 2)."""
        peak = self._number("memory", "memory.max_usage_in_bytes", "memory.peak")
        return None if peak is None else max(0, peak - self._file_cache())

    def reset_peak(self) -> None:
        """Begin a new peak where the kernel can."""
        if self.version == 1 and "memory" in self.directories:
            with contextlib.suppress(OSError):
                (self.directories["memory"] / "memory.max_usage_in_bytes").write_text("0")

    def out_of_memory_kills(self) -> int | None:
        """How often the kernel killed a process of the group at its memory limit."""
        if "memory" not in self.directories:
            return None
        name = "memory.oom_control" if self.version == 1 else "memory.events"
        return self._table("memory", name).get("oom_kill", 0)

    def processes(self) -> int | None:
        """Return how many processes and threads are alive, those of the harness included."""
        return self._number("pids", "pids.current", "pids.current")

    def cpu_seconds(self) -> float | None:
        """CPU time since the start."""
        if self.version == 1:
            nanoseconds = self._number("cpuacct", "cpuacct.usage", "")
            return None if nanoseconds is None else nanoseconds / 1e9
        microseconds = self._table("cpu", "cpu.stat").get("usage_usec")
        return None if microseconds is None else microseconds / 1e6

    def kill(self) -> None:
        """Send SIGKILL to every member."""
        for entry in self.entries:
            with contextlib.suppress(OSError):
                for line in entry.read_text().split():
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(int(line), signal.SIGKILL)

    def remove(self) -> bool:
        """Remove the directories; False while processes are still leaving."""
        gone = True
        for directory in dict.fromkeys(self.directories.values()):
            try:
                directory.rmdir()
            except FileNotFoundError:
                continue
            except OSError:
                gone = False
        return gone

    def _file_cache(self) -> int:
        stat = self._table("memory", "memory.stat")
        if self.version == 1:
            return stat.get("total_cache", 0) - stat.get("total_shmem", 0)
        return stat.get("file", 0) - stat.get("shmem", 0)

    def _number(self, controller: str, first: str, second: str) -> int | None:
        name = first if self.version == 1 else second
        try:
            return int((self.directories[controller] / name).read_text())
        except (KeyError, OSError, ValueError):
            return None

    def _table(self, controller: str, name: str) -> dict[str, int]:
        try:
            lines = (self.directories[controller] / name).read_text().splitlines()
        except (KeyError, OSError):
            return {}
        return {
            key: int(value) for key, _, value in (line.partition(" ") for line in lines) if value.isdigit()
        }


class Cgroups:
    """Makes groups; `controllers` says which resources they can hold on this machine."""

    def __init__(self, tag: str) -> None:
        self.prefix = f"vitrine-{tag}-"
        found = _mounted()
        self.version, self._homes = self._detect(found)
        self._sweep({item.point for item in found})

    @property
    def controllers(self) -> frozenset[str]:
        """Names of the controllers in which groups can be made."""
        return frozenset(self._homes)

    def create(self, name: str, *, memory_bytes: int, processes: int, cpus: float) -> Group:
        """Make the groups of a sandbox; raises `OSError`."""
        group = Group(self.version, {})
        try:
            for controller, home in self._homes.items():
                directory = home / f"{self.prefix}{name}"
                directory.mkdir(exist_ok=True)
                group.directories[controller] = directory
            _limit(group, memory_bytes, processes + HARNESS_PROCESSES, cpus)
        except OSError:
            group.remove()
            raise
        return group

    def _detect(self, found: list[Mount]) -> tuple[int, dict[str, Path]]:
        first = {
            name: item.home
            for item in found
            if item.version == 1
            for name in item.controllers
            if _can_make(item.home, self.prefix)
        }
        if first:
            return 1, {name: first[name] for name in CONTROLLERS if name in first}
        second = next((item.home for item in found if item.version == 2), None)
        enabled = _enable(second, self.prefix) if second is not None else frozenset()
        return 2, {name: second for name in CONTROLLERS if second is not None and name in enabled}

    def _sweep(self, points: set[Path]) -> None:
        # From the top: the killed engine may have been in another group than this one.
        for point in points:
            for directory in below(point, self.prefix):
                left = Group(self.version, {"": directory})
                deadline = time.monotonic() + 2
                left.kill()
                while not left.remove() and time.monotonic() < deadline:
                    time.sleep(0.01)


def below(point: Path, prefix: str) -> list[Path]:
    """Return the groups whose names begin with `prefix`; others may come and go meanwhile."""
    return [
        Path(parent, name) for parent, names, _ in os.walk(point) for name in names if name.startswith(prefix)
    ]


def _mounted() -> list[Mount]:
    try:
        info, own = (Path(f"/proc/self/{name}").read_text() for name in ("mountinfo", "cgroup"))
    except OSError:
        return []
    return mounts(info, own)


def _can_make(home: Path, prefix: str) -> bool:
    probe = home / f"{prefix}probe"
    try:
        probe.mkdir(exist_ok=True)
        probe.rmdir()
    except OSError:
        return False
    return True


def _enable(home: Path, prefix: str) -> frozenset[str]:
    """Delegate controllers of a version 2 group to its children; return those that are.

    Version 2 allows no processes beside groups with controllers: the service moves itself into a
    leaf of its own first, if it is alone where it is (a systemd unit with `Delegate=yes`, a container).
    """
    if not _can_make(home, prefix):
        return frozenset()
    wanted = " ".join(f"+{name}" for name in ("memory", "pids", "cpu"))
    control = home / "cgroup.subtree_control"
    try:
        control.write_text(wanted)
    except OSError as error:
        if error.errno != errno.EBUSY or not _step_aside(home):
            return frozenset()
        with contextlib.suppress(OSError):
            control.write_text(wanted)
    try:
        return frozenset(control.read_text().split()) & frozenset(CONTROLLERS)
    except OSError:
        return frozenset()


def _step_aside(home: Path) -> bool:
    try:
        if (home / "cgroup.procs").read_text().split() != [str(os.getpid())]:
            return False
        leaf = home / "vitrine-service"
        leaf.mkdir(exist_ok=True)
        (leaf / "cgroup.procs").write_text(str(os.getpid()))
    except OSError:
        return False
    return True


def _limit(group: Group, memory_bytes: int, processes: int, cpus: float) -> None:
    quota = max(1000, math.ceil(cpus * PERIOD_MICROSECONDS))
    if group.version == 1:
        values = {
            ("memory", "memory.limit_in_bytes"): memory_bytes,
            ("pids", "pids.max"): processes,
            ("cpu", "cpu.cfs_period_us"): PERIOD_MICROSECONDS,
            ("cpu", "cpu.cfs_quota_us"): quota,
        }
        optional = {
            ("memory", "memory.swappiness"): 0,
            ("memory", "memory.memsw.limit_in_bytes"): memory_bytes,
        }
    else:
        values = {("memory", "memory.max"): memory_bytes, ("pids", "pids.max"): processes}
        optional = {("memory", "memory.swap.max"): 0}
    for (controller, name), value in values.items():
        if controller in group.directories:
            (group.directories[controller] / name).write_text(str(value))
    if group.version == 2 and "cpu" in group.directories:
        (group.directories["cpu"] / "cpu.max").write_text(f"{quota} {PERIOD_MICROSECONDS}")
    for (controller, name), value in optional.items():
        with contextlib.suppress(OSError, KeyError):
            (group.directories[controller] / name).write_text(str(value))
