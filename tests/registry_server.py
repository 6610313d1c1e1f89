"""A registry of images for tests: Debian's `docker-registry` on a free port, its data below a folder."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from servers import ServerFailed, free_port, require

START_SECONDS = 30.0
USER, PASSWORD = "builder", "secret"
HTPASSWD = f"{USER}:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n"
"""As `htpasswd -nbB builder secret` prints it."""


@dataclass
class RegistryServer:
    """One registry; with `htpasswd`, its content, only those who log in may use it."""

    directory: Path
    htpasswd: str = ""
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def host(self) -> str:
        """Host and port, as a Docker daemon names it."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.directory.mkdir(parents=True, exist_ok=True)
        place = {"rootdirectory": str(self.directory / "data")}
        config: dict[str, Any] = {
            "version": 0.1,
            "storage": {"filesystem": place, "delete": {"enabled": True}},
            "http": {"addr": self.host},
            "log": {"level": "warn"},
        }
        if self.htpasswd:
            (self.directory / "htpasswd").write_text(self.htpasswd)
            config["auth"] = {"htpasswd": {"realm": "tests", "path": str(self.directory / "htpasswd")}}
        (self.directory / "config.json").write_text(json.dumps(config))
        with (self.directory / "log").open("ab") as log:
            command = [require("docker-registry"), "serve", str(self.directory / "config.json")]
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise ServerFailed((self.directory / "log").read_text()[-2000:])
            time.sleep(0.02)

    def stop(self) -> None:
        """End it."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def blobs(self) -> set[str]:
        """Digests of everything that it holds."""
        found = (self.directory / "data").glob("docker/registry/v2/blobs/sha256/*/*/data")
        return {f"sha256:{path.parent.name}" for path in found}

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1):
                return httpx.get(f"http://{self.host}/v2/").status_code in {200, 401}
        except (OSError, httpx.TransportError):
            return False
