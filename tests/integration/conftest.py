"""A bus, a database and a bucket for one module, and service processes on them."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterator

import pytest
from pydantic import SecretStr

from builder_desk import Desk
from servers import S3Address, nats_server
from vitrine_common.blobs import BlobStore
from vitrine_common.bus import Bus, make_broker
from vitrine_common.settings import MongoSettings, NatsSettings, S3Settings
from vitrine_common.store import Database


@pytest.fixture(scope="module")
def own_nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A bus of its own: builders live through a whole module, whatever other modules do to their streams."""
    server = nats_server(tmp_path_factory.mktemp("nats"))
    server.start()
    yield f"nats://127.0.0.1:{server.port}"
    server.stop()


@pytest.fixture(scope="module")
def mongo(mongo_url: str, database_name: str, database: object) -> MongoSettings:
    """The database of this module; `database` drops it afterwards."""
    return MongoSettings(url=mongo_url, database=database_name)


@pytest.fixture(scope="module")
async def desk(
    tmp_path_factory: pytest.TempPathFactory,
    own_nats: str,
    mongo: MongoSettings,
    s3_address: S3Address,
) -> AsyncIterator[Desk]:
    root = tmp_path_factory.mktemp("builder")
    bucket = f"builder-{secrets.token_hex(4)}"
    environment = {
        "VITRINE_NATS_URL": own_nats,
        "VITRINE_MONGO_URL": mongo.url,
        "VITRINE_MONGO_DATABASE": mongo.database,
        "VITRINE_S3_ENDPOINT": s3_address.endpoint,
        "VITRINE_S3_ACCESS_KEY": s3_address.access_key,
        "VITRINE_S3_SECRET_KEY": s3_address.secret_key,
        "VITRINE_S3_BUCKET": bucket,
        "VITRINE_ENVIRONMENTS_DIR": str(root / "environments"),
        "VITRINE_WORK_LEASE_SECONDS": "3",
        "VITRINE_WORK_REAP_SECONDS": "0.3",
        "VITRINE_BUILDER_RETRY_SECONDS": "0.1",
        "VITRINE_BUILDER_FREE_BYTES": str(1 << 20),
    }
    nats_settings = NatsSettings(url=own_nats)
    bus = Bus(make_broker(nats_settings, "api"), nats_settings, "api")
    await bus.connect()
    blobs = BlobStore(
        S3Settings(
            endpoint=s3_address.endpoint,
            access_key=s3_address.access_key,
            secret_key=SecretStr(s3_address.secret_key),
            bucket=bucket,
        )
    )
    await blobs.ensure_bucket()
    store = Database(mongo, "api", bus)
    desk = Desk(root, environment, bus, blobs, store, root / "builder.log")
    yield desk
    await desk.stop()
    store.close()
    await blobs.aclose()
    await bus.broker.stop()
