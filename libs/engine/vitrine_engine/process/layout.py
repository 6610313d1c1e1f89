"""The engine's own directory on the host: what every sandbox is shown, and what passes through."""

from __future__ import annotations

import fcntl
import hashlib
import os
import py_compile
import shutil
import sys
from pathlib import Path

import vitrine_harness
import vitrine_metrics
from vitrine_engine.protocol import StartError

USERS = "root:x:0:0:root:/:/usr/sbin/nologin\nvitrine:x:1000:1000::/tmp:/bin/sh\n"
FILES = {
    "passwd": USERS,
    "group": "root:x:0:\nvitrine:x:1000:\n",
    "hosts": "127.0.0.1 localhost\n::1 localhost\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
}


class Layout:
    """Paths below a state directory; made by the constructor, locked until `close`.

    `harness` (code, shims, the metrics module), `etc`, `bare` (an environment without packages),
    `empty` (a bundle without files), `spool` (outputs on their way to a service), `learned` (which modules
    runs imported; kept for the next engine here).
    Raises `StartError` when another engine uses the directory.
    """

    def __init__(self, state_dir: Path) -> None:
        self.root = state_dir.resolve()
        self.root.mkdir(parents=True, exist_ok=True)
        self._lock = self._take_lock()
        self.tag = hashlib.sha256(os.fsencode(self.root)).hexdigest()[:10]
        self.harness = self.root / "harness"
        self.etc = self.root / "etc"
        self.bare = self.root / "bare"
        self.empty = self.root / "empty"
        self.spool = self.root / "spool"
        self.learned = self.root / "learned"
        self.learned.mkdir(exist_ok=True)
        for directory in (self.harness, self.etc, self.bare, self.empty, self.spool):
            shutil.rmtree(directory, ignore_errors=True)
            directory.mkdir()
        self._write_harness()
        self._write_bare_environment()
        for name, text in FILES.items():
            (self.etc / name).write_text(text)
        for path in (self.harness, self.etc, self.bare, self.empty):
            _make_readable(path)

    def close(self) -> None:
        """Remove what is no longer needed and let another engine use the directory."""
        shutil.rmtree(self.spool, ignore_errors=True)
        os.close(self._lock)

    def _take_lock(self) -> int:
        descriptor = os.open(self.root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            raise StartError(f"{self.root} is used by another engine; give each its own directory") from error
        return descriptor

    def _write_harness(self) -> None:
        source = Path(vitrine_harness.__file__).parent
        package = self.harness / "vitrine_harness"
        ignored = shutil.ignore_patterns("__pycache__", "shims")
        shutil.copytree(source, package, ignore=ignored)
        for file in package.rglob("*.py"):
            py_compile.compile(
                str(file), doraise=True, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH
            )
        shutil.copytree(source / "shims", self.harness / "shims")
        for shim in (self.harness / "shims").iterdir():
            shim.chmod(0o755)
        for name in ("python3", f"python{sys.version_info.major}.{sys.version_info.minor}"):
            (self.harness / "shims" / "forking" / name).symlink_to("python")
        (self.harness / "metrics").mkdir()
        shutil.copy(vitrine_metrics.__file__, self.harness / "metrics")

    def _write_bare_environment(self) -> None:
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        (self.bare / "bin").mkdir()
        for name in (version, "python3", "python"):
            (self.bare / "bin" / name).symlink_to(f"/opt/python/bin/{version}")
        (self.bare / "lib" / version / "site-packages").mkdir(parents=True)
        (self.bare / "pyvenv.cfg").write_text(
            "home = /opt/python/bin\ninclude-system-site-packages = false\n"
        )


def _make_readable(root: Path) -> None:
    """Let every user read, whatever the service's umask: a sandbox's user is nobody else's."""
    for path in (root, *root.rglob("*")):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | (0o555 if path.is_dir() else 0o444))
