"""Blobs that come in staged parts, and URLs that are signed for others."""

from __future__ import annotations

import asyncio
import os
import socket
from datetime import UTC, datetime

import httpx
import pytest

from blob_stores import ABSENT, HOUR, MIB, keys, stage
from vitrine_common.blobs import (
    BlobNotFound,
    BlobStore,
    BlobStoreUnavailable,
    DigestMismatch,
    SizeMismatch,
    content_key,
)
from vitrine_common.digests import sha256_bytes
from vitrine_common.settings import S3Settings

# Uploads


async def test_staged_parts_become_one_blob(blobs: BlobStore, web: httpx.AsyncClient) -> None:
    parts = [os.urandom(5 * MIB), os.urandom(5 * MIB), b"end"]
    whole = b"".join(parts)
    await stage(blobs, web, "up_1", *parts)
    await blobs.adopt_upload("up_1", 3, sha256_bytes(whole), len(whole))
    assert await blobs.get_bytes(sha256_bytes(whole), len(whole)) == whole
    assert keys(blobs) == [content_key(sha256_bytes(whole))]


async def test_parts_are_joined_in_the_order_of_their_numbers(
    blobs: BlobStore, web: httpx.AsyncClient
) -> None:
    parts = [bytes([n]) for n in range(11)]
    await stage(blobs, web, "up_1", *parts)
    await blobs.adopt_upload("up_1", 11, sha256_bytes(bytes(range(11))), 11)
    assert await blobs.get_bytes(sha256_bytes(bytes(range(11))), 11) == bytes(range(11))


async def test_an_empty_file_is_adopted(blobs: BlobStore, web: httpx.AsyncClient) -> None:
    await stage(blobs, web, "up_1", b"")
    await blobs.adopt_upload("up_1", 1, sha256_bytes(b""), 0)
    assert await blobs.get_bytes(sha256_bytes(b""), 0) == b""


@pytest.mark.parametrize("data", [b"what was sent", os.urandom(9 * MIB), b""], ids=len)
async def test_a_wrong_upload_never_appears(blobs: BlobStore, web: httpx.AsyncClient, data: bytes) -> None:
    await stage(blobs, web, "up_1", data)
    with pytest.raises(DigestMismatch) as mismatch:
        await blobs.adopt_upload("up_1", 1, ABSENT, len(data))
    assert ABSENT in str(mismatch.value)
    assert sha256_bytes(data) in str(mismatch.value)
    assert not await blobs.exists(ABSENT)
    assert keys(blobs) == ["staging/up_1/00001"]


@pytest.mark.parametrize("announced", [4, 6])
async def test_a_wrong_size_is_refused(blobs: BlobStore, web: httpx.AsyncClient, announced: int) -> None:
    await stage(blobs, web, "up_1", b"12345")
    with pytest.raises(SizeMismatch) as mismatch:
        await blobs.adopt_upload("up_1", 1, sha256_bytes(b"12345"), announced)
    assert (mismatch.value.expected, mismatch.value.actual) == (announced, 5)
    assert not await blobs.exists(sha256_bytes(b"12345"))


async def test_a_missing_part_is_named(blobs: BlobStore, web: httpx.AsyncClient) -> None:
    await stage(blobs, web, "up_1", b"1")
    with pytest.raises(BlobNotFound, match="part 2 of 3"):
        await blobs.adopt_upload("up_1", 3, ABSENT, 3)


async def test_who_names_a_stored_digest_must_have_its_bytes(
    blobs: BlobStore, web: httpx.AsyncClient
) -> None:
    digest = await blobs.put_bytes(b"secret weights")
    await stage(blobs, web, "up_1", b"fourteen bytes")
    with pytest.raises(DigestMismatch):
        await blobs.adopt_upload("up_1", 1, digest, 14)
    await stage(blobs, web, "up_2", b"secret weights")
    await blobs.adopt_upload("up_2", 1, digest, 14)
    assert await blobs.get_bytes(digest, 100) == b"secret weights"


async def test_a_staging_url_that_is_still_valid_changes_nothing(
    blobs: BlobStore, web: httpx.AsyncClient
) -> None:
    url = blobs.presign_upload("up_1", 1, HOUR)
    good = b"g" * MIB
    await web.put(url, content=good)
    await blobs.adopt_upload("up_1", 1, sha256_bytes(good), MIB)
    assert (await web.put(url, content=b"b" * MIB)).status_code == 200
    assert await blobs.get_bytes(sha256_bytes(good), MIB) == good


