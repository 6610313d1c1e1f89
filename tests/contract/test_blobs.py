"""Blobs on a real S3 server: written, read whole and in ranges."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from blob_stores import ABSENT, MIB, keys, overwrite
from vitrine_common.blobs import (
    BlobRangeInvalid,
    BlobStore,
    BlobTooLarge,
    DigestMismatch,
    SizeMismatch,
)
from vitrine_common.digests import sha256_bytes
from vitrine_common.settings import S3Settings

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
