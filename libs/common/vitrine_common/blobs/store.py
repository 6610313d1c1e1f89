"""The blob store that services use: asynchronous on the outside, the blocking driver in threads within."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import tempfile
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO, Any, TypeVar
from weakref import WeakValueDictionary

from vitrine_common.blobs.connection import make_client
from vitrine_common.blobs.downloads import CONNECTIONS, Downloads
from vitrine_common.blobs.errors import (
    BlobError,
    BlobNotFound,
    BlobTooLarge,
    DigestMismatch,
    SizeMismatch,
    translated,
)
from vitrine_common.blobs.keys import STAGING, content_key, staging_key, staging_prefix, upload_id_of
from vitrine_common.blobs.streams import CHUNK, BlobStream, VerifiedReader, chunks_of
from vitrine_common.digests import sha256_bytes, sha256_file
from vitrine_common.settings import S3Settings

T = TypeVar("T")

THREADS = 8
PART_SIZE = 8 << 20
"""Bytes of a multipart upload's part; one is held in memory for each upload that runs."""
_MOST_PARTS = 10_000
_SPOOL = 4 << 20
_MEDIA_TYPE = "application/octet-stream"


class BlobStore:
    """Content-addressed blobs in one bucket.

    Every method may be called concurrently from the loop that made the store. Writing a blob that exists
    sends nothing. A blob appears whole and with the bytes of its digest, or not at all, also when this
    process or the server is killed meanwhile.

    Args:
        settings: server, keys and bucket; presigned URLs are signed for its public endpoint.
        area: prefix of the blobs' keys, for blobs that no account may refer to; "" for everybody's.

    Raises, from every method: BlobStoreUnavailable (within seconds when nothing listens), BlobDenied,
    Invalid for what is no digest or upload id.
    """

    def __init__(self, settings: S3Settings, area: str = "") -> None:
        self._bucket = settings.bucket
        self._area = area
        # An adoption reads one object while it writes another: two connections a thread.
        self._client = make_client(settings, settings.endpoint, 2 * THREADS + CONNECTIONS)
        self._public = make_client(settings, settings.public_endpoint or settings.endpoint, 1)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="blobs")
        self._downloads = Downloads(self._client, self._bucket, self._threads, self._key)
        self._writing: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def aclose(self) -> None:
        """Wait for running calls, then give threads and connections back."""
        await asyncio.to_thread(self._threads.shutdown)
        await asyncio.to_thread(self._downloads.close)
        self._client._http.clear()  # noqa: SLF001 - the driver closes its connections only when collected

    async def ensure_bucket(self) -> None:
        """Create the bucket unless it exists; several services may do so at once."""
        await self._run(self._ensure_bucket)

    async def exists(self, digest: str) -> bool:
        """Whether the blob is stored."""
        return bool(await self.sizes([digest]))

    async def sizes(self, digests: Iterable[str]) -> dict[str, int]:
        """Return the bytes of each of these blobs that is stored; the others are left out."""
        wanted = dict.fromkeys(digests)
        keys = [self._key(digest) for digest in wanted]
        found = await asyncio.gather(*(self._run(self._size, key) for key in keys))
        return {digest: size for digest, size in zip(wanted, found, strict=True) if size is not None}

    async def put_bytes(self, data: bytes, media_type: str | None = None) -> str:
        """Store `data` and return its digest.

        Args:
            data: the whole content.
            media_type: told to whoever downloads the blob from S3; the first writer's stays.
        """
        digest = sha256_bytes(data)
        await self._put(digest, len(data), lambda: iter((data,)), media_type)
        return digest

    async def put_file(self, path: Path) -> str:
        """Store a file's content and return its digest.

        Raises DigestMismatch or SizeMismatch when the file changes meanwhile, OSError when it is
        unreadable.
        """
        digest, size = await self._run(_measure, path)
        await self._put(digest, size, lambda: _file_chunks(path))
        return digest

    async def put_stream(
        self,
        chunks: AsyncIterable[bytes] | Iterable[bytes],
        expected_digest: str | None = None,
        expected_size: int | None = None,
    ) -> str:
        """Store a stream's bytes and return their digest; they pass through a temporary file.

        Raises DigestMismatch and SizeMismatch where the stream is not what was expected; nothing is
        stored then. More bytes than expected are refused as they come.
        """
        hashed = hashlib.sha256()
        size = 0
        with tempfile.SpooledTemporaryFile(max_size=_SPOOL) as spool:
            async for chunk in self._chunks_of(chunks):
                size += len(chunk)
                if expected_size is not None and size > expected_size:
                    raise SizeMismatch(expected_size, size)
                hashed.update(chunk)
                await self._run(spool.write, chunk)
            digest = "sha256:" + hashed.hexdigest()
            if expected_size is not None and size != expected_size:
                raise SizeMismatch(expected_size, size)
            if expected_digest is not None and digest != expected_digest:
                raise DigestMismatch(expected_digest, digest)
            await self._put(digest, size, lambda: _rewound_chunks(spool))
        return digest

    async def get_bytes(self, digest: str, limit: int) -> bytes:
        """Return a whole blob, verified.

        Raises BlobNotFound, BlobTooLarge when it has more than `limit` bytes, DigestMismatch when it is
        damaged in the store.
        """
        data = await self.read_head(digest, limit + 1)
        if len(data) > limit:
            raise BlobTooLarge(f"{digest} has more than {limit} bytes")
        if (actual := sha256_bytes(data)) != digest:
            raise DigestMismatch(digest, actual)
        return data

    async def read_head(self, digest: str, length: int) -> bytes:
        """Return the first `length` bytes of a blob, or all if it has fewer. Raises BlobNotFound."""
        return await self._run(self._read_head, digest, length)

    async def open_stream(self, digest: str, start: int = 0, end: int | None = None) -> BlobStream:
        """Open a blob, or its bytes from `start` to before `end`, for reading piece by piece.

        Raises BlobNotFound, and BlobRangeInvalid when `start` is behind the last byte; a whole blob is
        verified as it is read.
        """
        return await self._run(self._open_stream, digest, start, end)

    async def download_to(self, digest: str, path: Path, size: int | None = None) -> None:
        """Write a blob to `path`, whose directory exists; it appears there verified or not at all.

        Args:
            digest: the blob.
            path: where; a file that is there is replaced.
            size: its bytes, where known: a large blob then comes in several parts at a time, and goes on
                where it broke off when the network fails.

        Raises BlobNotFound, DigestMismatch when the blob is damaged in the store, OSError. When cancelled,
        no thread writes any more once it returns.
        """
        await self._downloads.to(digest, path, size)

    async def delete(self, digest: str) -> None:
        """Delete a blob; one that does not exist is no error."""
        key = self._key(digest)
        await self._run(self._remove, [key])

    def presign_upload(self, upload_id: str, part: int, expires: timedelta) -> str:
        """Return a URL of the public endpoint that takes one part of an upload by a plain HTTP PUT."""
        key = staging_key(upload_id, part)
        return str(self._public.get_presigned_url("PUT", self._bucket, key, expires=expires))

    def presign_download(self, digest: str, expires: timedelta) -> str:
        """Return a URL of the public endpoint that gives the blob by a plain HTTP GET."""
        return str(self._public.get_presigned_url("GET", self._bucket, self._key(digest), expires=expires))

    async def adopt_upload(self, upload_id: str, parts: int, digest: str, size: int) -> None:
        """Make the staged parts 1 … `parts`, one after the other, the blob `digest`, and delete them.

        The parts are read once: what is hashed is what is stored, so a later write to a staging URL that
        is still valid changes nothing. On an error the parts stay, see `discard_upload`.

        Raises BlobNotFound when a part is missing, SizeMismatch, DigestMismatch.
        """
        keys = [staging_key(upload_id, part) for part in range(1, parts + 1)]
        staged = await asyncio.gather(*(self._run(self._size, key) for key in keys))
        if None in staged:
            raise BlobNotFound(f"part {staged.index(None) + 1} of {parts} was not uploaded; send it again")
        if (total := sum(found or 0 for found in staged)) != size:
            raise SizeMismatch(size, total)
        await self._put(digest, size, lambda: self._object_chunks(keys), verify_existing=True)
        await self.discard_upload(upload_id)

    async def stage_bytes(self, upload_id: str, data: bytes) -> None:
        """Keep bytes under a name for a moment: whoever takes them removes them, else a sweep does."""
        await self._run(self._stage, staging_key(upload_id, 1), data)

    async def take_staged(self, upload_id: str, limit: int) -> bytes:
        """Return staged bytes and remove them. Raises BlobNotFound, BlobTooLarge."""
        key = staging_key(upload_id, 1)
        size = await self._run(self._size, key)
        if size is None:
            raise BlobNotFound(f"nothing is staged as {upload_id}")
        if size > limit:
            raise BlobTooLarge(f"what is staged as {upload_id} has more than {limit} bytes")
        data = await self._run(lambda: b"".join(self._object_chunks([key])))
        await self.discard_upload(upload_id)
        return data

    async def discard_upload(self, upload_id: str) -> None:
        """Delete everything staged for an upload; nothing staged is no error."""
        await self._run(self._discard, staging_prefix(upload_id))

    async def list_staging(self, older_than: datetime) -> list[str]:
        """Return the ids of uploads with staged parts, of which none was written since `older_than`."""
        return await self._run(self._list_staging, older_than)

    def _key(self, digest: str) -> str:
        return self._area + content_key(digest)

    async def _run(self, call: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call, *arguments)

    async def _chunks_of(self, chunks: AsyncIterable[bytes] | Iterable[bytes]) -> AsyncIterator[bytes]:
        if isinstance(chunks, AsyncIterable):
            async for chunk in chunks:
                yield chunk
            return
        source = iter(chunks)  # may block, so it is advanced in a thread
        while (following := await self._run(next, source, None)) is not None:
            yield following

    async def _put(
        self,
        digest: str,
        size: int,
        source: Callable[[], Iterator[bytes]],
        media_type: str | None = None,
        *,
        verify_existing: bool = False,
    ) -> None:
        key = self._key(digest)
        # Equal blobs that arrive at once are sent once.
        lock = self._writing.setdefault(digest, asyncio.Lock())
        async with lock:
            reader = VerifiedReader(source(), digest, size)
            if await self._run(self._size, key) != size:
                await self._run(self._write, key, reader, size, media_type or _MEDIA_TYPE)
            elif verify_existing:
                await self._run(reader.drain)

    # What follows blocks and runs in the store's threads.

    def _ensure_bucket(self) -> None:
        with translated(f"bucket {self._bucket}"):
            if self._client.bucket_exists(self._bucket):
                return
        try:
            with translated(f"bucket {self._bucket}"):
                self._client.make_bucket(self._bucket)
        except BlobError:
            with translated(f"bucket {self._bucket}"):
                if not self._client.bucket_exists(self._bucket):
                    raise

    def _size(self, key: str) -> int | None:
        try:
            with translated(key):
                return int(self._client.stat_object(self._bucket, key).size)
        except BlobNotFound:
            return None

    def _write(self, key: str, reader: VerifiedReader, size: int, media_type: str) -> None:
        part_size = max(PART_SIZE, -(-size // _MOST_PARTS))
        if not size:
            reader.drain()  # the driver does not read for an empty object
        with translated(f"bucket {self._bucket}"):
            self._client.put_object(
                self._bucket,
                key,
                reader if size else io.BytesIO(),
                size,
                content_type=media_type,
                part_size=part_size,
                num_parallel_uploads=1,
            )

    def _stage(self, key: str, data: bytes) -> None:
        with translated(f"bucket {self._bucket}"):
            self._client.put_object(self._bucket, key, io.BytesIO(data), len(data), part_size=PART_SIZE)

    def _object_chunks(self, keys: Sequence[str]) -> Iterator[bytes]:
        for key in keys:
            with translated(key):
                response = self._client.get_object(self._bucket, key)
            yield from chunks_of(response, key)

    def _read_head(self, digest: str, length: int) -> bytes:
        if length <= 0:
            return b""
        with translated(digest):
            response = self._client.get_object(self._bucket, self._key(digest))
        data = bytearray()
        chunks = chunks_of(response, digest)
        for chunk in chunks:
            data += chunk
            if len(data) >= length:
                break
        chunks.close()
        return bytes(data[:length])

    def _open_stream(self, digest: str, start: int, end: int | None) -> BlobStream:
        key = self._key(digest)
        if end is not None and end <= start:
            return BlobStream(iter(()), 0, None, self._run)
        with translated(digest):
            response = self._client.get_object(
                self._bucket, key, offset=start, length=0 if end is None else end - start
            )
        whole = start == 0 and end is None
        size = int(response.headers["Content-Length"])
        return BlobStream(chunks_of(response, digest), size, digest if whole else None, self._run)

    def _remove(self, keys: Iterable[str]) -> None:
        for key in keys:
            with suppress(BlobNotFound), translated(key):
                self._client.remove_object(self._bucket, key)

    def _discard(self, prefix: str) -> None:
        with translated(prefix):
            staged = [found.object_name for found in self._list(prefix)]
        self._remove(staged)

    async def usage(self, limit: int) -> tuple[int, int, bool]:
        """Return how many objects there are, their bytes, and whether all were counted: at most `limit`."""
        return await self._run(self._usage, limit)

    def _usage(self, limit: int) -> tuple[int, int, bool]:
        count = size = 0
        with translated(f"bucket {self._bucket}"):
            for found in self._list(""):
                if count == limit:
                    return count, size, False
                count, size = count + 1, size + (found.size or 0)
        return count, size, True

    def _list_staging(self, older_than: datetime) -> list[str]:
        newest: dict[str, datetime] = {}
        with translated(f"bucket {self._bucket}"):
            for found in self._list(STAGING):
                upload = upload_id_of(found.object_name)
                newest[upload] = max(found.last_modified, newest.get(upload, found.last_modified))
        return sorted(upload for upload, written in newest.items() if written < older_than)

    def _list(self, prefix: str) -> Any:
        return self._client.list_objects(self._bucket, prefix=prefix, recursive=True)


def _measure(path: Path) -> tuple[str, int]:
    return sha256_file(path), path.stat().st_size


def _file_chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from iter(lambda: file.read(CHUNK), b"")


def _rewound_chunks(file: IO[bytes]) -> Iterator[bytes]:
    file.seek(os.SEEK_SET)
    return iter(lambda: file.read(CHUNK), b"")