async def test_parts_rewritten_during_the_adoption_cannot_slip_in(
    blobs: BlobStore, web: httpx.AsyncClient
) -> None:
    part = 4 * MIB
    whole = b"g" * part * 4
    for round_number in range(3):
        upload = f"up_{round_number}"
        await stage(blobs, web, upload, *(b"g" * part for _ in range(4)))
        adoption = asyncio.create_task(blobs.adopt_upload(upload, 4, sha256_bytes(whole), len(whole)))
        while not adoption.done():
            await web.put(blobs.presign_upload(upload, 4, HOUR), content=b"b" * part)
        if adoption.exception() is None:
            assert await blobs.get_bytes(sha256_bytes(whole), len(whole)) == whole
        else:
            # A server that notices the change while it sends the part may break the answer off instead.
            refused = DigestMismatch | SizeMismatch | BlobStoreUnavailable
            assert isinstance(adoption.exception(), refused)
            assert not await blobs.exists(sha256_bytes(whole))
        await blobs.delete(sha256_bytes(whole))


async def test_concurrent_adoptions_of_the_same_bytes(blobs: BlobStore, web: httpx.AsyncClient) -> None:
    data = os.urandom(2 * MIB)
    for upload_id in ("up_1", "up_2", "up_3"):
        await stage(blobs, web, upload_id, data)
    await asyncio.gather(
        *(
            blobs.adopt_upload(upload_id, 1, sha256_bytes(data), len(data))
            for upload_id in ("up_1", "up_2", "up_3")
        )
    )
    assert await blobs.get_bytes(sha256_bytes(data), len(data)) == data
    assert len(keys(blobs)) == 1


async def test_abandoned_uploads_are_listed_and_discarded(blobs: BlobStore, web: httpx.AsyncClient) -> None:
    await stage(blobs, web, "up_old", b"1", b"2")
    digest = await blobs.put_bytes(b"content is not staging")
    assert await blobs.list_staging(datetime.now(UTC) - HOUR) == []
    assert await blobs.list_staging(datetime.now(UTC) + HOUR) == ["up_old"]
    await blobs.discard_upload("up_old")
    await blobs.discard_upload("up_old")
    assert await blobs.list_staging(datetime.now(UTC) + HOUR) == []
    assert await blobs.exists(digest)


# Presigned URLs


async def test_a_presigned_download_is_plain_http(blobs: BlobStore, web: httpx.AsyncClient) -> None:
    digest = await blobs.put_bytes(b"for the command line", media_type="text/plain")
    answer = await web.get(blobs.presign_download(digest, HOUR))
    assert (answer.status_code, answer.content) == (200, b"for the command line")
    assert answer.headers["content-type"].startswith("text/plain")


async def test_a_presigned_url_is_good_for_one_object_and_one_method(
    blobs: BlobStore, web: httpx.AsyncClient
) -> None:
    one, two = await blobs.put_bytes(b"one"), await blobs.put_bytes(b"two")
    url = blobs.presign_download(one, HOUR)
    assert (await web.get(url.replace(content_key(one), content_key(two)))).status_code == 403
    assert (await web.put(url, content=b"changed")).status_code == 403
    assert (await web.put(blobs.presign_upload("up_1", 1, HOUR).replace("00001", "00002"))).status_code == 403
    assert await blobs.get_bytes(one, 10) == b"one"


async def test_presigned_urls_are_signed_for_the_public_endpoint(
    s3_settings: S3Settings, blobs: BlobStore, web: httpx.AsyncClient
) -> None:
    port = s3_settings.endpoint.rsplit(":", 1)[1]
    public = BlobStore(s3_settings.model_copy(update={"public_endpoint": f"http://localhost:{port}"}))
    digest = await blobs.put_bytes(b"x")
    url = public.presign_download(digest, HOUR)
    assert url.startswith(f"http://localhost:{port}/")
    # The signature covers the host: it holds where it was made for, and only there.
    family = {kind for kind, *_ in socket.getaddrinfo("localhost", int(port))}
    if socket.AF_INET in family:
        address = url.replace("localhost", "127.0.0.1")
        assert (await web.get(address, headers={"Host": f"localhost:{port}"})).status_code == 200
        assert (await web.get(address)).status_code == 403
    await public.aclose()
