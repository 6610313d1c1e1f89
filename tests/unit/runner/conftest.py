"""Versions in memory, and a pool on a double of an engine."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, cast

import pytest

from runner_doubles import BlobsDouble, EngineDouble
from vitrine_common.blobs import BlobStore
from vitrine_common.bundle import FileEntry, Manifest
from vitrine_common.digests import canonical_json, sha256_bytes
from vitrine_common.shelf import Shelf
from vitrine_common.spec import Spec
from vitrine_runner.bundles import Bundles
from vitrine_runner.settings import RunnerSettings
from vitrine_runner.workers import WorkerPool

ENVIRONMENT = sha256_bytes(b"environment")
Push = Callable[..., Awaitable[str]]
MakePool = Callable[..., WorkerPool]


@pytest.fixture
def blobs() -> BlobsDouble:
    return BlobsDouble()


@pytest.fixture
def push(blobs: BlobsDouble) -> Push:
    """Stores a version; returns its digest."""

    async def push(spec: Mapping[str, Any] | None = None, files: Mapping[str, bytes] | None = None) -> str:
        files = files or {"main.py": b"print(1)"}
        entries = [
            FileEntry(
                path=path, digest=await blobs.put_bytes(data), size=len(data), executable=path.endswith(".sh")
            )
            for path, data in files.items()
        ]
        plain = Spec.model_validate(
            {"name": "test", "model": {"command": "python main.py"}, **(spec or {})}
        ).plain()
        manifest = Manifest(spec=plain, files=tuple(entries))
        return await blobs.put_bytes(canonical_json(manifest.model_dump(mode="json")))

    return push


@pytest.fixture
def make_bundles(blobs: BlobsDouble, tmp_path: Path) -> Callable[..., Bundles]:
    def make(most_bytes: int = 1 << 30) -> Bundles:
        bundles = Bundles(tmp_path / "bundles", cast("BlobStore", blobs), most_bytes)
        bundles.open()
        return bundles

    return make


@pytest.fixture
async def engine() -> EngineDouble:
    return EngineDouble()


@pytest.fixture
async def make_pool(
    engine: EngineDouble, make_bundles: Callable[..., Bundles], tmp_path: Path
) -> AsyncIterator[MakePool]:
    pools: list[WorkerPool] = []
    environments = tmp_path / "environments"
    environment = environments / ENVIRONMENT.removeprefix("sha256:")
    environment.mkdir(parents=True)
    (environment / "environment.json").write_text("{}")

    def make(**settings: Any) -> WorkerPool:
        runner = RunnerSettings(state_dir=tmp_path, **{"memory_bytes": 4 << 30, **settings})
        pools.append(WorkerPool(engine, make_bundles(), Shelf(environments), runner))
        return pools[-1]

    yield make
    for pool in pools:
        await pool.aclose()
    assert not engine.living
