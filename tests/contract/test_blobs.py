"""The blob store on a real S3 server."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from servers import free_port, s3_server
from vitrine_common.blobs import (
    BlobDenied,
    BlobNotFound,
    BlobRangeInvalid,
    BlobStore,
    BlobStoreUnavailable,
    BlobTooLarge,
    DigestMismatch,
    SizeMismatch,
    content_key,
)
from vitrine_common.blobs.ranged import PART
from vitrine_common.digests import sha256_bytes
from vitrine_common.errors import Invalid
from vitrine_common.settings import S3Settings

HOUR = timedelta(hours=1)
MIB = 1 << 20
ABSENT = sha256_bytes(b"a blob that nobody stores")


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


async def stage(blobs: BlobStore, web: httpx.AsyncClient, upload_id: str, *parts: bytes) -> None:
    """Upload parts as a command line does: by plain HTTP to presigned URLs."""
    for number, data in enumerate(parts, 1):
        answer = await web.put(blobs.presign_upload(upload_id, number, HOUR), content=data)
        assert answer.status_code == 200, answer.text


def overwrite(blobs: BlobStore, digest: str, data: bytes) -> None:
    """Damage a blob in the store."""
    import io

    blobs._client.put_object(blobs._bucket, content_key(digest), io.BytesIO(data), len(data))


def keys(blobs: BlobStore) -> list[str]:
    return [found.object_name for found in blobs._client.list_objects(blobs._bucket, recursive=True)]


# Writing and reading


@pytest.mark.parametrize("data", [b"", b"x", b"\x00\xff" * 1000, os.urandom(3 * MIB)], ids=len)
async def test_what_is_put_is_what_is_read(blobs: BlobStore, data: bytes, tmp_path: Path) -> None:
    digest = await blobs.put_bytes(data)
    assert digest == sha256_bytes(data)
    assert await blobs.get_bytes(digest, limit=len(data)) == data
    stream = await blobs.open_stream(digest)
    assert stream.size == len(data)
    assert b"".join([chunk async for chunk in stream]) == data
    await blobs.download_to(digest, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == data


async def test_keys_are_made_of_the_digest(blobs: BlobStore) -> None:
    digits = (await blobs.put_bytes(b"hello")).removeprefix("sha256:")
    assert keys(blobs) == [f"sha256/{digits[:2]}/{digits[2:]}"]


async def test_ensure_bucket_may_be_called_again_and_at_once(s3_settings: S3Settings) -> None:
    stores = [BlobStore(s3_settings) for _ in range(4)]
    await asyncio.gather(*(store.ensure_bucket() for store in stores))
    await stores[0].ensure_bucket()
    digest = await stores[0].put_bytes(b"x")
    assert await stores[3].exists(digest)
    for store in stores:
        await store.aclose()


async def test_a_file_is_stored_under_its_digest(blobs: BlobStore, tmp_path: Path) -> None:
    path = tmp_path / "weights"
    path.write_bytes(data := os.urandom(9 * MIB))
    assert await blobs.put_file(path) == sha256_bytes(data)
    assert await blobs.get_bytes(sha256_bytes(data), 10 * MIB) == data
    with pytest.raises(FileNotFoundError):
        await blobs.put_file(tmp_path / "absent")


@pytest.mark.parametrize("asynchronous", [True, False])
async def test_a_stream_is_stored_under_its_digest(blobs: BlobStore, asynchronous: bool) -> None:
    pieces = [b"one", b"", b"two" * 1000]

    async def generate() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    whole = b"".join(pieces)
    source = generate() if asynchronous else iter(pieces)
    digest = await blobs.put_stream(source, expected_digest=sha256_bytes(whole), expected_size=len(whole))
    assert digest == sha256_bytes(whole)
    assert await blobs.get_bytes(digest, 10_000) == whole


async def test_a_stream_that_is_not_what_was_announced_is_refused(blobs: BlobStore) -> None:
    with pytest.raises(DigestMismatch) as mismatch:
        await blobs.put_stream([b"something else"], expected_digest=ABSENT)
    assert (mismatch.value.expected, mismatch.value.actual) == (ABSENT, sha256_bytes(b"something else"))
    with pytest.raises(SizeMismatch):
        await blobs.put_stream([b"abc"], expected_size=4)
    with pytest.raises(SizeMismatch):
        await blobs.put_stream([b"abc"], expected_size=2)
    assert keys(blobs) == []


async def test_a_stream_is_refused_at_the_first_byte_too_many(blobs: BlobStore) -> None:
    taken = 0

    def endless() -> Iterator[bytes]:
        nonlocal taken
        while True:
            taken += 1
            yield bytes(1000)

    with pytest.raises(SizeMismatch):
        await blobs.put_stream(endless(), expected_size=5_500)
    assert taken == 6


async def test_what_exists_is_not_sent_again(blobs: BlobStore) -> None:
    digest = await blobs.put_bytes(b"stored once")
    # A stored object of the right size that nobody else could have written shows whether it was replaced.
    overwrite(blobs, digest, b"STORED ONCE")
    await blobs.put_bytes(b"stored once")
    assert await blobs.read_head(digest, 100) == b"STORED ONCE"


async def test_a_blob_of_the_wrong_size_is_written_anew(blobs: BlobStore) -> None:
    digest = await blobs.put_bytes(b"a whole blob")
    overwrite(blobs, digest, b"a wh")
    await blobs.put_bytes(b"a whole blob")
    assert await blobs.get_bytes(digest, 100) == b"a whole blob"


async def test_concurrent_puts_of_the_same_blob(s3_settings: S3Settings, blobs: BlobStore) -> None:
    other = BlobStore(s3_settings)
    data = os.urandom(9 * MIB)
    digests = await asyncio.gather(*(store.put_bytes(data) for store in (blobs, other) * 4))
    assert set(digests) == {sha256_bytes(data)}
    assert await blobs.get_bytes(digests[0], len(data)) == data
    assert len(keys(blobs)) == 1
    await other.aclose()


async def test_many_small_blobs_at_once(blobs: BlobStore) -> None:
    wanted = [str(n).encode() for n in range(60)]
    digests = await asyncio.gather(*(blobs.put_bytes(data) for data in wanted))
    assert await asyncio.gather(*(blobs.get_bytes(digest, 10) for digest in digests)) == wanted


async def test_sizes_and_exists_tell_what_is_stored(blobs: BlobStore) -> None:
    empty, some = await blobs.put_bytes(b""), await blobs.put_bytes(b"1234")
    assert await blobs.sizes([some, ABSENT, empty, some]) == {some: 4, empty: 0}
    assert await blobs.exists(empty)
    assert not await blobs.exists(ABSENT)


async def test_delete_takes_the_blob_away_once(blobs: BlobStore) -> None:
    digest = await blobs.put_bytes(b"short-lived")
    await blobs.delete(digest)
    await blobs.delete(digest)
    assert not await blobs.exists(digest)


# Ranges and limits


@pytest.mark.parametrize(("start", "end"), [(0, 1), (3, 7), (5, None), (9, 10), (0, None), (8, 99), (4, 4)])
async def test_a_range_is_what_a_slice_is(blobs: BlobStore, start: int, end: int | None) -> None:
    digest = await blobs.put_bytes(b"0123456789")
    stream = await blobs.open_stream(digest, start, end)
    data = b"".join([chunk async for chunk in stream])
    assert data == b"0123456789"[start:end]
    assert stream.size == len(data)


async def test_a_range_behind_the_end_is_an_error(blobs: BlobStore) -> None:
    digest = await blobs.put_bytes(b"0123456789")
    with pytest.raises(BlobRangeInvalid):
        await blobs.open_stream(digest, 10)


async def test_get_bytes_refuses_more_than_its_limit(blobs: BlobStore) -> None:
    digest = await blobs.put_bytes(b"12345")
    assert await blobs.get_bytes(digest, 5) == b"12345"
    with pytest.raises(BlobTooLarge):
        await blobs.get_bytes(digest, 4)


async def test_read_head_returns_the_beginning(blobs: BlobStore) -> None:
    digest = await blobs.put_bytes(b"12345" * MIB)
    assert await blobs.read_head(digest, 7) == b"1234512"
    assert await blobs.read_head(digest, 0) == b""
    assert len(await blobs.read_head(digest, 99 * MIB)) == 5 * MIB


async def test_an_abandoned_stream_gives_its_connection_back(blobs: BlobStore) -> None:
    digest = await blobs.put_bytes(os.urandom(4 * MIB))
    for _ in range(40):
        async with await blobs.open_stream(digest) as stream:
            await anext(stream)
    assert await blobs.exists(digest)


# What is missing, damaged or wrong


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


# In parts


class Cutter:
    """A way to the S3 server that ends every connection after some bytes of answers. `cuts` counts."""

    def __init__(self, endpoint: str, after: int) -> None:
        self._host, self._port = endpoint.removeprefix("http://").split(":")
        self._after = after
        self._passing: set[asyncio.Task[None]] = set()
        self.cuts = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        passing = asyncio.create_task(self._pass(reader, writer))
        self._passing.add(passing)

    async def aclose(self) -> None:
        """End what is left."""
        for passing in self._passing:
            passing.cancel()
        await asyncio.gather(*self._passing, return_exceptions=True)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, questions = await asyncio.open_connection(self._host, int(self._port))
        asking = asyncio.create_task(self._ask(reader, questions))
        left = self._after
        try:
            while left > 0 and (data := await answers.read(1 << 16)):
                writer.write(data[:left])
                left -= len(data)
                await writer.drain()
            self.cuts += left <= 0
        finally:
            asking.cancel()
            for stream in (writer, questions):
                stream.transport.abort()
            await asyncio.gather(writer.wait_closed(), questions.wait_closed(), return_exceptions=True)

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            writer.write(data)


async def test_a_large_blob_comes_in_parts_also_when_connections_break(
    s3_settings: S3Settings, blobs: BlobStore, tmp_path: Path
) -> None:
    data = os.urandom(2 * PART + 12345)
    digest = await blobs.put_bytes(data)
    await blobs.download_to(digest, tmp_path / "whole", len(data))
    assert (tmp_path / "whole").read_bytes() == data
    cutter = Cutter(s3_settings.endpoint, 5 * MIB)
    async with await asyncio.start_server(cutter, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        cut = BlobStore(s3_settings.model_copy(update={"endpoint": f"http://127.0.0.1:{port}"}))
        await cut.download_to(digest, tmp_path / "patched", len(data))
        await cut.aclose()
        await cutter.aclose()
    assert cutter.cuts >= 6
    assert (tmp_path / "patched").read_bytes() == data
    assert len(list(tmp_path.iterdir())) == 2


async def test_a_large_blob_that_is_missing_or_damaged_leaves_nothing(
    blobs: BlobStore, tmp_path: Path
) -> None:
    with pytest.raises(BlobNotFound):
        await blobs.download_to(ABSENT, tmp_path / "copy", 2 * PART)
    data = bytearray(os.urandom(2 * PART))
    digest = await blobs.put_bytes(bytes(data))
    data[-1] ^= 1
    overwrite(blobs, digest, bytes(data))
    with pytest.raises(DigestMismatch):
        await blobs.download_to(digest, tmp_path / "copy", len(data))
    assert list(tmp_path.iterdir()) == []


async def test_a_cancelled_large_download_is_over_when_it_returns(blobs: BlobStore, tmp_path: Path) -> None:
    digest = await blobs.put_bytes(os.urandom(4 * PART))
    downloading = asyncio.create_task(blobs.download_to(digest, tmp_path / "copy", 4 * PART))
    while not list(tmp_path.iterdir()):
        await asyncio.sleep(0)
    downloading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await downloading
    assert list(tmp_path.iterdir()) == []


# Memory

_BIG = 40 * MIB


async def test_a_large_stream_passes_through_bounded_memory(
    s3_settings: S3Settings, blobs: BlobStore
) -> None:
    program = f"""
