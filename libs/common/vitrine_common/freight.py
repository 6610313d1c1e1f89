"""Bytes that are too large for a message of the bus, handed on by a file or by the blob store.

Sender and receiver are often on one machine, or see one network folder: where both were given the same
directory (`VITRINE_SHARED_DIR`), a file there is the shortest way. Whether it is the same one, a small file
that the sender keeps in it tells. Else the blob store holds the bytes for a moment.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from vitrine_common.blobs import BlobStore
from vitrine_common.errors import Invalid, NotFound, Unavailable
from vitrine_common.ids import new_id

INLINE_BYTES = 768 << 10
"""Most bytes that a message carries itself: NATS takes 1 MiB, and there is a head, too."""
MARK = "mark-"


@dataclass(frozen=True)
class Freight:
    """Where bytes are, if not in the message: at most one of the two is set."""

    file: str | None = None
    staged: str | None = None


class Carriage:
    """Takes bytes to another process. One per process.

    Args:
        directory: shared with the other side, or None.
        blobs: the other way.
    """

    def __init__(self, directory: Path | None, blobs: BlobStore) -> None:
        self._directory = directory
        self._blobs = blobs
        self._seen: dict[str, bool] = {}
        self.mark: str | None = None
        """Name of this process's file in the directory, for others to look for."""

    def open(self) -> None:
        """Leave this process's mark in the directory. Raises Unavailable when it cannot be used."""
        if self._directory is None:
            return
        self.mark = f"{MARK}{secrets.token_hex(16)}"
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            (self._directory / self.mark).touch(mode=0o600)
        except OSError as error:
            text = f"VITRINE_SHARED_DIR: {self._directory} cannot be used: {error.strerror}"
            raise Unavailable(text) from error

    def close(self) -> None:
        """Remove the mark."""
        if self._directory is not None and self.mark is not None:
            (self._directory / self.mark).unlink(missing_ok=True)

    def shares_with(self, mark: str | None) -> bool:
        """Say whether whoever left this mark has the same directory."""
        if self._directory is None or mark is None or not mark.startswith(MARK) or "/" in mark:
            return False
        if mark not in self._seen:
            self._seen[mark] = (self._directory / mark).is_file()
        return self._seen[mark]

    async def put(self, data: bytes | memoryview, *, shared: bool) -> Freight:
        """Put bytes where the other side finds them: into the directory if it is shared."""
        if shared and self._directory is not None:
            name = f"call-{secrets.token_hex(16)}"
            await asyncio.to_thread(_write, self._directory / name, data)
            return Freight(file=name)
        name = new_id("call")
        await self._blobs.stage_bytes(name, bytes(data))
        return Freight(staged=name)

    async def take(self, file: str | None, staged: str | None, size: int) -> bytes:
        """Return the bytes and remove them. Raises NotFound, Invalid when they are not `size` many."""
        data = b""
        if file is not None:
            data = await asyncio.to_thread(self._read, file)
        elif staged is not None:
            data = await self._blobs.take_staged(staged, size)
        if len(data) != size:
            raise Invalid(f"{len(data)} bytes came where {size} were announced")
        return data

    async def drop(self, freight: Freight) -> None:
        """Remove what nobody took."""
        if freight.file is not None and self._directory is not None:
            (self._directory / freight.file).unlink(missing_ok=True)
        if freight.staged is not None:
            with suppress(Unavailable):
                await self._blobs.discard_upload(freight.staged)

    def _read(self, name: str) -> bytes:
        if self._directory is None or "/" in name or not name.startswith("call-"):
            raise NotFound(f"there is no shared file {name[:80]!r}")
        path = self._directory / name
        try:
            return path.read_bytes()
        except FileNotFoundError:
            raise NotFound(f"there is no shared file {name[:80]!r}") from None
        finally:
            path.unlink(missing_ok=True)


def _write(path: Path, data: bytes | memoryview) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb", buffering=0) as file:  # noqa: PTH123 - by descriptor, for its mode
        file.write(data)
