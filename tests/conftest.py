"""Fixtures every test may use: real servers, started on first use, one set for each test process.

Servers that are given are used instead of started ones: `VITRINE_TEST_NATS_URL`, `VITRINE_TEST_MONGO_URL`,
`VITRINE_TEST_S3_ENDPOINT` with `VITRINE_TEST_S3_ACCESS_KEY` and `VITRINE_TEST_S3_SECRET_KEY`.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import nats
import pytest
from motor.motor_asyncio import AsyncIOMotorClient
from pydantic import SecretStr
from xdist.scheduler import LoadScopeScheduling

from servers import S3Address, mongo_server, nats_server, s3_server
from vitrine_common.settings import S3Settings

pytest_plugins = [
    "stack_desk",
    "system_base",
    "docker_daemon",
    "newer_docker",
    "compose_desk",
    "sandboxes",
    "zygotes",
    "shared_digits",
]
"""Each after those that it imports."""
STACK_TESTS = frozenset(
    {
        "tests/e2e/test_browser.py",
        "tests/e2e/test_claims_browser.py",
        "tests/e2e/test_every_page.py",
        "tests/e2e/test_link_pages.py",
        "tests/e2e/test_main_job.py",
        "tests/e2e/test_page_scripts.py",
        "tests/e2e/test_r_model.py",
        "tests/e2e/test_showcase_browser.py",
        "tests/e2e/test_venue_pages.py",
        "tests/e2e/test_verify_page.py",
        "tests/integration/api/test_deletion_pages.py",
        "tests/integration/test_compose_up.py",
        "tests/security/test_blind_venues.py",
        "tests/security/test_hostile_input.py",
        "tests/security/test_hostile_scripts.py",
    }
)
"""Tests that go to one process: those of one running stack, which they share, and those of browsers with the
one that makes networks, which a browser takes for a change of its own and drops what it is loading."""
LONGEST = (
    "stack",
    "tests/security/test_authorization_table.py",
    "tests/chaos/test_docker_stack.py",
    "tests/chaos/test_kill.py",
    "tests/contract/test_engine_runs.py",
    "tests/security/test_zygotes.py",
    "tests/integration/stack/test_stack_life.py",
    "tests/integration/builder/test_kills.py",
    "tests/integration/builder/test_bytecode.py",
)
"""What takes longest, longest first: begun last, it would keep one process busy when the others are done."""


class ByFile(LoadScopeScheduling):  # type: ignore[misc] # xdist ships no types
    """Gives each test file to one process, those that must not meet to the same one, and long files first."""

    def _split_scope(self, nodeid: str) -> str:
        path: str = nodeid.partition("::")[0]
        return "stack" if path in STACK_TESTS else path

    def _assign_work_unit(self, node: Any) -> None:
        self.workqueue.move_to_end(min(self.workqueue, key=_rank), last=False)
        super()._assign_work_unit(node)


def _rank(scope: str) -> int:
    return LONGEST.index(scope) if scope in LONGEST else len(LONGEST)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFile:
    return ByFile(config, log)


Database = Any  # motor ships no types that mypy accepts


@pytest.fixture(scope="session")
def server_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the servers of this test process keep their data and logs."""
    return tmp_path_factory.mktemp("servers")


@pytest.fixture(scope="session")
def nats_url(server_directory: Path) -> Iterator[str]:
    """A NATS server with JetStream. Other tests of this process use it too: see `fresh_nats`."""
    if given := os.environ.get("VITRINE_TEST_NATS_URL"):
        yield given
        return
    server = nats_server(server_directory / "nats")
    server.start()
    yield f"nats://127.0.0.1:{server.port}"
    server.stop()


@pytest.fixture(scope="session")
def mongo_url(server_directory: Path) -> Iterator[str]:
    """A server that speaks MongoDB's wire protocol; take a database of your own with `database_name`."""
    if given := os.environ.get("VITRINE_TEST_MONGO_URL"):
        yield given
        return
    server = mongo_server(server_directory / "mongo")
    server.start()
    yield f"mongodb://127.0.0.1:{server.port}"
    server.stop()


@pytest.fixture(scope="session")
def s3_address(server_directory: Path) -> Iterator[S3Address]:
    """An S3 server and its keys; take a bucket of your own with `s3_settings`."""
    if given := os.environ.get("VITRINE_TEST_S3_ENDPOINT"):
        access_key = os.environ["VITRINE_TEST_S3_ACCESS_KEY"]
        yield S3Address(given, access_key, os.environ["VITRINE_TEST_S3_SECRET_KEY"])
        return
    server, (access_key, secret_key) = s3_server(server_directory / "s3")
    server.start()
    yield S3Address(f"http://127.0.0.1:{server.port}", access_key, secret_key)
    server.stop()


@pytest.fixture
def s3_settings(s3_address: S3Address) -> S3Settings:
    """Settings of the S3 server with a bucket name of this test alone; nobody has made the bucket."""
    return S3Settings(
        endpoint=s3_address.endpoint,
        public_endpoint=None,
        access_key=s3_address.access_key,
        secret_key=SecretStr(s3_address.secret_key),
        region=s3_address.region,
        bucket=f"test-{secrets.token_hex(8)}",
    )


@pytest.fixture(scope="module")
def database_name(request: pytest.FixtureRequest) -> str:
    """A database name that no other test module uses, in this run or another."""
    stem = re.sub(r"[^a-z0-9]", "_", request.path.stem.lower())
    return f"{stem[:40]}_{secrets.token_hex(4)}"


@pytest.fixture(scope="session")
async def mongo_client(mongo_url: str) -> AsyncIterator[Any]:
    """A motor client with time zones on, as the services make it."""
    client: Any = AsyncIOMotorClient(mongo_url, tz_aware=True, serverSelectionTimeoutMS=10_000)
    yield client
    client.close()


@pytest.fixture(scope="module")
async def database(mongo_client: Any, database_name: str) -> AsyncIterator[Database]:
    """A motor database of this test module alone; dropped after it."""
    yield mongo_client[database_name]
    await mongo_client.drop_database(database_name)


@pytest.fixture
async def fresh_nats(nats_url: str) -> AsyncIterator[str]:
    """The NATS server's URL, with every stream and what it holds deleted before and after the test."""
    await _delete_streams(nats_url)
    yield nats_url
    await _delete_streams(nats_url)


async def _delete_streams(url: str) -> None:
    connection = await nats.connect(url)
    try:
        jetstream = connection.jetstream()
        for stream in await jetstream.streams_info():
            assert stream.config.name is not None
            await jetstream.delete_stream(stream.config.name)
    finally:
        await connection.close()
