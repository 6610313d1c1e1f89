"""A version's files, from the blob store to a directory that a sandbox may see read-only."""

from __future__ import annotations

import asyncio
from pathlib import Path

from pydantic import ValidationError

from vitrine_common.blobs import BlobStore
from vitrine_common.bundle import FileEntry, Manifest
from vitrine_common.errors import Invalid

MANIFEST_BYTES = 32 << 20
_AT_ONCE = 4


async def read_manifest(blobs: BlobStore, digest: str) -> Manifest:
    """Return the manifest that is the blob `digest`; raises Invalid when the blob is something else."""
    try:
        return Manifest.model_validate_json(await blobs.get_bytes(digest, MANIFEST_BYTES))
    except ValidationError as error:
        raise Invalid(f"{digest} is not a manifest") from error


def _make_directories(manifest: Manifest, directory: Path) -> None:
    for name in ("", *sorted(manifest.directories)):
        (directory / name).mkdir(mode=0o755, parents=True, exist_ok=True)


async def write_files(blobs: BlobStore, manifest: Manifest, directory: Path) -> None:
    """Fetch every file of `manifest` below `directory`, verified, world-readable and not writable.

    The manifest's paths have been checked to be relative and to stay below; `directory` is made.
    """
    await asyncio.to_thread(_make_directories, manifest, directory)
    gate = asyncio.Semaphore(_AT_ONCE)

    async def fetch(entry: FileEntry) -> None:
        path = directory / entry.path
        async with gate:
            await blobs.download_to(entry.digest, path, entry.size)
            await asyncio.to_thread(path.chmod, 0o555 if entry.executable else 0o444)

    async with asyncio.TaskGroup() as group:
        for entry in manifest.files:
            group.create_task(fetch(entry))
