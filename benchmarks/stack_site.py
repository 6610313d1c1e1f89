"""An embedded stack for a benchmark: shipped defaults, asked over HTTP, looked at from outside."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import psutil

from footprint import Cost, cost
from vitrine.client import Client
from vitrine.results import Version
from vitrine.stack import control
from vitrine.stack.cells import serving

WAIT_SECONDS = 60
BUILD_POLL_SECONDS = 0.5


class Site:
    """A stack on a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.data_dir = folder / "data"
        # A benchmark must not touch the login of whoever runs it.
        os.environ["VITRINE_CONFIG_DIR"] = str(folder / "config")
        if links := os.environ.get("PIP_FIND_LINKS"):
            os.environ.setdefault("UV_FIND_LINKS", links)
        self.url = ""
        self._token = ""

    def start(self) -> None:
        """Start, and return when everything is healthy."""
        self.url = control.start_detached(self.data_dir, ["--data-dir", str(self.data_dir)]).url
        self._token = str(json.loads((self.data_dir / "account.json").read_text())["token"])

    def stop(self) -> None:
        """Stop everything."""
        control.stop_stack(self.data_dir)

    def client(self) -> Client:
        """Return a client of the first account."""
        return Client(self.url, self._token)

    def http(self) -> httpx.Client:
        """Return a bare connection of the first account, for what is timed."""
        return httpx.Client(
            base_url=f"{self.url}/api/v1",
            headers={"Authorization": f"Bearer {self._token}"},
            timeout=WAIT_SECONDS * 5,
        )

    def push(self, directory: Path) -> Version:
        """Push a bundle and wait until its version can run."""
        with self.client() as client:
            version = client.built(client.push(directory))
        if version.state != "ready":
            sys.exit(f"{directory.name}: {version.state} {version.build_problem}")
        return version

    def _served(self, versions: list[Version]) -> bool:
        # A script has no process between its runs; that the runner has let go of it, only the runner knows.
        with self.client() as client:
            served = client.operator.runners().references
        return any(version.digest in served for version in versions)

    # seen from outside

    def runner(self) -> psutil.Process:
        """Return the runner's process."""
        state = control.stack_state(self.data_dir)
        assert state is not None
        pid = state.parts["runner"].pid
        assert pid is not None
        return psutil.Process(pid)

    def sandboxes(self) -> list[psutil.Process]:
        """Return every process below the runner."""
        return self.runner().children(recursive=True)

    def workers(self, version: Version) -> list[int]:
        """Return the processes that serve a version, from the process table."""
        return serving(self.runner().pid, version.digest)

    def pools(self) -> dict[str, Any]:
        """Describe what the runner keeps alive now, with its memory in megabytes (PSS)."""
        costs = [found for process in self.sandboxes() if (found := _cost(process.pid)) is not None]
        return {
            "runner_pss_mb": cost("runner", self.runner().pid).pss_mb,
            "sandboxes_pss_mb": round(sum(one.pss_mb for one in costs), 1),
            "processes": [f"{one.name} {one.pss_mb:g} MB" for one in costs],
        }

    def wait_scaled_to_zero(self, versions: list[Version], seconds: float = 300) -> float:
        """Wait until no version has a worker, by the process table and by the runner; return the seconds."""
        began = time.monotonic()
        while any(self.workers(version) for version in versions) or self._served(versions):
            if time.monotonic() - began > seconds:
                sys.exit(f"workers are still alive after {seconds:g} s")
            time.sleep(1)
        return time.monotonic() - began


def _cost(pid: int) -> Cost | None:
    try:
        return cost("runner", pid)
    except (FileNotFoundError, ProcessLookupError, psutil.NoSuchProcess, KeyError):
        return None


@contextmanager
def site(folder: Path) -> Iterator[Site]:
    """Run a stack for the block."""
    found = Site(folder)
    found.start()
    try:
        yield found
    finally:
        found.stop()


def machine() -> dict[str, Any]:
    """Describe what the numbers were measured on, and when."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "system": platform.platform(),
        "cpus": os.cpu_count(),
        "memory_mb": round(psutil.virtual_memory().total / 1e6),
        "python": platform.python_version(),
        "load": [round(value, 2) for value in os.getloadavg()],
    }


def spread(seconds: list[float]) -> dict[str, float]:
    """Return median, 95th percentile and extremes, in milliseconds."""
    ordered = sorted(value * 1000 for value in seconds)
    return {
        "p50_ms": round(ordered[len(ordered) // 2], 1),
        "p95_ms": round(ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))], 1),
        "min_ms": round(ordered[0], 1),
        "max_ms": round(ordered[-1], 1),
        "samples": len(ordered),
    }


def author_interpreter(folder: Path, packages: list[str]) -> Path:
    """Make the author's own environment, bytecode compiled, and return its interpreter."""
    uv = [sys.executable, "-m", "uv"]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    if links := os.environ.get("PIP_FIND_LINKS"):
        environment["UV_FIND_LINKS"] = links
    python = folder / "bin" / "python"
    for command in (
        [*uv, "venv", "--quiet", "--python", sys.executable, str(folder)],
        [*uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", str(python), *packages],
    ):
        subprocess.run(command, check=True, env=environment)
    return python
