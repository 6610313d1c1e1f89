"""Servers for runs alone, and runners that end with the test."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from runner_site import Site, bare_environment
from servers import S3Address, nats_server
from vitrine_common.blobs import BlobStore
from vitrine_common.bus import Bus, make_broker
from vitrine_common.documents import COLLECTIONS
from vitrine_common.settings import MongoSettings, NatsSettings, PlatformSettings, S3Settings
from vitrine_common.store import Database


@pytest.fixture(scope="module")
def own_nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A bus of its own: runners take whatever run they hear of."""
    server = nats_server(tmp_path_factory.mktemp("nats"))
    server.start()
    yield f"nats://127.0.0.1:{server.port}"
    server.stop()


@pytest.fixture(scope="module")
async def servers_of_runs(
    *,
    tmp_path_factory: pytest.TempPathFactory,
    own_nats: str,
    mongo_url: str,
    database_name: str,
    database: object,
    s3_address: S3Address,
) -> AsyncIterator[Site]:
    """What all tests of a module share; no runner."""
    root = tmp_path_factory.mktemp("runners")
    environments = root / "environments"
    environments.mkdir()
    bare_environment(environments)
    s3 = S3Settings(
        endpoint=s3_address.endpoint,
        access_key=s3_address.access_key,
        secret_key=SecretStr(s3_address.secret_key),
        bucket=f"runner-{secrets.token_hex(4)}",
    )
    settings = PlatformSettings(
        nats=NatsSettings(url=own_nats),
        mongo=MongoSettings(url=mongo_url, database=database_name),
        s3=s3,
        environments_dir=environments,
    )
    bus = Bus(make_broker(settings.nats, "api"), settings.nats, "api")
    await bus.connect()
    blobs = BlobStore(s3)
    await blobs.ensure_bucket()
    store = Database(settings.mongo, "api", bus)
    await store.ensure_indexes(COLLECTIONS)
    yield Site(root, settings, bus, blobs, store)
    store.close()
    await blobs.aclose()
    await bus.broker.stop()


@pytest.fixture
async def site(servers_of_runs: Site) -> AsyncIterator[Site]:
    """The servers; runners that the test starts end with it."""
    yield servers_of_runs
    await servers_of_runs.close()


@pytest.fixture
def onnx_digest(servers_of_runs: Site, onnx_environment: Path) -> str:
    """Digest of the environment with ONNX Runtime."""
    digest = "sha256:" + "0" * 64
    link = servers_of_runs.settings.environments_dir / digest.removeprefix("sha256:")
    if not link.is_symlink():
        link.symlink_to(onnx_environment)
    return digest