import asyncio, hashlib, resource, sys, tempfile
from pathlib import Path
from vitrine_common.blobs import BlobStore
from vitrine_common.settings import S3Settings

async def main():
    store = BlobStore(S3Settings())
    await store.put_bytes(bytes(1000))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    digest = await store.put_stream(bytes([n]) * {MIB} for n in range(40))
    with tempfile.TemporaryDirectory() as directory:
        await store.download_to(digest, Path(directory) / "copy")
        await store.put_file(Path(directory) / "copy")
    total = 0
    async for chunk in await store.open_stream(digest):
        total += len(chunk)
    await store.aclose()
    print(digest, total, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)

asyncio.run(main())
"""
    environment = {
        **os.environ,
        "VITRINE_S3_ENDPOINT": s3_settings.endpoint,
        "VITRINE_S3_ACCESS_KEY": s3_settings.access_key,
        "VITRINE_S3_SECRET_KEY": s3_settings.secret_key.get_secret_value(),
        "VITRINE_S3_BUCKET": s3_settings.bucket,
    }
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    digest, total, grown = done.stdout.split()
    expected = hashlib.sha256(b"".join(bytes([n]) * MIB for n in range(40))).hexdigest()
    assert (digest, int(total)) == ("sha256:" + expected, _BIG)
    kibibytes = 1 if sys.platform != "darwin" else 1024
    assert int(grown) // kibibytes < 30 * 1024, "more than a few parts were held in memory"
