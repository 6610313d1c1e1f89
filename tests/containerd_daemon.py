"""A containerd of its own for tests: it pulls for clusters, and for Docker daemons that keep images there."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from servers import ServerFailed, require

START_SECONDS = 30.0
CONFIG = 'version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n'


@dataclass(frozen=True)
class Containerd:
    """One daemon; needs root."""

    directory: Path

    def ctr(self, *words: str) -> str:
        """Run its command line; raises CalledProcessError."""
        command = [require("ctr"), "--address", str(self.directory / "sock"), "--namespace", "tests", *words]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout

    @contextmanager
    def mounted(self, image: str) -> Iterator[Path]:
        """Show the files of an image that was pulled."""
        place = self.directory / "shown"
        place.mkdir()
        self.ctr("images", "mount", image, str(place))
        try:
            yield place
        finally:
            self.ctr("images", "unmount", "--rm", str(place))
            place.rmdir()


@contextmanager
def containerd() -> Iterator[Containerd]:
    """Give a daemon with empty data; it ends with the block."""
    with tempfile.TemporaryDirectory(prefix="vitrine-containerd-") as folder:
        daemon = Containerd(Path(folder))
        (daemon.directory / "config.toml").write_text(CONFIG)
        places = {"config": "config.toml", "root": "root", "state": "state", "address": "sock"}
        flags = [f"--{name}={daemon.directory / place}" for name, place in places.items()]
        with (daemon.directory / "log").open("wb") as log:
            process = subprocess.Popen([require("containerd"), *flags], stdout=log, stderr=log)
        try:
            _wait(daemon, process)
            yield daemon
        finally:
            process.terminate()
            process.wait(START_SECONDS)


def _wait(daemon: Containerd, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not (daemon.directory / "sock").exists():
        if process.poll() is not None or time.monotonic() > deadline:
            raise ServerFailed((daemon.directory / "log").read_text()[-2000:])
        time.sleep(0.02)
