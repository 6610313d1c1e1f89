"""Blobs that are missing, damaged or refused, and S3 servers that fail."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from pydantic import SecretStr

from blob_stores import ABSENT, HOUR, overwrite
from servers import free_port, s3_server
from vitrine_common.blobs import (
    BlobDenied,
    BlobNotFound,
    BlobRangeInvalid,
    BlobStore,
    BlobStoreUnavailable,
    DigestMismatch,
)
from vitrine_common.digests import sha256_bytes
from vitrine_common.errors import Invalid
from vitrine_common.settings import S3Settings


async def test_what_is_missing_is_not_found(blobs: BlobStore, tmp_path: Path) -> None:
    with pytest.raises(BlobNotFound, match=ABSENT):
        await blobs.get_bytes(ABSENT, 10)
    with pytest.raises(BlobNotFound):
        await blobs.open_stream(ABSENT)
    with pytest.raises(BlobNotFound):
        await blobs.download_to(ABSENT, tmp_path / "absent")
    assert list(tmp_path.iterdir()) == []


async def test_a_missing_bucket_is_not_found(s3_settings: S3Settings) -> None:
    store = BlobStore(s3_settings)
    with pytest.raises(BlobNotFound, match=s3_settings.bucket):
        await store.put_bytes(b"x")
    await store.aclose()


async def test_a_damaged_blob_is_never_handed_out_as_whole(blobs: BlobStore, tmp_path: Path) -> None:
    digest = await blobs.put_bytes(b"the right bytes")
    overwrite(blobs, digest, b"the wrong bytes")
    with pytest.raises(DigestMismatch) as mismatch:
        await blobs.get_bytes(digest, 100)
    assert mismatch.value.actual == sha256_bytes(b"the wrong bytes")
    with pytest.raises(DigestMismatch):
        await blobs.download_to(digest, tmp_path / "copy")
    assert list(tmp_path.iterdir()) == []
    stream = await blobs.open_stream(digest)
    with pytest.raises(DigestMismatch):
        _ = [chunk async for chunk in stream]


async def test_a_download_replaces_a_file_only_when_it_is_right(blobs: BlobStore, tmp_path: Path) -> None:
    good, bad = await blobs.put_bytes(b"good"), await blobs.put_bytes(b"bad")
    overwrite(blobs, bad, b"!!!")
    path = tmp_path / "file"
    await blobs.download_to(good, path)
    with pytest.raises(DigestMismatch):
        await blobs.download_to(bad, path)
    assert path.read_bytes() == b"good"


@pytest.mark.parametrize(
    "digest",
    ["", "sha256:", "sha256:" + "g" * 64, "sha256:" + "A" * 64, "../" * 20, "md5:" + "0" * 64, ABSENT + "\n"],
)
async def test_what_is_no_digest_is_refused(blobs: BlobStore, digest: str) -> None:
    with pytest.raises(Invalid, match="no digest"):
        await blobs.exists(digest)


@pytest.mark.parametrize("upload_id", ["", "..", "a/b", "a" * 65, "a\n", "%2e", "-a"])
async def test_what_is_no_upload_id_is_refused(blobs: BlobStore, upload_id: str) -> None:
    with pytest.raises(Invalid, match="no upload id"):
        blobs.presign_upload(upload_id, 1, HOUR)
    with pytest.raises(Invalid, match="no upload id"):
        await blobs.discard_upload(upload_id)


@pytest.mark.parametrize("part", [0, -1, 10_001])
def test_parts_are_counted_from_one(s3_settings: S3Settings, part: int) -> None:
    with pytest.raises(Invalid, match="numbered from 1"):
        BlobStore(s3_settings).presign_upload("up_1", part, HOUR)


async def test_wrong_keys_are_denied(s3_settings: S3Settings, blobs: BlobStore) -> None:
    digest = await blobs.put_bytes(b"x")
    stranger = BlobStore(s3_settings.model_copy(update={"secret_key": SecretStr("wrong")}))
    with pytest.raises(BlobDenied, match="VITRINE_S3_ACCESS_KEY"):
        await stranger.get_bytes(digest, 10)
    with pytest.raises(BlobDenied):
        await stranger.exists(digest)
    with pytest.raises(BlobDenied):
        await stranger.put_bytes(b"y")
    await stranger.aclose()


async def test_a_server_that_is_not_there_is_unavailable(s3_settings: S3Settings) -> None:
    store = BlobStore(s3_settings.model_copy(update={"endpoint": f"http://127.0.0.1:{free_port()}"}))
    async with asyncio.timeout(30):  # the driver's own patience is a quarter of an hour
        with pytest.raises(BlobStoreUnavailable):
            await store.get_bytes(ABSENT, 10)
        with pytest.raises(BlobStoreUnavailable):
            await store.put_bytes(b"x")
        with pytest.raises(BlobStoreUnavailable):
            await store.ensure_bucket()
    await store.aclose()


async def test_a_server_that_hangs_up_is_unavailable(s3_settings: S3Settings) -> None:
    async def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    store = BlobStore(s3_settings.model_copy(update={"endpoint": f"http://127.0.0.1:{port}"}))
    with pytest.raises(BlobStoreUnavailable):
        await store.exists(ABSENT)
    await store.aclose()
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize(
    ("status", "content_type", "error"),
    [
        (403, "text/xml", BlobDenied),
        (403, "application/xml", BlobDenied),
        (404, "text/xml", BlobNotFound),
        (404, "application/xml", BlobNotFound),
        (416, "application/xml", BlobRangeInvalid),
        (429, "application/xml", BlobStoreUnavailable),
        (500, "application/xml", BlobStoreUnavailable),
        (503, "text/html", BlobStoreUnavailable),
    ],
)
async def test_both_forms_of_an_error_answer_are_told_apart_by_their_status(
    s3_settings: S3Settings, status: int, content_type: str, error: type[Exception]
) -> None:
    body = b"<?xml version='1.0'?><Error><Code>Some</Code><Message>m</Message></Error>"
    head = (
        f"HTTP/1.1 {status} X\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    )

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    store = BlobStore(s3_settings.model_copy(update={"endpoint": f"http://127.0.0.1:{port}"}))
    with pytest.raises(error):
        await store.get_bytes(ABSENT, 10)
    await store.aclose()
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize("endpoint", ["127.0.0.1:9000", "http://", "ftp://host", "http://host/path"])
def test_an_endpoint_that_is_no_url_is_named(s3_settings: S3Settings, endpoint: str) -> None:
    with pytest.raises(Invalid, match="S3 endpoint"):
        BlobStore(s3_settings.model_copy(update={"endpoint": endpoint}))


async def test_a_restarted_server_is_used_again(s3_settings: S3Settings, tmp_path: Path) -> None:
    server, (access_key, secret_key) = s3_server(tmp_path)
    server.start()
    settings = s3_settings.model_copy(
        update={
            "endpoint": f"http://127.0.0.1:{server.port}",
            "access_key": access_key,
            "secret_key": SecretStr(secret_key),
        }
    )
    store = BlobStore(settings)
    try:
        await store.ensure_bucket()
        digest = await store.put_bytes(b"kept")
        server.kill()
        with pytest.raises(BlobStoreUnavailable):
            await store.exists(digest)
        server.start()
        assert await store.get_bytes(digest, 10) == b"kept"
    finally:
        await store.aclose()
        server.stop()
