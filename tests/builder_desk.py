"""What a client of the builder does in tests, and builder processes to start and kill."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from vitrine_common.blobs import BlobStore
from vitrine_common.bus import Bus
from vitrine_common.documents import Build, Environment
from vitrine_common.ids import new_id
from vitrine_common.messages import BuildStart, EnvironmentRequest
from vitrine_common.states import BUILD
from vitrine_common.store import Database

PATIENCE_SECONDS = 120


@dataclass
class Desk:
    """What a client of the builder does, and processes of the builder itself."""

    root: Path
    environment: dict[str, str]
    bus: Bus
    blobs: BlobStore
    database: Database
    log: Path
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def environments(self) -> Path:
        return self.root / "environments"

    async def start(self, service: str = "builder") -> subprocess.Popen[bytes]:
        """Start a service and wait until it is ready."""
        return await asyncio.to_thread(self._start, service)

    def _start(self, service: str) -> subprocess.Popen[bytes]:
        reading, writing = os.pipe()
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", f"vitrine_{service}"],
                env={**os.environ, **self.environment, "VITRINE_READY_FD": str(writing)},
                pass_fds=(writing,),
                stdout=log,
                stderr=log,
            )
        self.processes.append(process)
        os.close(writing)
        with os.fdopen(reading) as pipe:
            assert pipe.readline() == "ready\n", self.log.read_text()
        return process

    async def request(self, text: str, build_id: str = "") -> str:
        """Ask for an environment of these requirements; return the build's id."""
        digest = await self.blobs.put_bytes(text.encode())
        return await self.ask(EnvironmentRequest(requirements_digest=digest), build_id)

    async def ask(self, request: EnvironmentRequest, build_id: str = "") -> str:
        build_id = build_id or new_id("build")
        await self.bus.send(BuildStart(build_id=build_id, request=request))
        return build_id

    async def until(self, build_id: str, holds: Callable[[Build], bool]) -> Build:
        """Return the build once `holds` says so of it."""
        builds = self.database.collection(Build)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                found = await builds.find_one({"_id": build_id})
                if found is not None and holds(found):
                    return found
                await asyncio.sleep(0.02)

    async def end(self, build_id: str) -> Build:
        """Return the build once it has ended."""
        return await self.until(build_id, lambda build: BUILD.is_final(build.state))

    async def document(self, build: Build) -> Environment:
        assert build.environment_digest is not None
        return await self.database.collection(Environment).get(build.environment_digest)

    def path(self, build: Build) -> Path:
        assert build.environment_digest is not None, build.problem
        return self.environments / build.environment_digest.removeprefix("sha256:")

    def layers(self) -> dict[str, int]:
        """Names of the layers, and the inode of each."""
        folder = self.environments / ".builder/layers"
        return {entry.name: entry.stat().st_ino for entry in folder.iterdir()}

    async def stop(self) -> list[int]:
        """Stop every builder politely; return how each exited. Killed ones are forgotten."""
        living, self.processes = [each for each in self.processes if each.poll() is None], []
        for process in living:
            process.send_signal(signal.SIGTERM)
        return [await asyncio.to_thread(_wait, process) for process in living]


def _wait(process: subprocess.Popen[bytes]) -> int:
    with suppress(subprocess.TimeoutExpired):
        return process.wait(30)
    process.kill()
    return process.wait()
