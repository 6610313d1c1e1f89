"""A blob store and a collection for each test, on real servers."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from mongo_items import Collection
from vitrine_common.blobs import BlobStore
from vitrine_common.settings import S3Settings


@pytest.fixture
async def blobs(s3_settings: S3Settings) -> AsyncIterator[BlobStore]:
    store = BlobStore(s3_settings)
    await store.ensure_bucket()
    yield store
    await store.aclose()


@pytest.fixture
async def web() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(trust_env=False) as client:
        yield client


@pytest.fixture
async def items(database: Any) -> Collection:
    """A collection of this test alone."""
    return database[f"items_{secrets.token_hex(6)}"]
