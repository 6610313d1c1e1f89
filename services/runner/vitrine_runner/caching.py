"""Files by the digest of their manifest: fetched once, verified, and kept while there is room."""

from __future__ import annotations

import asyncio
import logging
import secrets
import shutil
from abc import abstractmethod
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from vitrine_common.blobs import BlobNotFound, BlobStore
from vitrine_common.bundle import BundleError, FileEntry, Manifest
from vitrine_common.errors import Invalid
from vitrine_common.materialise import read_manifest
from vitrine_common.states import Reason
from vitrine_runner.errors import RunFault

log = logging.getLogger(__name__)

DOWNLOADS = 6
"""Files of one manifest that are fetched at a time."""

_RECORD, _FILES = "bundle.json", "files"


@dataclass(frozen=True)
class Files:
    """The files of a manifest on this host, shown to sandboxes read-only."""

    digest: str
    directory: Path
    size: int


F = TypeVar("F", bound=Files)


@dataclass
class _Entry(Generic[F]):
    loading: asyncio.Task[F]
    users: int = 0


class FileCache(Generic[F]):
    """Sets of files below one directory, each named by the digest of its manifest.

    Files keep write permission for their owner: sandboxes see them on a read-only mount, and what a model
    rewrites in its private directory it may rewrite there, as on its author's machine.

    Args:
        directory: of this process alone.
        blobs: where manifests and files are.
        most_bytes: of sets that nothing uses; the least recently used goes first.
    """

    NOUN: ClassVar[str]
    """What a set is, in messages."""
    ADVICE: ClassVar[str]
    """What to do when one is damaged."""

    def __init__(self, directory: Path, blobs: BlobStore, most_bytes: int) -> None:
        self._directory = directory
        self._blobs = blobs
        self._most_bytes = most_bytes
        self._entries: dict[str, _Entry[F]] = {}
        self._last_use: dict[str, float] = {}
        self._sizes: dict[str, int] = {}
        self._forgotten: set[str] = set()

    @abstractmethod
    def prepare(self, manifest: Manifest, files: Path) -> None:
        """Change freshly fetched files before they are recorded. Raises BundleError."""

    @abstractmethod
    def describe(self, manifest: Manifest, files: Path, size: int) -> F:
        """Return what callers get."""

    def open(self) -> None:
        """Make the directory and remove what an interrupted process left half done."""
        self._directory.mkdir(parents=True, exist_ok=True)
        self._directory.chmod(0o755)
        for path in self._directory.iterdir():
            record = _read_record(path)
            if path.name.startswith(".") or record is None:
                shutil.rmtree(path, ignore_errors=True)
            else:
                self._sizes["sha256:" + path.name] = record.size

    @asynccontextmanager
    async def held(self, digest: str) -> AsyncIterator[F]:
        """Keep the files on this host while the block lasts; fetch them first if need be.

        Raises RunFault: a file is missing or damaged in the store, or what is fetched cannot be used.
        Several callers at once share one download.
        """
        entry = self._entries.get(digest)
        if entry is None or _failed(entry.loading):
            entry = self._entries[digest] = _Entry(asyncio.create_task(self._load(digest), name=self.NOUN))
        entry.users += 1
        try:
            yield await asyncio.shield(entry.loading)
        finally:
            entry.users -= 1
            if not entry.users:
                await self._leave(digest, entry)

    async def forget(self, digests: Iterable[str]) -> None:
        """Remove files whose owner deleted them; those in use go when nothing uses them any more."""
        for digest in digests:
            entry = self._entries.get(digest)
            if entry is not None and entry.users:
                self._forgotten.add(digest)
            elif digest in self._sizes:
                await asyncio.to_thread(shutil.rmtree, self._detach(digest), ignore_errors=True)

    @property
    def digests(self) -> list[str]:
        """The manifests whose files are here."""
        return list(self._sizes)

    async def aclose(self) -> None:
        """Stop what is being fetched."""
        loading = [entry.loading for entry in self._entries.values() if not entry.loading.done()]
        for task in loading:
            task.cancel()
        await asyncio.gather(*loading, return_exceptions=True)

    async def _leave(self, digest: str, entry: _Entry[F]) -> None:
        """Forget a failure, cancel what nobody waits for any more, make room."""
        self._last_use[digest] = asyncio.get_running_loop().time()
        if self._entries.get(digest) is entry and (_failed(entry.loading) or not entry.loading.done()):
            del self._entries[digest]
        if not entry.loading.done():
            entry.loading.cancel()
            await asyncio.gather(entry.loading, return_exceptions=True)
            return
        surplus = set(self._surplus())
        if digest in self._forgotten:
            self._forgotten.discard(digest)
            surplus |= {digest} & self._sizes.keys()
        doomed = [self._detach(digest) for digest in surplus]
        for path in doomed:
            await asyncio.to_thread(shutil.rmtree, path, ignore_errors=True)

    def _detach(self, digest: str) -> Path:
        """Take a set that nothing uses out of sight; return where its files wait for removal."""
        self._entries.pop(digest, None)
        del self._sizes[digest]
        home = self._home(digest)
        return home.rename(home.with_name(f".{home.name}.{secrets.token_hex(4)}"))

    def _home(self, digest: str) -> Path:
        return self._directory / digest.removeprefix("sha256:")

    def _surplus(self) -> list[str]:
        """Return the sets to remove: not in use, least recently used first, until the rest fits."""
        used = {digest for digest, entry in self._entries.items() if entry.users}
        kept = sorted(
            (self._last_use.get(digest, 0.0), digest) for digest in self._sizes if digest not in used
        )
        total = sum(self._sizes[digest] for _, digest in kept)
        surplus = []
        for _, digest in kept:
            if total <= self._most_bytes:
                break
            total -= self._sizes[digest]
            surplus.append(digest)
        return surplus

    async def _load(self, digest: str) -> F:
        home = self._home(digest)
        known = await asyncio.to_thread(self._read_whole, home)
        if known is not None:
            self._sizes[digest] = known.size
            return known
        manifest = await self._manifest(digest)
        partial = self._directory / f".{home.name}.{secrets.token_hex(4)}"
        try:
            await self._fetch(manifest, partial / _FILES)
            files = await asyncio.to_thread(self._complete, manifest, partial, home)
        except BundleError as error:
            raise RunFault(
                Reason.USER_ERROR, f"The model's archive cannot be used: {error.message}"
            ) from error
        except OSError as error:
            raise RunFault(
                Reason.PLATFORM_ERROR, f"The {self.NOUN} cannot be written: {error.strerror}"
            ) from error
        finally:
            await asyncio.to_thread(shutil.rmtree, partial, ignore_errors=True)
        self._sizes[digest] = files.size
        log.info("%s fetched", self.NOUN, extra={"digest": digest, "bytes": files.size})
        return files

    async def _manifest(self, digest: str) -> Manifest:
        try:
            return await read_manifest(self._blobs, digest)
        except (BlobNotFound, Invalid) as error:
            message = f"The {self.NOUN}'s manifest {digest} is missing or damaged; {self.ADVICE}."
            raise RunFault(Reason.PLATFORM_ERROR, message) from error

    async def _fetch(self, manifest: Manifest, directory: Path) -> None:
        await asyncio.to_thread(_make_directories, directory, manifest.directories)
        turns = asyncio.Semaphore(DOWNLOADS)

        async def fetch(entry: FileEntry) -> None:
            path = directory / entry.path
            async with turns:
                try:
                    await self._blobs.download_to(entry.digest, path)
                except BlobNotFound as error:
                    message = f"`{entry.path}` of this {self.NOUN} is not in the store; {self.ADVICE}."
                    raise RunFault(Reason.PLATFORM_ERROR, message) from error
                path.chmod(0o755 if entry.executable else 0o644)

        tasks = [asyncio.create_task(fetch(entry)) for entry in manifest.files]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _complete(self, manifest: Manifest, partial: Path, home: Path) -> F:
        """Prepare the files, write the record, and put the set in its place."""
        files = partial / _FILES
        self.prepare(manifest, files)
        sizes = {
            str(path.relative_to(files)): path.stat().st_size for path in files.rglob("*") if path.is_file()
        }
        record = _Record(manifest=manifest, sizes=sizes)
        (partial / _RECORD).write_text(record.model_dump_json())
        shutil.rmtree(home, ignore_errors=True)
        partial.rename(home)
        return self.describe(manifest, home / _FILES, record.size)

    def _read_whole(self, home: Path) -> F | None:
        """Return a set that an earlier process left here, or None where a file lacks or has another size."""
        record = _read_record(home)
        try:
            if record is None or any(
                (home / _FILES / path).stat().st_size != size for path, size in record.sizes.items()
            ):
                return None
            return self.describe(record.manifest, home / _FILES, record.size)
        except OSError:
            return None


def _failed(task: asyncio.Task[F]) -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)


def _make_directories(root: Path, directories: Iterable[str]) -> None:
    root.mkdir(parents=True)
    for path in sorted(directories):
        (root / path).mkdir(exist_ok=True)
    for made in (root.parent, root, *(root / name for name in directories)):
        made.chmod(0o755)


class _Record(BaseModel):
    """What is written down beside the files of a complete set."""

    manifest: Manifest
    sizes: dict[str, int]

    @property
    def size(self) -> int:
        return sum(self.sizes.values())


def _read_record(home: Path) -> _Record | None:
    try:
        return _Record.model_validate_json((home / _RECORD).read_bytes())
    except (OSError, ValidationError):
        return None
