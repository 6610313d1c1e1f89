"""What tests of the blob store have in common."""

from __future__ import annotations

import io
from datetime import timedelta

import httpx

from vitrine_common.blobs import (
    BlobStore,
    content_key,
)
from vitrine_common.digests import sha256_bytes

HOUR = timedelta(hours=1)
MIB = 1 << 20
ABSENT = sha256_bytes(b"a blob that nobody stores")


async def stage(blobs: BlobStore, web: httpx.AsyncClient, upload_id: str, *parts: bytes) -> None:
    """Upload parts as a command line does: by plain HTTP to presigned URLs."""
    for number, data in enumerate(parts, 1):
        answer = await web.put(blobs.presign_upload(upload_id, number, HOUR), content=data)
        assert answer.status_code == 200, answer.text


def overwrite(blobs: BlobStore, digest: str, data: bytes) -> None:
    """Damage a blob in the store."""
    blobs._client.put_object(blobs._bucket, content_key(digest), io.BytesIO(data), len(data))


def keys(blobs: BlobStore) -> list[str]:
    return [found.object_name for found in blobs._client.list_objects(blobs._bucket, recursive=True)]
