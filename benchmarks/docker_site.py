"""A Docker daemon with empty data and a base image in it, for one benchmark; needs root."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from docker_daemon import DockerDaemon, base_archive, why_no_daemon


@dataclass(frozen=True)
class DockerSite:
    """Where the daemon listens, what its base image is called, and its process."""

    url: str
    base_image: str
    pid: int

    def cpu_seconds(self) -> float:
        """Return the processor time of the daemon and of its children that ended."""
        times = psutil.Process(self.pid).cpu_times()
        return times.user + times.system + times.children_user + times.children_system


@contextmanager
def docker_site() -> Iterator[DockerSite]:
    """Start a daemon, import the base image, and end the daemon with all its data afterwards.

    Raises:
        SystemExit: this machine cannot run one.
    """
    if (reason := why_no_daemon()) is not None:
        sys.exit(f"no Docker daemon: {reason}")
    daemon = DockerDaemon(Path(tempfile.mkdtemp(prefix="vitrine-docker-")))
    try:
        daemon.start()
        daemon.import_base(base_archive())
        yield DockerSite(daemon.url, daemon.base_image, daemon.pid)
    finally:
        daemon.stop()
