"""Bytes on their way into and out of the S3 server. Everything here blocks, except `BlobStream`."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any, Protocol, Self

from vitrine_common.blobs.errors import DigestMismatch, SizeMismatch, translated

CHUNK = 1 << 18
"""Bytes moved at once; urllib3 takes twice as long where it has to put larger pieces together."""

Step = Callable[[], bytes | None]


class Response(Protocol):
    """The part of urllib3's response that is used."""

    headers: Any

    def read(self, amt: int) -> bytes:
        """Return up to `amt` bytes; nothing at the end."""

    def close(self) -> None:
        """Drop the connection."""

    def release_conn(self) -> None:
        """Give the connection back to its pool."""


def chunks_of(response: Response, what: str) -> Generator[bytes, None, None]:
    """Yield a response's bytes, a chunk at a time, and give its connection back."""
    try:
        with translated(what):
            while chunk := response.read(CHUNK):
                yield chunk
    finally:
        response.close()
        response.release_conn()


class VerifiedReader:
    """A readable whose last bytes come out only if all bytes have the announced size and digest.

    The driver reads a whole part before it sends it, and completes an object after its last part: an
    object written from this reader appears with the right bytes or not at all. What was hashed is what
    was sent, whatever happens to the source meanwhile.

    Args:
        source: the bytes, in order; read once.
        digest: what they must hash to.
        size: how many they must be.
    """

    def __init__(self, source: Iterable[bytes], digest: str, size: int) -> None:
        self._source = iter(source)
        self._digest = digest
        self._size = size
        self._seen = 0
        self._hash = hashlib.sha256()
        self._pending = b""
        self._verified = False

    def read(self, length: int) -> bytes:
        """Return up to `length` bytes; nothing at the end. Raises DigestMismatch, SizeMismatch."""
        if not self._pending:
            self._pending = self._next()
        # The end is looked for before the last bytes leave, not after.
        if self._seen == self._size and not self._verified:
            self._verify()
        data, self._pending = self._pending[:length], self._pending[length:]
        return data

    def drain(self) -> None:
        """Read to the end for the checks alone."""
        while self.read(CHUNK):
            pass

    def _next(self) -> bytes:
        chunk = next((chunk for chunk in self._source if chunk), b"")
        self._seen += len(chunk)
        if self._seen > self._size or (not chunk and self._seen < self._size):
            raise SizeMismatch(self._size, self._seen)
        self._hash.update(chunk)
        return chunk

    def _verify(self) -> None:
        for chunk in self._source:
            if chunk:
                raise SizeMismatch(self._size, self._seen + len(chunk))
        actual = "sha256:" + self._hash.hexdigest()
        if actual != self._digest:
            raise DigestMismatch(self._digest, actual)
        self._verified = True


class BlobStream:
    """A blob, or a range of it, as an asynchronous iterator of chunks; close it when not read to its end.

    A whole blob is hashed on the way: if it is damaged, the iteration ends with DigestMismatch, so a
    reader that stops at an exception never takes damaged bytes for a complete blob.

    Attributes:
        size: bytes that the iteration yields.
    """

    def __init__(
        self, chunks: Iterator[bytes], size: int, digest: str | None, run: Callable[[Step], Any]
    ) -> None:
        self.size = size
        self._chunks = chunks
        self._digest = digest
        self._hash = hashlib.sha256()
        self._run = run
        # A reader that is cancelled closes the stream while a thread may still be at its last chunk.
        self._lock = threading.Lock()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        chunk: bytes | None = await self._run(self._step)
        if chunk is None:
            raise StopAsyncIteration
        return chunk

    async def aclose(self) -> None:
        """Give the connection back; harmless when done already."""
        await self._run(self._close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.aclose()

    def _step(self) -> bytes | None:
        with self._lock:
            chunk = next(self._chunks, None)
        if self._digest is None:
            return chunk
        if chunk is not None:
            self._hash.update(chunk)
            return chunk
        actual = "sha256:" + self._hash.hexdigest()
        if actual != self._digest:
            raise DigestMismatch(self._digest, actual)
        return None

    def _close(self) -> None:
        close: Callable[[], None] | None = getattr(self._chunks, "close", None)
        if close is not None:
            with self._lock:
                close()
