"""What the api does for runs, played by tests, and runners to start, stop and kill."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vitrine_common.blobs import BlobStore
from vitrine_common.bundle import FileEntry, Manifest
from vitrine_common.bus import Bus
from vitrine_common.clock import after
from vitrine_common.digests import canonical_json, sha256_bytes
from vitrine_common.documents import Run, RunRequest
from vitrine_common.fleet import Fleet
from vitrine_common.ids import new_id
from vitrine_common.messages import RunStart
from vitrine_common.service import Platform, make_platform
from vitrine_common.settings import PlatformSettings, WorkSettings
from vitrine_common.spec import Spec
from vitrine_common.states import RUN, RunState
from vitrine_common.store import Database
from vitrine_engine import Engine
from vitrine_runner.app import use
from vitrine_runner.handlers import make_routers
from vitrine_runner.settings import RunnerSettings
from vitrine_runner.workers import WorkerPool

PATIENCE_SECONDS = 40.0
BARE = sha256_bytes(b"bare")
"""Digest of an environment without packages."""


@dataclass
class Host:
    """A runner within this process."""

    platform: Platform
    parts: AsyncExitStack

    @property
    def pool(self) -> WorkerPool:
        pool = self.platform.bus.broker.context.get("pool")
        assert isinstance(pool, WorkerPool)
        return pool

    @property
    def fleet(self) -> Fleet:
        """What it heard of itself and others."""
        fleet = self.platform.bus.broker.context.get("fleet")
        assert isinstance(fleet, Fleet)
        return fleet

    @property
    def pids(self) -> list[int | None]:
        """The processes of the workers that are ready."""
        return [worker.sandbox.pid for worker in self.pool.workers if worker.is_ready]

    async def stop(self) -> None:
        await self.parts.aclose()


@dataclass
class Site:
    """Servers, what lies on them, and hosts."""

    root: Path
    settings: PlatformSettings
    bus: Bus
    blobs: BlobStore
    database: Database
    hosts: list[Host] = field(default_factory=list)
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def work(self, lease_seconds: float = 3.0) -> WorkSettings:
        return WorkSettings(lease_seconds=lease_seconds, reap_seconds=0.2, relay_seconds=0.5)

    async def start(
        self, engine: Engine | None = None, *, lease_seconds: float = 3.0, **settings: Any
    ) -> Host:
        """Start a runner in this process, with a state directory of its own."""
        state_dir = self.root / new_id("runner")
        fields = {"slots": 2, "memory_bytes": 4 << 30, "stop_seconds": 0.2, "retry_seconds": 0.05}
        runner = RunnerSettings(state_dir=state_dir, **{**fields, **settings})
        platform = make_platform("runner", self.settings)
        platform.work = self.work(lease_seconds)
        platform.holder = f"{platform.holder}-{state_dir.name}"  # several live in this process
        platform.bus.broker.include_routers(*make_routers(gpu=runner.takes_gpu_runs))
        parts = AsyncExitStack()
        await platform.start()
        parts.push_async_callback(platform.stop)
        parts.push_async_callback(platform.bus.broker.stop)
        await parts.enter_async_context(use(platform, runner, engine))
        await platform.bus.broker.start()
        host = Host(platform, parts)
        self.hosts.append(host)
        return host

    async def spawn(self, **environment: str) -> subprocess.Popen[bytes]:
        """Start a runner as a process of its own and wait until it is ready."""
        reading, writing = os.pipe()
        s3, work = self.settings.s3, self.work()
        known = {
            "VITRINE_NATS_URL": self.settings.nats.url,
            "VITRINE_MONGO_URL": self.settings.mongo.url,
            "VITRINE_MONGO_DATABASE": self.settings.mongo.database,
            "VITRINE_S3_ENDPOINT": s3.endpoint,
            "VITRINE_S3_ACCESS_KEY": s3.access_key,
            "VITRINE_S3_SECRET_KEY": s3.secret_key.get_secret_value(),
            "VITRINE_S3_BUCKET": s3.bucket,
            "VITRINE_ENVIRONMENTS_DIR": str(self.settings.environments_dir),
            "VITRINE_WORK_LEASE_SECONDS": str(work.lease_seconds),
            "VITRINE_WORK_REAP_SECONDS": str(work.reap_seconds),
            "VITRINE_RUNNER_STATE_DIR": str(self.root / new_id("runner")),
            "VITRINE_RUNNER_SLOTS": "2",
            "VITRINE_READY_FD": str(writing),
        }
        with (self.root / "runner.log").open("ab") as log:
            process = await asyncio.to_thread(
                subprocess.Popen,
                [sys.executable, "-m", "vitrine_runner"],
                env={**os.environ, **known, **environment},
                stdout=log,
                stderr=log,
                pass_fds=[writing],
            )
        self.processes.append(process)
        os.close(writing)
        line = await asyncio.to_thread(os.read, reading, 100)
        os.close(reading)
        assert line, (self.root / "runner.log").read_text()[-3000:]
        return process

    async def push(self, spec: Mapping[str, Any], files: Mapping[str, str | bytes]) -> str:
        """Store a version's files and manifest; return its digest."""
        entries = []
        for path, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            entries.append(FileEntry(path=path, digest=await self.blobs.put_bytes(data), size=len(data)))
        plain = Spec.model_validate({"name": "test", **spec}).plain()
        manifest = Manifest(spec=plain, files=tuple(entries))
        stored = await self.blobs.put_bytes(canonical_json(manifest.model_dump(mode="json")))
        assert stored == manifest.digest
        return stored

    async def script(self, code: str, **spec: Any) -> str:
        """Push a script model that executes `code`."""
        model = {"command": "python main.py", **spec.pop("model", {})}
        return await self.push({"model": model, **spec}, {"main.py": code})

    async def ask(self, digest: str, inputs: Mapping[str, Any] | None = None, **fields: Any) -> str:
        """Ask for a run as the api does; return its id."""
        values: dict[str, Any] = {
            "id": new_id("run"),
            "version_id": "ver_1",
            "version_digest": digest,
            "environment_digest": BARE,
            "owner_id": "usr_1",
            "inputs": json.dumps(inputs or {}),
            "expires_at": after(60),
            **fields,
        }
        request = RunRequest(**values)
        command = RunStart(run_id=request.id, device=request.device)
        await self.database.collection(RunRequest).insert(request, [command])
        return request.id

    async def look(self, run_id: str) -> Run | None:
        return await self.database.collection(Run).find_one({"_id": run_id})

    async def reached(self, run_id: str, *states: RunState) -> Run:
        """Wait until the run is in one of `states`."""
        run = None
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_SECONDS):
                while run is None or run.state not in states:
                    await asyncio.sleep(0.01)
                    run = await self.look(run_id)
        assert run is not None, f"nobody took {run_id}"
        assert run.state in states, run
        return run

    async def ended(self, run_id: str) -> Run:
        """Wait until the run is over."""
        return await self.reached(run_id, *RUN.final)

    async def run(self, digest: str, inputs: Mapping[str, Any] | None = None, **fields: Any) -> Run:
        """Ask for a run and wait for its end."""
        return await self.ended(await self.ask(digest, inputs, **fields))

    async def upload(self, data: bytes, media_type: str, filename: str) -> dict[str, Any]:
        """Store a file; return the input value that names it."""
        digest = await self.blobs.put_bytes(data)
        return {"digest": digest, "size": len(data), "media_type": media_type, "filename": filename}

    async def close(self) -> None:
        for host in self.hosts:
            await host.stop()
        self.hosts.clear()
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait()
        self.processes.clear()


def bare_environment(environments: Path) -> None:
    """Make the environment `BARE` below `environments`."""
    home = environments / BARE.removeprefix("sha256:")
    (home / "lib/python3.11/site-packages").mkdir(parents=True)
    (home / "bin").mkdir()
    for name in ("python", "python3", "python3.11"):
        (home / "bin" / name).symlink_to("/opt/python/bin/python3.11")
    (home / "pyvenv.cfg").write_text("home = /opt/python/bin\n")
    (home / "environment.json").write_text("{}")


def value_of(run: Run, name: str = "output") -> Any:
    """Return an inline output of a run."""
    found = [output for output in run.outputs if output.name == name]
    assert found, run
    assert found[0].value is not None, run
    return json.loads(found[0].value)
