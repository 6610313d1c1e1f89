"""Which processes serve a version, as the process table tells and not the services."""

from __future__ import annotations

from pathlib import Path

import psutil


def serving(runner: int, digest: str) -> list[int]:
    """Return the first processes of the cells below a runner that see a version's bundle.

    Args:
        runner: the runner's process.
        digest: of the version.
    """
    try:
        below = psutil.Process(runner).children(recursive=True)
    except psutil.Error:
        return []
    name = digest.removeprefix("sha256:")
    return [process.pid for process in below if _is_first(process.pid) and name in _bundle(process.pid)]


def _is_first(pid: int) -> bool:
    """Whether a process is the init of a PID namespace."""
    status = dict(line.partition(":")[::2] for line in _read(pid, "status"))
    return status.get("NSpid", "").split()[-1:] == ["1"]


def _bundle(pid: int) -> str:
    """Return what a process sees at `/bundle`, as the mount's root (proc_pid_mountinfo(5))."""
    fields = [line.split() for line in _read(pid, "mountinfo")]
    return next((field[3] for field in reversed(fields) if field[4] == "/bundle"), "")


def _read(pid: int, name: str) -> list[str]:
    try:
        return Path(f"/proc/{pid}/{name}").read_text().splitlines()
    except OSError:
        return []
