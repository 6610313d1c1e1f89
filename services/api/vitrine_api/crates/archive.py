"""Writing the archive while it is sent: a zip file of any size, in constant memory."""

from __future__ import annotations

import zipfile
from collections.abc import AsyncIterator
from datetime import datetime
from typing import IO, cast

from vitrine_api.crates.contents import Contents, File
from vitrine_api.crates.metadata import NAME, metadata
from vitrine_common.blobs import BlobStore

_EARLIEST = 1980
_READABLE = 0o644 << 16


class Sink:
    """What a zip file is written into: it cannot go back, and gives away what it was given."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> int:
        """Take bytes."""
        self._parts.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Do nothing: whoever sends takes what is there."""

    def taken(self) -> bytes:
        """Return what was written since the last time."""
        parts, self._parts = self._parts, []
        return b"".join(parts)


async def archive(contents: Contents, blobs: BlobStore) -> AsyncIterator[bytes]:
    """Yield the zip file of an archive; texts are compressed, the bundle's files stored as they are.

    Raises BlobNotFound when a file of the bundle is gone: the answer then breaks off and is no zip file.
    """
    sink = Sink()
    with zipfile.ZipFile(cast("IO[bytes]", sink), "w", zipfile.ZIP_DEFLATED) as writer:
        writer.writestr(_entry(NAME, contents.created_at), metadata(contents))
        for file in contents.files:
            entry = _entry(file.path, contents.created_at)
            if isinstance(file, File):
                writer.writestr(entry, file.data)
                yield sink.taken()
                continue
            entry.compress_type = zipfile.ZIP_STORED
            async with await blobs.open_stream(file.digest) as stream:
                with writer.open(entry, "w", force_zip64=True) as target:
                    async for chunk in stream:
                        target.write(chunk)
                        yield sink.taken()
    yield sink.taken()


def _entry(path: str, at: datetime) -> zipfile.ZipInfo:
    """Return the entry of a file; the version's time stands for all: equal contents, equal archives."""
    time = (max(at.year, _EARLIEST), at.month, at.day, at.hour, at.minute, at.second)
    entry = zipfile.ZipInfo(path, time)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = _READABLE
    return entry
