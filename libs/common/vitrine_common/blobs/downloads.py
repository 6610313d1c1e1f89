"""Blobs to files: a small one by one request, a large one in parts; whole and verified, or not at all."""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
from collections.abc import Awaitable, Callable, Generator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from vitrine_common.blobs.errors import BlobError, DigestMismatch, translated
from vitrine_common.blobs.keys import content_key
from vitrine_common.blobs.ranged import PART, PARTS_AT_ONCE, RangedDownload
from vitrine_common.blobs.streams import chunks_of

T = TypeVar("T")

LARGE_AT_ONCE = 2
"""Downloads in parts that go on at a time; each has several connections."""
CONNECTIONS = LARGE_AT_ONCE * PARTS_AT_ONCE


class Downloads:
    """Downloads from one bucket.

    Args:
        client: the driver's.
        bucket: its name.
        threads: where whole downloads are waited for; their parts have threads of their own.
        key: of a digest.
    """

    def __init__(
        self, client: Any, bucket: str, threads: Executor, key: Callable[[str], str] = content_key
    ) -> None:
        self._client = client
        self._bucket = bucket
        self._threads = threads
        self._key = key
        self._parts = ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="parts of blobs")
        self._large = asyncio.Semaphore(LARGE_AT_ONCE)

    def close(self) -> None:
        """Wait for what is being fetched; blocks."""
        self._parts.shutdown()

    async def to(self, digest: str, path: Path, size: int | None) -> None:
        """See `BlobStore.download_to`."""
        if size is None or size <= PART:
            await self._run(partial(self._download, digest, path, self._stream_into))
            return
        transfer = RangedDownload(partial(self._range_chunks, digest), size)
        fill = partial(self._parts_into, transfer)
        async with self._large:
            await self._run(partial(self._download, digest, path, fill), transfer.stop)

    def _run(self, call: Callable[[], T], stop: Callable[[], None] = lambda: None) -> Awaitable[T]:
        return outlived(asyncio.get_running_loop().run_in_executor(self._threads, call), stop)

    def _download(self, digest: str, path: Path, fill: Callable[[str, int], str]) -> None:
        hidden = path.with_name(f".{path.name[:100]}.{secrets.token_hex(8)}.partial")
        descriptor = os.open(hidden, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            actual = fill(digest, descriptor)
            if actual != digest:
                raise DigestMismatch(digest, actual)
            hidden.replace(path)
        finally:
            os.close(descriptor)
            with suppress(FileNotFoundError):
                hidden.unlink()

    def _stream_into(self, digest: str, descriptor: int) -> str:
        hashed = hashlib.sha256()
        with translated(digest):
            response = self._client.get_object(self._bucket, self._key(digest))
        with os.fdopen(descriptor, "wb", closefd=False) as file:
            for chunk in chunks_of(response, digest):
                hashed.update(chunk)
                file.write(chunk)
        return "sha256:" + hashed.hexdigest()

    def _parts_into(self, transfer: RangedDownload, digest: str, descriptor: int) -> str:
        # Asked first: no disk space is set aside for a blob that is not there.
        with translated(digest):
            self._client.stat_object(self._bucket, self._key(digest))
        return transfer.run(descriptor, self._parts)

    def _range_chunks(self, digest: str, start: int, end: int) -> Generator[bytes, None, None]:
        with translated(digest):
            response = self._client.get_object(
                self._bucket, self._key(digest), offset=start, length=end - start
            )
        chunks = chunks_of(response, digest)
        try:
            # Not by the status: some servers say 200 and send the part all the same.
            if not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
                raise BlobError("the S3 server does not give parts of what it stores")
            yield from chunks
        finally:
            chunks.close()


async def outlived(work: Awaitable[T], stop: Callable[[], None] = lambda: None) -> T:
    """Await what runs in a thread; when cancelled, call `stop` and await it to its end all the same."""
    running = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        stop()
        await asyncio.wait({running})
        if not running.cancelled():
            running.exception()
        raise
