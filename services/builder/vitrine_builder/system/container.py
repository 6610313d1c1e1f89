"""A root file system in which commands run as its root, and as nobody on the host.

Bubblewrap makes the namespaces as an ordinary user would: the root inside is one user outside, without a
capability there. Where the builder itself is root, that user is one whom nothing on the host belongs to but
these trees. A command sees its tree, `/proc`, `/dev` and what it is shown; no host file, no variable of the
service, no process of the host, and no network unless it is asked for.
"""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from vitrine_builder.failures import BuildFailure, FailureReason
from vitrine_builder.process import Bounds, Finished, run_process
from vitrine_builder.system.fakeroot import install_filter

_CAPABILITIES = (
    *("CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID"),
    *("CAP_SETFCAP", "CAP_SETUID", "CAP_SETGID", "CAP_SYS_CHROOT"),
)
_ENVIRONMENT = {
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LC_ALL": "C.UTF-8",
    "DEBIAN_FRONTEND": "noninteractive",
    "DEBCONF_NONINTERACTIVE_SEEN": "true",
    # What writes a time into a file writes this one.
    "SOURCE_DATE_EPOCH": "86400",
}
_HOST = Path("/")
_OWNER = (1 << 30) - 1
"""The host user of trees, where root has all ids to give: just below those of sandboxes."""

# As root: what only root reaches is bound where the namespace's user finds it. $0 is the user.
_REACH = """
mount -t tmpfs -o mode=755 none /mnt || exit 96
n=0
while [ "$1" != -- ]; do
  if [ -d "$1" ]; then mkdir /mnt/$n; else : >/mnt/$n; fi
  mount --bind "$1" /mnt/$n || exit 96
  n=$((n + 1)); shift
done
shift
exec setpriv --reuid "$0" --regid "$0" --clear-groups --inh-caps=-all --bounding-set=-all -- "$@"
"""
# A descriptor that keeps a lock alive is the launcher's alone: a package's script could give the lock back.
_CLOSE = 'for n in $0; do exec {n}>&-; done; exec "$@"'


def tree_owner() -> int | None:
    """Return the host user that trees belong to; None for the user that this process is."""
    if os.geteuid() != 0:
        return None
    lines = Path("/proc/self/uid_map").read_text().splitlines()
    last = max((int(line.split()[0]) + int(line.split()[2]) - 1 for line in lines), default=0)
    # In a container with few ids: the highest below the upper half, which sandboxes take.
    return _OWNER if last > _OWNER else max(1, (last + 1) // 2 - 1)


@dataclass(frozen=True)
class Folder:
    """A host folder or file that a command sees at `inside`."""

    source: Path
    inside: str
    writable: bool = True


@dataclass(frozen=True)
class Container:
    """Runs commands in trees that belong to `owner`.

    Attributes:
        owner: the host user to whom trees belong; None where it is the builder's own.
        lifeline: a descriptor that the launcher keeps open until the last process has ended.
    """

    lifeline: int | None = None
    owner: int | None = field(default_factory=tree_owner)

    async def run(
        self,
        tree: Path,
        command: Sequence[str],
        *,
        bounds: Bounds,
        folders: Sequence[Folder] = (),
        network: bool = False,
        read_only: bool = False,
        environment: Mapping[str, str] | None = None,
        stdin: bytes = b"",
        on_line: Callable[[str], None] = lambda _line: None,
    ) -> Finished:
        """Run `command` with `tree` as `/`; everything it started is gone when this returns.

        Raises:
            BuildFailure: no such container can be made on this host.
            ProcessTimeout: it took longer than `bounds` allow.
        """
        shown = [Folder(tree, "/", writable=not read_only), *folders]
        keep = () if self.lifeline is None else (self.lifeline,)
        closing = ["/bin/bash", "-c", _CLOSE, " ".join(map(str, keep)), *command]
        async with self._filter() as descriptor:
            launcher = [
                *_namespaces(network=network),
                *_variables(environment or {}),
                *self._bind(0, shown[0]),
                *("--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--tmpfs", "/run"),  # noqa: S108
                *chain.from_iterable(self._bind(n, each) for n, each in enumerate(folders, 1)),
                *(_names_of_hosts(tree) if network else ()),
                *("--seccomp", str(descriptor), "--chdir", "/", "--", *closing),
            ]
            return await run_process(
                self._reaching(shown, launcher),
                bounds=bounds,
                environment={"PATH": _ENVIRONMENT["PATH"]},
                directory=Path("/"),
                stdin=stdin,
                keep_open=(*keep, descriptor),
                on_line=on_line,
            )

    def own(self, *paths: Path) -> None:
        """Give files and folders, not what is in them, to the trees' user."""
        if self.owner is not None:
            for path in paths:
                os.chown(path, self.owner, self.owner, follow_symlinks=False)

    def _bind(self, number: int, folder: Folder) -> list[str]:
        reached = self.owner is None or folder.source == _HOST
        source = str(folder.source) if reached else f"/mnt/{number}"
        return ["--bind" if folder.writable else "--ro-bind", source, folder.inside]

    def _reaching(self, shown: Sequence[Folder], launcher: Sequence[str]) -> list[str]:
        if self.owner is None:
            return list(launcher)
        sources = [str(folder.source) for folder in shown]
        unshare = ["unshare", "--mount", "--propagation", "private"]
        return [*unshare, "sh", "-c", _REACH, str(self.owner), *sources, "--", *launcher]

    @asynccontextmanager
    async def _filter(self) -> AsyncIterator[int]:
        program = install_filter(platform.machine())
        if program is None:
            sentence = f"System packages cannot be installed on {platform.machine()}."
            raise BuildFailure(FailureReason.INTERNAL, sentence)
        reading, writing = os.pipe()
        try:
            os.write(writing, program)
            os.close(writing)
            yield reading
        finally:
            os.close(reading)


def _namespaces(*, network: bool) -> list[str]:
    found = shutil.which("bwrap")
    if found is None:
        sentence = "System packages need bubblewrap on the builder's host: apt-get install bubblewrap."
        raise BuildFailure(FailureReason.INTERNAL, sentence)
    parts = [found, "--unshare-user", "--uid", "0", "--gid", "0", "--unshare-pid", "--unshare-ipc"]
    parts += ["--unshare-uts", "--unshare-cgroup-try", "--hostname", "vitrine"]
    parts += ["--die-with-parent", "--new-session", *(() if network else ("--unshare-net",))]
    for capability in _CAPABILITIES:
        parts += ["--cap-add", capability]
    return parts


def _variables(environment: Mapping[str, str]) -> list[str]:
    parts = ["--clearenv"]
    for name, value in {**_ENVIRONMENT, **environment}.items():
        parts += ["--setenv", name, value]
    return parts


def _names_of_hosts(tree: Path) -> list[str]:
    """Show what names are looked up with; both files exist in every base."""
    parts = []
    for file in ("/etc/resolv.conf", "/etc/hosts"):
        if Path(file).exists() and tree != _HOST and (tree / file[1:]).is_file():
            parts += ["--ro-bind", file, file]
    return parts
