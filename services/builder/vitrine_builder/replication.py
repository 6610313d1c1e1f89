"""Environments packed for hosts that do not see this store: each layer once, as an archive in the blob store.

Nothing is packed before somebody asks who works in another folder (`vitrine_common.replicas.marks`), so that
platforms whose services share a disk keep no layer twice.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from vitrine_builder.compiled import BytecodeStore
from vitrine_builder.completion import MARKER, is_complete, lock_of
from vitrine_builder.failures import disk_errors
from vitrine_builder.images.content import merge, reserved, source_of
from vitrine_builder.images.plan import plan_layers
from vitrine_builder.images.tar import Entry, Tar, file_entry, whole
from vitrine_builder.layers import Layer
from vitrine_builder.materialise import EnvironmentStore
from vitrine_builder.progress import Report, Step, silent
from vitrine_builder.repository import Environments, PackedParts
from vitrine_builder.system import tree
from vitrine_builder.system.store import load_system
from vitrine_builder.system.tree import Sink
from vitrine_common.blobs import BlobStore
from vitrine_common.clock import utcnow
from vitrine_common.digests import sha256_bytes
from vitrine_common.ids import new_id
from vitrine_common.replicas import Archive, BytecodePart, LayerPart, Replica, RootPart

PACKED_AT_ONCE = 2
_REPLICA = "replica "
"""Begins the names of parts that say what an environment is put together from."""
_LEVEL = 3
"""Of zstd. Wheels that were compressed once come out about as large as they were downloaded."""
_WANTED_SECONDS = 14 * 24 * 3600.0
"""So long after a host has asked, new environments are packed ahead."""
_RECENT_SECONDS = 3600.0
"""What was told to somebody within this time is not removed: it may be under way."""


@dataclass(frozen=True)
class Replication:
    """Packs environments of one store.

    Attributes:
        blobs: the area of the bucket that archives lie in.
        limit: bytes that they may take there.
    """

    store: EnvironmentStore
    parts: PackedParts
    environments: Environments
    blobs: BlobStore
    limit: int

    async def provide(self, digest: str, report: Report = silent, *, asked: bool = True) -> None:
        """Let other hosts fetch the environment `digest`, which is here, with the bytecode that it has.

        `asked` tells whether one of them wants it now.

        Raises:
            BuildFailure: a layer is gone and cannot be made again, or the disk is full.
            FileNotFoundError: the environment is gone.
        """
        began = utcnow()
        place = self.store.path(digest)
        lock = lock_of(place)
        async with self.store.in_use(lock):
            layers = await self.store.layers.make(list(lock.packages), report)
            complete = is_complete(place)
            with disk_errors():
                replica = await self._pack(place, layers, report, complete=complete)
                await self._tell(digest, replica, began)
        if asked:
            await self.parts.asked(layer.tree.parent.name for layer in layers)
        await self._evict()

    async def completed(self, digest: str, _milliseconds: float) -> None:
        """Pack the bytecode of an environment that was packed without.

        Where hosts have asked lately, what is new is packed before they do.
        """
        kept = await self.environments.kept(digest)
        if kept is None:
            return
        if kept.replica_digest is not None or await self.parts.wanted(_WANTED_SECONDS):
            await self.provide(digest, asked=False)

    async def _pack(self, place: Path, layers: Sequence[Layer], report: Report, *, complete: bool) -> Replica:
        ordered = [layer for group in plan_layers(layers) for layer in group]
        owners = {path: layer.tree for path, (layer, _file) in merge(ordered).items()}
        for path in reserved(self.store.target):
            owners.pop(path, None)
        turns, done = asyncio.Semaphore(PACKED_AT_ONCE), 0

        async def pack(layer: Layer) -> LayerPart:
            nonlocal done
            async with turns:
                part = await self._layer(layer, owners, complete=complete)
            done += 1
            report(Step("replicate", layer.name, done, len(ordered), "packages"))
            return part

        report(Step("replicate", "", 0, len(ordered), "packages"))
        parts = await asyncio.gather(*(pack(layer) for layer in ordered))
        return Replica(
            description=(place / "environment.json").read_text(),
            completion=(place / MARKER).read_text() if complete else None,
            files={"pyvenv.cfg": (place / "pyvenv.cfg").read_text()},
            links=_links(place),
            layers=tuple(parts),
            root=await self._root(place),
        )

    async def _layer(self, layer: Layer, owners: Mapping[str, Path], *, complete: bool) -> LayerPart:
        place = layer.tree.parent
        archive = await self._archive(
            place.name, Tar(_entries(place, layer.tree, layer.listing, "layer.json"))
        )
        without = tuple(file.path for file in layer.listing if owners.get(file.path) != layer.tree)
        compiled = BytecodeStore(self.store.layers).find(layer) if complete else None
        bytecode = None
        if compiled is not None and compiled.compiled is not None:
            found = compiled.compiled
            folder = found.tree.parent
            tar = Tar(_entries(folder, found.tree, found.listing, "bytecode.json"))
            bytecode = BytecodePart(
                name=folder.name,
                archive=await self._archive(f"{place.name}/{folder.name}", tar),
                without=tuple(
                    file.path for file in found.listing if owners.get(source_of(file.path)) != layer.tree
                ),
            )
        return LayerPart(name=place.name, archive=archive, without=without, bytecode=bytecode)

    async def _root(self, place: Path) -> RootPart | None:
        digest = json.loads((place / "environment.json").read_bytes()).get("system")
        system = load_system(self.store.workspace, digest) if digest else None
        if system is None:
            return None
        rootfs = system.path / "rootfs"

        def write(file: Sink) -> None:
            tree.write_archive(rootfs, file)

        name = digest.removeprefix("sha256:")
        return RootPart(name=name, archive=await self._packed(f"root {name}", write))

    async def _archive(self, name: str, tar: Tar) -> Archive:
        def write(file: Sink) -> None:
            for chunk in tar.chunks():
                file.write(chunk)

        return await self._packed(name, write)

    async def _packed(self, name: str, write: Callable[[Sink], None]) -> Archive:
        """Return the archive `name`, which `write` gives uncompressed where it has to be sent."""
        known = await self.parts.used(name)
        if known is not None and await self.blobs.exists(known.digest):
            return Archive(digest=known.digest, size=known.size_bytes, unpacked=known.unpacked_bytes)
        draft = self.store.workspace.drafts / new_id("packed")
        try:
            unpacked = await asyncio.to_thread(_compress, draft, write)
            digest = await self.blobs.put_file(draft)
            size = draft.stat().st_size
        finally:
            draft.unlink(missing_ok=True)
        archive = Archive(digest=digest, size=size, unpacked=unpacked)
        await self.parts.record(name, archive, utcnow())
        return archive

    async def _tell(self, digest: str, replica: Replica, began: datetime) -> None:
        """Let other hosts see what an environment is put together from; what they saw before goes.

        It was used at `began`, before its layers were: so it is removed before any of them.
        """
        data = replica.model_dump_json().encode()
        archive = Archive(digest=sha256_bytes(data), size=len(data), unpacked=len(data))
        await self.parts.record(f"{_REPLICA}{digest}", archive, began)
        await self.blobs.put_bytes(data)
        former = await self.environments.replicated(digest, archive.digest)
        if former is not None and former != archive.digest:
            await self.blobs.delete(former)

    async def _evict(self) -> None:
        """Remove what was not asked for for longest, where there is too much."""
        for part in await self.parts.surplus(self.limit, _RECENT_SECONDS):
            if await self.parts.forget(part):
                if part.id.startswith(_REPLICA):
                    await self.environments.withdraw(part.id.removeprefix(_REPLICA), part.digest)
                await self.blobs.delete(part.digest)


def _entries(
    place: Path, files: Path, listing: Sequence[tuple[str, int, bool]], about: str
) -> tuple[Entry, ...]:
    """Return the members of an archive: the file `about` of the folder `place`, and `files` below `tree/`."""
    entries = [file_entry(about, (place / about).read_bytes(), 0o644), Entry("tree/", 0o755)]
    for path, size, executable in listing:
        entries.append(Entry(f"tree/{path}", 0o555 if executable else 0o444, size, f"{files}/{path}"))
    return whole(entries)


def _links(environment: Path) -> dict[str, str]:
    def found() -> Iterator[tuple[str, str]]:
        for entry in os.scandir(environment / "bin"):
            if entry.is_symlink():
                yield f"bin/{entry.name}", os.readlink(entry.path)  # noqa: PTH115 - a path would clean it

    return dict(sorted(found()))


def _compress(draft: Path, write: Callable[[Sink], None]) -> int:
    """Write what `write` gives to `draft`, compressed; return how many bytes it was."""
    from backports import zstd

    with zstd.open(draft, "xb", level=_LEVEL) as packed:
        counted = _Counted(packed.write)
        write(counted)
        return counted.tell()


@dataclass
class _Counted:
    """Where bytes are written that are counted."""

    into: Callable[[bytes], int]
    count: int = 0

    def write(self, data: bytes) -> int:
        self.into(data)
        self.count += len(data)
        return len(data)

    def tell(self) -> int:
        return self.count
