"""Large blobs: in parts, over connections that break, in bounded memory."""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from blob_stores import ABSENT, MIB, overwrite
from vitrine_common.blobs import (
    BlobNotFound,
    BlobStore,
    DigestMismatch,
)
from vitrine_common.blobs.ranged import PART
from vitrine_common.settings import S3Settings

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
