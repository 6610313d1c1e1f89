"""An engine and a blob store in memory, for tests that need no sandbox: what they do is told by the test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from pathlib import Path

from vitrine_common.blobs import BlobNotFound
from vitrine_common.digests import sha256_bytes
from vitrine_engine import (
    Answer,
    EngineFigures,
    Finished,
    Isolation,
    Loaded,
    Model,
    Outcome,
    Reason,
    RunEvent,
    RunRequest,
    SandboxSpec,
    StartError,
    Tensor,
    Usage,
)

Behaviour = Callable[[RunRequest], AsyncGenerator[RunEvent, None]]


async def succeed(request: RunRequest) -> AsyncGenerator[RunEvent, None]:
    """End well without doing anything."""
    yield Finished(outcome=Outcome(reason=None))


class SandboxDouble:
    """A sandbox whose runs do what its engine's `behaviour` says."""

    def __init__(self, spec: SandboxSpec, engine: EngineDouble) -> None:
        self.spec = spec
        self.engine = engine
        self.pid: int | None = None
        self.alive = True
        self.loaded: Loaded | None = None
        self.running = 0
        self.served = 0
        self.stopped_while_running = False
        self._gone = asyncio.Event()

    @property
    def id(self) -> str:
        return self.spec.id

    async def load(self, model: Model) -> Loaded:
        await self.engine.gate.wait()
        if self.engine.load_error is not None:
            raise self.engine.load_error
        self.loaded = Loaded(kind="script", milliseconds=1.0)
        return self.loaded

    async def run(self, request: RunRequest) -> AsyncGenerator[RunEvent, None]:
        self.running += 1
        self.served += 1
        try:
            async for event in self.engine.behaviour(request):
                if isinstance(event, Finished) and event.outcome.reason is Reason.PLATFORM_ERROR:
                    self.die()
                yield event
        finally:
            self.running -= 1

    async def call(self, tensors: Mapping[str, Tensor], outputs: Sequence[str] = ()) -> Answer:
        raise ValueError("a script model takes no tensors")

    async def expect_run(self) -> None:
        self.engine.expected.append(self.id)

    def die(self) -> None:
        self.alive = False
        self._gone.set()

    async def cancel(self, run_id: str) -> None:
        raise AssertionError("the runner closes the iterator instead")

    async def usage(self) -> Usage:
        return Usage(memory_bytes=0, cpu_seconds=0.0, processes=0, disk_bytes=0)

    async def stop(self) -> None:
        self.stopped_while_running |= self.running > 0
        self.engine.stopped.append(self.id)
        self.die()

    async def wait_exited(self) -> None:
        await self._gone.wait()


class EngineDouble:
    """Makes sandboxes of the double kind. `gate` holds up loading; closed engines make none."""

    name = "double"

    def __init__(self, behaviour: Behaviour = succeed) -> None:
        self.behaviour = behaviour
        self.sandboxes: list[SandboxDouble] = []
        self.stopped: list[str] = []
        self.expected: list[str] = []
        self.start_error: StartError | None = None
        self.load_error: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    @property
    def living(self) -> list[SandboxDouble]:
        return [sandbox for sandbox in self.sandboxes if sandbox.alive]

    async def probe(self) -> Isolation:
        return Isolation(
            engine="double",
            namespaces=(),
            user_ids="shared",
            memory="watcher",
            processes="watcher",
            cpu="none",
            seccomp=False,
            work_directory="copy",
        )

    async def start(self, spec: SandboxSpec) -> SandboxDouble:
        await asyncio.sleep(0)
        if self.start_error is not None:
            raise self.start_error
        sandbox = SandboxDouble(spec, self)
        self.sandboxes.append(sandbox)
        return sandbox

    async def warm(self, spec: SandboxSpec) -> None:
        await asyncio.sleep(0)

    def figures(self) -> EngineFigures:
        return EngineFigures()

    async def aclose(self) -> None:
        for sandbox in self.living:
            await sandbox.stop()


class BlobsDouble:
    """Blobs by digest in memory; counts what is fetched. `gate` holds up downloads."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.fetched: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def put_bytes(self, data: bytes, media_type: str | None = None) -> str:
        digest = sha256_bytes(data)
        self.blobs[digest] = data
        return digest

    async def put_file(self, path: Path) -> str:
        return await self.put_bytes(path.read_bytes())

    async def get_bytes(self, digest: str, limit: int) -> bytes:
        if digest not in self.blobs:
            raise BlobNotFound(f"there is no {digest}")
        return self.blobs[digest]

    async def download_to(self, digest: str, path: Path, size: int | None = None) -> None:
        await self.gate.wait()
        self.fetched.append(digest)
        path.write_bytes(await self.get_bytes(digest, 1 << 30))
