"""Starting a zygote: what the supervisor does before an author's packages are imported for the first time.

Importing is executing an author's code. So the zygote has no capability, a filter of system calls, no sight
of bundles and a `/tmp` of its own before it becomes the environment's interpreter; and before its first
fork enters a cell, its view of processes is taken away, in which cells would be seen.
"""

from __future__ import annotations

import os

from vitrine_harness import seccomp, system
from vitrine_harness.cell import SHARED
from vitrine_harness.workspace import PLAIN, base_environment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

BOOT = (
    "import sys; sys.path.insert(0, '/vitrine/harness'); "
    "from vitrine_harness.zygote import main; main({}, sys.argv[1:])"
)
PYTHON = "/env/bin/python"
SCRATCH = "size=64m,nr_inodes=4096,mode=1777"
CONTROL = 3


def start(control: int, modules: list[str], setup: dict[str, Any]) -> int:
    """Start the zygote, which imports `modules` and serves the socket `control`; return its process."""
    child = os.fork()
    if child == 0:
        try:
            system.die_with_parent()
            _confine(setup)
            _silence()
            os.dup2(control, CONTROL, inheritable=True)
            system.close_descriptors({CONTROL})
            env = {**base_environment(1, setup["library_path"]), "PYTHONDONTWRITEBYTECODE": "1"}
            os.setsid()
            os.chdir("/")
            os.execve(PYTHON, [PYTHON, "-c", BOOT.format(CONTROL), *modules], env)
        finally:
            os._exit(1)
    return child


def _confine(setup: dict[str, Any]) -> None:
    system.unshare(system.CLONE_NEWNS)
    system.mount("none", "/", None, system.MS_REC | system.MS_PRIVATE)
    system.mount("tmpfs", "/tmp", "tmpfs", PLAIN, SCRATCH)
    if setup["shared"]:
        system.cover(SHARED)
    system.drop_privileges()
    program = seccomp.zygote_filter(system.machine())
    if program is not None:
        system.install_filter(program)


def _silence() -> None:
    # What all forks inherit must be no channel between them; a pipe can be opened again from its other end.
    null = os.open("/dev/null", os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)


def blind(zygote: int) -> bool:
    """Take `/proc` from a zygote; return whether it is gone."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            namespace = os.open(f"/proc/{zygote}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
            system.enter(namespace, system.CLONE_NEWNS)
            system.cover("/proc")
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    return status == 0
