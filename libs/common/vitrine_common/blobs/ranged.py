"""A large blob in parts: several at a time, hashed in order while they arrive. Everything here blocks."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import threading
from collections.abc import Callable, Generator
from concurrent.futures import Executor, wait

from vitrine_common.blobs.errors import BlobError, BlobStoreUnavailable

PART = 16 << 20
"""Bytes that one request asks for; smaller blobs come by one request."""
PARTS_AT_ONCE = 4
ATTEMPTS = 5
"""How often in a row a part may bring nothing before the download fails."""
PAUSE_SECONDS = 0.2
_HASHED_AT_ONCE = 1 << 20
_NO_RESERVATION = {errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS}

ReadRange = Callable[[int, int], Generator[bytes, None, None]]


class RangedDownload:
    """One download of `size` bytes, used once.

    What arrives is written in its place at once; hashing follows in order, out of the page cache, so nothing
    is read from the disk and no part is held in memory. A part that breaks off goes on where it did.

    Args:
        read_range: yields the bytes from an offset to before another; raises BlobStoreUnavailable when the
            network fails, which is tried again.
        size: bytes of the blob.
        part: bytes of one request.
    """

    def __init__(self, read_range: ReadRange, size: int, part: int = PART) -> None:
        self._read_range = read_range
        self._size = size
        self._part = part
        self._arrived = [0] * -(-size // part)
        self._next = 0
        self._error: BaseException | None = None
        self._stopped = threading.Event()
        self._changed = threading.Condition()

    def stop(self) -> None:
        """End the download soon; harmless when it has ended."""
        with self._changed:
            self._stopped.set()
            self._changed.notify_all()

    def run(self, descriptor: int, threads: Executor) -> str:
        """Write the blob to an open file and return the digest of what was written.

        Args:
            descriptor: of an empty file, open for reading and writing.
            threads: where the parts are fetched.

        Raises BlobError as `read_range` does, OSError (at once when the disk has too little room).
        """
        reserve(descriptor, self._size)
        workers = min(PARTS_AT_ONCE, len(self._arrived))
        fetching = [threads.submit(self._fetch_parts, descriptor) for _ in range(workers)]
        try:
            return self._hashed(descriptor)
        finally:
            self.stop()
            wait(fetching)

    def _hashed(self, descriptor: int) -> str:
        hashed = hashlib.sha256()
        buffer = memoryview(bytearray(_HASHED_AT_ONCE))
        offset = 0
        while offset < self._size:
            ready = self._ready(offset)
            while offset < ready:
                count = os.preadv(descriptor, [buffer[: min(len(buffer), ready - offset)]], offset)
                hashed.update(buffer[:count])
                offset += count
        return "sha256:" + hashed.hexdigest()

    def _ready(self, offset: int) -> int:
        """Wait for bytes at `offset`; return how far they go within its part."""
        part = offset // self._part
        with self._changed:
            while True:
                if self._error is not None:
                    raise self._error
                if self._stopped.is_set():
                    raise BlobStoreUnavailable("the download was stopped")
                end = part * self._part + self._arrived[part]
                if end > offset:
                    return end
                self._changed.wait()

    def _fetch_parts(self, descriptor: int) -> None:
        try:
            while (part := self._take()) is not None:
                self._fetch(part, descriptor)
        except BaseException as error:  # noqa: BLE001 - it is raised where the digest is waited for
            with self._changed:
                self._error = self._error or error
                self._stopped.set()
                self._changed.notify_all()

    def _take(self) -> int | None:
        with self._changed:
            if self._stopped.is_set() or self._next == len(self._arrived):
                return None
            self._next += 1
            return self._next - 1

    def _fetch(self, part: int, descriptor: int) -> None:
        start = part * self._part
        end = min(start + self._part, self._size)
        vain = 0
        while start + self._arrived[part] < end and not self._stopped.is_set():
            before = self._arrived[part]
            try:
                self._receive(part, start + before, end, descriptor)
            except BlobStoreUnavailable:
                vain = 0 if self._arrived[part] > before else vain + 1
                if vain == ATTEMPTS:
                    raise
                self._stopped.wait(PAUSE_SECONDS * 2**vain)

    def _receive(self, part: int, offset: int, end: int, descriptor: int) -> None:
        with contextlib.closing(self._read_range(offset, end)) as chunks:
            for chunk in chunks:
                if self._stopped.is_set():
                    return
                if len(chunk) > end - offset:
                    raise BlobError("the S3 server sent more bytes than it was asked for")
                _write(descriptor, chunk, offset)
                offset += len(chunk)
                with self._changed:
                    self._arrived[part] += len(chunk)
                    self._changed.notify_all()
        if offset < end:
            raise BlobStoreUnavailable("the S3 server broke off; try again in a moment")


def reserve(descriptor: int, size: int) -> None:
    """Have the disk set `size` bytes aside, so that one that is too full says so before anything is sent.

    Raises OSError.
    """
    try:
        os.posix_fallocate(descriptor, 0, size)
    except OSError as error:
        if error.errno not in _NO_RESERVATION:
            raise


def _write(descriptor: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        count = os.pwrite(descriptor, view, offset)
        view, offset = view[count:], offset + count
