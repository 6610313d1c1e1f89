"""The private file system of one run, made in its own mount namespace."""

from __future__ import annotations

import os

from vitrine_harness import system
from vitrine_harness.cell import BUNDLE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

WORK, SCRATCH, CHANNELS = "/work", "/vitrine/scratch", "/vitrine/run"
METRICS = f"{CHANNELS}/metrics"
PLAIN = system.MS_NOSUID | system.MS_NODEV
INODE_BYTES = 4096
"""A tmpfs gets one inode per this many bytes: tiny files must not exhaust kernel memory."""


class Workspace:
    """`/work`, `/tmp`, `/dev/shm`, `/proc` and `/vitrine/run` of one cell.

    Unless `/work` is `wanted`, the bundle is not copied there where it cannot be shown.
    """

    def __init__(self, disk_bytes: int, *, overlay: bool, wanted: bool = True) -> None:
        system.mount("none", "/", None, system.MS_REC | system.MS_PRIVATE)
        system.mount("proc", "/proc", "proc", PLAIN | system.MS_NOEXEC)
        options = f"size={disk_bytes},nr_inodes={max(1024, disk_bytes // INODE_BYTES)},mode=0755"
        system.mount("tmpfs", "/tmp", "tmpfs", PLAIN, options.replace("0755", "1777"))
        system.mount("tmpfs", "/dev/shm", "tmpfs", PLAIN, options.replace("0755", "1777"))
        system.mount("tmpfs", CHANNELS, "tmpfs", PLAIN, "size=64k,mode=0755")
        os.mkfifo(METRICS, 0o600)
        self._upper: int | None = None
        self._known: dict[str, tuple[int, ...]] = {}
        self.mode = "none"
        if wanted or overlay:
            self.mode = "overlay" if overlay and self._overlay(options) else self._copy(options)

    def _overlay(self, options: str) -> bool:
        system.mount("tmpfs", SCRATCH, "tmpfs", PLAIN, options)
        os.mkdir(f"{SCRATCH}/upper")
        os.mkdir(f"{SCRATCH}/work")
        layers = f"lowerdir={BUNDLE},upperdir={SCRATCH}/upper,workdir={SCRATCH}/work,userxattr"
        try:
            system.mount("overlay", WORK, "overlay", PLAIN, layers)
        except OSError:
            system.detach(SCRATCH)
            return False
        self._upper = os.open(f"{SCRATCH}/upper", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        # The overlay holds the layer by itself; a tenant should not meet it a second time.
        system.detach(SCRATCH)
        return True

    def _copy(self, options: str) -> str:
        system.mount("tmpfs", WORK, "tmpfs", PLAIN, options)
        return self._copy_bundle()

    def _copy_bundle(self) -> str:
        import shutil

        shutil.copytree(BUNDLE, WORK, symlinks=True, dirs_exist_ok=True)
        for directory, _, names in os.walk(WORK):
            for name in names:
                self.remember(os.path.relpath(os.path.join(directory, name), WORK))
        return "copy"

    def remember(self, path: str) -> None:
        """Note a file as it is now: it counts as the run's own only once it is changed."""
        self._known[path] = _identity(os.lstat(os.path.join(WORK, path)))

    def is_changed(self, path: str, found: os.stat_result) -> bool:
        """Whether the run wrote or changed the file at `path` (relative to `/work`)."""
        known = self._known.get(path)
        if known is not None:
            return _identity(found) != known
        if self._upper is None:
            return True
        try:
            os.stat(path, dir_fd=self._upper, follow_symlinks=False)
        except OSError:
            return False
        return True

    def used_bytes(self) -> int:
        """Bytes that the run's file systems hold."""
        found = [os.statvfs(path) for path in (WORK, "/tmp", "/dev/shm")]
        return sum((item.f_blocks - item.f_bfree) * item.f_frsize for item in found)

    def is_full(self) -> bool:
        """Whether a write of one more page would fail."""
        found = [os.statvfs(path) for path in (WORK, "/tmp")]
        return any(item.f_bfree == 0 or item.f_ffree == 0 for item in found)


class ContainerWorkspace(Workspace):
    """The same in a container, whose runtime has made the mounts: what is left is to fill them."""

    def __init__(self) -> None:
        os.mkfifo(METRICS, 0o600)
        self._upper = None
        self._known = {}
        self.mode = self._copy_bundle()


def _identity(found: os.stat_result) -> tuple[int, ...]:
    return (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def environment(setup: dict[str, Any], request: dict[str, Any]) -> dict[str, str]:
    """Return the environment variables of a run: the platform's, the sandbox's, the request's, the inputs."""
    variables = base_environment(setup["threads"], setup["library_path"])
    return {**variables, "VITRINE_METRICS": METRICS, **setup["env"], **request["env"]}


def base_environment(threads: int, library_path: str) -> dict[str, str]:
    """Return the environment variables that every process of a tenant has."""
    variables = {
        "PATH": "/vitrine/harness/shims:/env/bin:/opt/python/bin:/usr/local/bin:/usr/bin:/bin",
        "HOME": "/tmp",
        "TMPDIR": "/tmp",
        "USER": "vitrine",
        "LOGNAME": "vitrine",
        "LANG": "C.UTF-8",
        "SHELL": "/bin/sh",
        "VIRTUAL_ENV": "/env",
        "PYTHONPATH": "/vitrine/harness/metrics",
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "VITRINE_BUNDLE": BUNDLE,
    }
    for name in ("OMP", "MKL", "OPENBLAS", "NUMEXPR"):
        variables[f"{name}_NUM_THREADS"] = str(threads)
    if library_path:
        variables["LD_LIBRARY_PATH"] = library_path
    return variables
