"""Looking at a zygote's fork from outside, before it is given anything of a tenant.

A zygote has executed an author's packages, which may have changed whatever the harness does in it:
`os.fork`, the closing of descriptors, the giving up of capabilities. Its forks would then share a channel
with one another, or with the zygote, by which the inputs of one run reach another. So nothing that they say
counts: the kernel says what they are (proc(5)).
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from vitrine_engine.process.meter import children
from vitrine_harness.cell import KINDS

NULL = os.makedev(1, 3)
"""The device `/dev/null`."""
Identity = tuple[int, int]
"""Device and inode of what is behind a descriptor."""
READ_ONLY = ("/env/", "/usr/", "/opt/", "/lib/", "/lib64/", "/bin/", "/vitrine/harness/")
"""What sandboxes see of the host and nobody in one can write."""
CAPABILITIES = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
FILTERED = "2"
"""`Seccomp` of a process with a filter."""


class UntrustedError(Exception):
    """A process is not what it must be; the message says in what."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What a fork must be."""

    parent: int
    """The zygote's process."""
    namespaces: dict[str, str]
    """Of the cell, by name, as `/proc/PID/ns` shows them."""
    held: frozenset[Identity]
    """What it was handed."""
    filtered: bool
    """Whether system calls are filtered on this machine."""


def namespaces(pid: int) -> dict[str, str]:
    """Return the namespaces of a process and its children to come; raises `UntrustedError` without it."""
    try:
        return {name: str(Path(f"/proc/{pid}/ns/{_entry(name)}").readlink()) for name in KINDS}
    except OSError as error:
        raise UntrustedError(f"process {pid} has gone") from error


def _entry(name: str) -> str:
    return "pid_for_children" if name == "pid" else name


def identities(descriptors: Iterable[int]) -> frozenset[Identity]:
    """Return what is behind descriptors."""
    return frozenset(_identity(os.fstat(descriptor)) for descriptor in descriptors)


def _identity(found: os.stat_result) -> Identity:
    return (found.st_dev, found.st_ino)


def check_child(pid: int, parent: int) -> None:
    """Raise `UntrustedError` unless a process was forked by `parent`."""
    try:
        if int(_status(pid)["PPid"]) != parent:
            raise UntrustedError("the fork is not the zygote's child")
    except (OSError, KeyError, ValueError) as error:
        raise UntrustedError(f"the fork cannot be looked at: {error}") from error


def check_waiting(pid: int, expected: Expected) -> None:
    """Raise `UntrustedError` unless a new fork is alone, and holds only what it was handed."""
    check_child(pid, expected.parent)
    try:
        status = _status(pid)
        if status["Threads"] != "1":
            raise UntrustedError("the fork has threads")
        if children(pid):
            raise UntrustedError("the fork has children")
        check_place(pid)
        check_descriptors(pid, expected.held)
        _check_memory(pid)
    except (OSError, KeyError, ValueError) as error:
        raise UntrustedError(f"the fork cannot be looked at: {error}") from error


def check_placed(pid: int, expected: Expected) -> None:
    """Raise `UntrustedError` unless a fork is in its cell for good, powerless, and as it must be besides."""
    check_waiting(pid, expected)
    try:
        status = _status(pid)
        if any(int(status[name], 16) for name in CAPABILITIES) or status["NoNewPrivs"] != "1":
            raise UntrustedError("the fork has kept capabilities")
        if status["Seccomp"] != FILTERED and expected.filtered:
            raise UntrustedError("the fork has no filter of system calls")
        if namespaces(pid) != expected.namespaces:
            raise UntrustedError("the fork is not in its cell")
    except (OSError, KeyError, ValueError) as error:
        raise UntrustedError(f"the fork cannot be looked at: {error}") from error


def check_place(pid: int) -> None:
    """Raise `UntrustedError` for a process whose root or working directory is not `/`."""
    if {str(Path(f"/proc/{pid}/{name}").readlink()) for name in ("root", "cwd")} != {"/"}:
        raise UntrustedError("a process holds a directory")


def check_descriptors(pid: int, allowed: Collection[Identity]) -> None:
    """Raise `UntrustedError` for a process that holds anything but what is allowed, and `/dev/null`."""
    for entry in os.listdir(f"/proc/{pid}/fd"):  # noqa: PTH208 - names are all that is wanted
        path = Path(f"/proc/{pid}/fd/{entry}")
        try:
            found = path.stat()
        except FileNotFoundError:
            continue
        if found.st_rdev != NULL and _identity(found) not in allowed:
            raise UntrustedError(f"a process holds {path.readlink()}")


def _check_memory(pid: int) -> None:
    """Refuse memory that others may share: what the zygote mapped so, all of its forks would write to."""
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        fields = line.split(maxsplit=5)
        if fields[1][3] == "s":
            name = fields[5] if len(fields) > 5 else ""
            if "w" in fields[1] or not name.startswith(READ_ONLY):
                raise UntrustedError(f"the fork shares memory ({name or 'anonymous'})")


def is_stopped(pid: int) -> bool:
    """Whether a process stands still; raises `OSError`."""
    return _status(pid)["State"].startswith("T")


def threads(pid: int) -> int:
    """Return how many threads a process has; raises `OSError`."""
    return int(_status(pid)["Threads"])


def _status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
