"""An api and a runner on one bus, for synchronous calls: real sandboxes, real HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nats
import pytest

from api_instance import Account, Instance
from vitrine_common.digests import sha256_bytes
from vitrine_common.service import Platform, make_platform
from vitrine_common.settings import PlatformSettings
from vitrine_engine import Engine
from vitrine_runner.app import use
from vitrine_runner.handlers import make_routers
from vitrine_runner.settings import RunnerSettings

ONNX_ENVIRONMENT = "sha256:" + "0" * 64


@dataclass
class InferenceSite:
    """The api of this test process, runners beside it, and models that they run."""

    api: Instance
    root: Path
    environments: Path
    models: Path
    runners: list[AsyncExitStack] = field(default_factory=list)

    async def start_runner(
        self, engine: Engine | None = None, shared_dir: Path | None = None, **settings: Any
    ) -> Platform:
        """Start a runner in this process; by default with the api's shared directory."""
        known = self.api.platform.settings
        platform = make_platform(
            "runner",
            PlatformSettings(
                nats=known.nats,
                mongo=known.mongo,
                s3=known.s3,
                environments_dir=self.environments,
                shared_dir=shared_dir or known.shared_dir,
            ),
        )
        platform.holder += f"-{len(self.runners)}"  # they share a process here
        platform.bus.broker.include_routers(*make_routers(gpu=False))
        state_dir = self.root / f"runner-{len(list(self.root.iterdir()))}"
        runner = RunnerSettings(
            state_dir=state_dir, **{"slots": 2, "memory_bytes": 4 << 30, "stop_seconds": 1, **settings}
        )
        parts = AsyncExitStack()
        await platform.start()
        parts.push_async_callback(platform.stop)
        parts.push_async_callback(platform.bus.broker.stop)
        await parts.enter_async_context(use(platform, runner, engine))
        await platform.bus.broker.start()
        self.runners.append(parts)
        return platform

    async def stop_runners(self) -> None:
        for parts in self.runners:
            await parts.aclose()
        self.runners.clear()

    async def version(self, account: Account, model: str, **spec: Any) -> dict[str, Any]:
        """Push one of the ONNX models; it is ready."""
        files = {"model.onnx": (self.models / f"{model}.onnx").read_bytes()}
        described = {"name": model, "onnx": "model.onnx", "resources": {"memory": "512Mi"}, **spec}
        return await self.push(account, files, described)

    async def push(
        self,
        account: Account,
        files: dict[str, bytes],
        spec: dict[str, Any],
        environment: str = ONNX_ENVIRONMENT,
    ) -> dict[str, Any]:
        """Push a version; it is ready, in the environment with ONNX Runtime."""
        await account.upload(files)
        listed = [
            {"path": path, "digest": sha256_bytes(data), "size": len(data), "executable": False}
            for path, data in files.items()
        ]
        body = {"manifest": {"spec": spec, "files": listed}, "model": spec["name"]}
        answer = await account.client.post("/api/v1/versions", json=body)
        assert answer.status_code in {200, 201}, answer.text
        version = answer.json()
        await self.api.services.versions.build_succeeded(version["build_id"], environment)
        shown = await account.client.get(f"/api/v1/versions/{version['id']}")
        assert shown.json()["state"] == "ready", shown.text
        return dict(shown.json())


@pytest.fixture(scope="module")
async def inference_site(
    api: Instance, onnx_environment: Path, onnx_models: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[InferenceSite]:
    """The api of this process and a place for runners and models."""
    root = tmp_path_factory.mktemp("inference")
    environments = root / "environments"
    environments.mkdir()
    (environments / ONNX_ENVIRONMENT.removeprefix("sha256:")).symlink_to(onnx_environment)
    await purge_streams(api.platform.settings.nats.url)
    site = InferenceSite(api, root, environments, onnx_models)
    yield site
    await site.stop_runners()


async def purge_streams(url: str) -> None:
    """Take away what the tests before left: their runs and versions are in databases that are gone."""
    connection = await nats.connect(url)
    try:
        jetstream = connection.jetstream()
        for stream in await jetstream.streams_info():
            assert stream.config.name is not None
            await jetstream.purge_stream(stream.config.name)
    finally:
        await connection.close()


def sum_request(a: list[float], b: list[float], **fields: Any) -> dict[str, Any]:
    """A request to the model that adds."""
    inputs = [
        {"name": name, "datatype": "FP32", "shape": [1, len(values)], "data": values}
        for name, values in (("a", a), ("b", b))
    ]
    return {"inputs": inputs, **fields}
