"""Files by the digest of their manifest: fetched once, verified, and kept while there is room."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import secrets
from abc import abstractmethod
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from vitrine_common.blob_cache import BlobCache, FileMissing, boot_id
from vitrine_common.blobs import BlobNotFound, BlobStore
from vitrine_common.blobs.downloads import outlived
from vitrine_common.bundle import BundleError, FileEntry, Manifest
from vitrine_common.digests import sha256_file
from vitrine_common.errors import Invalid
from vitrine_common.materialise import read_manifest
from vitrine_common.states import Reason
from vitrine_runner.caching_disk import (
    FILES,
    RECORD,
    Record,
    make_directories,
    read_record,
    remove,
    touch,
    write_record,
)
from vitrine_runner.errors import RunFault

log = logging.getLogger(__name__)

DESCRIBED = 64
"""Sets that nothing uses and whose description stays in memory all the same."""

_SETS, _BLOBS = "sets", "blobs"


@dataclass(frozen=True)
class Files:
    """The files of a manifest on this host, shown to sandboxes read-only."""

    digest: str
    directory: Path
    size: int


F = TypeVar("F", bound=Files)


@dataclass(frozen=True)
class Coming(Generic[F]):
    """Files that are here, or on their way. Raises RunFault from `files` where they cannot come.

    Attributes:
        manifest: what they will be.
        directory: where they appear; made already, so that a sandbox can be started on it before it is full.
    """

    manifest: Manifest
    directory: Path
    _loading: asyncio.Task[F]

    @property
    def is_here(self) -> bool:
        """Whether nothing has to be waited for."""
        return self._loading.done()

    async def files(self) -> F:
        """Wait until every file is there."""
        return await asyncio.shield(self._loading)


@dataclass
class _Entry(Generic[F]):
    loading: asyncio.Task[F]
    begun: asyncio.Future[Manifest]
    users: int = 0
    last_use: float = 0.0


class FileCache(Generic[F]):
    """Sets of files below one directory, each named by the digest of its manifest.

    A set is a directory of hard links into one cache of blobs, so versions that share their weights have them
    once. What was not completed has no record and is removed by the next process. In memory is only what is
    in use, and the last few beside it.

    Files keep write permission for their owner: sandboxes see them on a read-only mount, and what a model
    rewrites in its private directory it may rewrite there, as on its author's machine.

    Args:
        directory: of this process alone.
        blobs: where manifests and files are.
        most_bytes: on this disk. Beyond that the least recently used set goes, but none in use: those may
            take more.
    """

    NOUN: ClassVar[str]
    """What a set is, in messages."""
    ADVICE: ClassVar[str]
    """What to do when one is damaged."""

    def __init__(self, directory: Path, blobs: BlobStore, most_bytes: int) -> None:
        self._directory = directory
        self._sets = directory / _SETS
        self._blobs = blobs
        self._local = BlobCache(directory / _BLOBS, blobs)
        self._most_bytes = most_bytes
        self._entries: dict[str, _Entry[F]] = {}
        self._forgotten: set[str] = set()
        self._evicting = asyncio.Lock()

    @abstractmethod
    def prepare(self, manifest: Manifest, files: Path) -> None:
        """Change freshly fetched files before they are recorded. Raises BundleError.

        What is there is a link to a blob: it may be moved and removed, never written.
        """

    @abstractmethod
    def describe(self, manifest: Manifest, files: Path, size: int) -> F:
        """Return what callers get."""

    def open(self) -> None:
        """Make the directory and remove what an interrupted process left half done; reads no manifest."""
        self._sets.mkdir(parents=True, exist_ok=True)
        for path in self._directory.iterdir():
            if path.name not in {_SETS, _BLOBS}:
                remove(path)
        for path in (self._directory, self._sets):
            path.chmod(0o755)
        with os.scandir(self._sets) as found:
            for item in found:
                if item.name.startswith(".") or not Path(item, RECORD).exists():
                    remove(Path(item))
        self._local.open()

    @property
    def digests(self) -> list[str]:
        """The manifests whose files are here."""
        return ["sha256:" + path.name for path in self._sets.iterdir() if path.name[0] != "."]

    def has(self, digest: str) -> bool:
        """Whether the files are here, as far as a look at their record tells."""
        return (self._home(digest) / RECORD).exists()

    @property
    def size(self) -> int:
        """Bytes on this disk; what several sets share counts once."""
        return self._local.size

    @asynccontextmanager
    async def held(self, digest: str) -> AsyncIterator[F]:
        """Keep the files on this host while the block lasts; fetch them first if need be.

        Raises RunFault: a file is missing or damaged in the store, or what is fetched cannot be used.
        Several callers at once share one download.
        """
        async with self.coming(digest) as coming:
            yield await coming.files()

    @asynccontextmanager
    async def coming(self, digest: str) -> AsyncIterator[Coming[F]]:
        """Like `held`, but begin the block as soon as it is known which files there will be."""
        entry = self._entries.get(digest)
        if entry is None or _failed(entry.loading):
            entry = self._entries[digest] = self._begin(digest, entry)
        entry.users += 1
        try:
            waiting: set[asyncio.Future[Any]] = {entry.begun, entry.loading}
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if not entry.begun.done():
                await asyncio.shield(entry.loading)
            yield Coming(entry.begun.result(), self._home(digest) / FILES, entry.loading)
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
            elif self._home(digest).exists():
                await self._remove_set(digest)

    async def aclose(self) -> None:
        """Stop what is being fetched."""
        loading = [entry.loading for entry in self._entries.values() if not entry.loading.done()]
        for task in loading:
            task.cancel()
        await asyncio.gather(*loading, return_exceptions=True)

    def _begin(self, digest: str, failed: _Entry[F] | None) -> _Entry[F]:
        begun: asyncio.Future[Manifest] = asyncio.get_running_loop().create_future()
        predecessor = failed.loading if failed is not None else None
        loading = asyncio.create_task(self._load(digest, begun, predecessor), name=self.NOUN)
        return _Entry(loading, begun)

    async def _leave(self, digest: str, entry: _Entry[F]) -> None:
        """Cancel what nobody waits for any more, forget what is to be forgotten, make room."""
        entry.last_use = asyncio.get_running_loop().time()
        if not entry.loading.done():
            entry.loading.cancel()
            await asyncio.wait({entry.loading})
        if self._entries.get(digest) is not entry or entry.users:
            return
        if _failed(entry.loading):
            del self._entries[digest]
            self._forgotten.discard(digest)
        elif digest in self._forgotten:
            self._forgotten.discard(digest)
            await self._remove_set(digest)
        else:
            touch(self._home(digest))
            self._shorten()
        await self._make_room(0)

    def _shorten(self) -> None:
        """Drop descriptions of sets that have not been used for longest; their files stay."""
        idle = [digest for digest, entry in self._entries.items() if not entry.users]
        idle.sort(key=lambda digest: self._entries[digest].last_use)
        for digest in idle[: max(0, len(idle) - DESCRIBED)]:
            del self._entries[digest]

    def _home(self, digest: str) -> Path:
        return self._sets / digest.removeprefix("sha256:")

    async def _make_room(self, wanted: int) -> None:
        """Remove sets that nothing uses, least recently used first, until `wanted` bytes more would fit."""
        if self._local.size + wanted <= self._most_bytes:
            return
        async with self._evicting:
            for digest in await asyncio.to_thread(self._by_last_use):
                if self._local.size + wanted <= self._most_bytes:
                    break
                entry = self._entries.get(digest)
                if entry is None or not entry.users:
                    await self._remove_set(digest)

    def _by_last_use(self) -> list[str]:
        with os.scandir(self._sets) as found:
            sets = [(item.stat().st_mtime_ns, item.name) for item in found if not item.name.startswith(".")]
        return ["sha256:" + name for _, name in sorted(sets)]

    async def _remove_set(self, digest: str) -> None:
        """Remove a set that nothing uses. It is out of sight when this first waits."""
        self._entries.pop(digest, None)
        home = self._home(digest)
        doomed = home.with_name(f".{home.name}.{secrets.token_hex(4)}")
        try:
            home.rename(doomed)
        except FileNotFoundError:
            return
        await outlived(asyncio.to_thread(self._erase, doomed))

    def _erase(self, home: Path, files: Iterable[FileEntry] = ()) -> None:
        """Remove the directory of a set, and the blobs that no other set has."""
        record = read_record(home)
        remove(home)
        self._local.release([*files, *(record.files if record else ())])

    async def _load(
        self, digest: str, begun: asyncio.Future[Manifest], predecessor: asyncio.Task[F] | None
    ) -> F:
        if predecessor is not None:
            await asyncio.wait({predecessor})
        home = self._home(digest)
        known = await outlived(asyncio.to_thread(self._read_whole, home))
        if known is not None:
            begun.set_result(known[0])
            return known[1]
        manifest = await self._manifest(digest)
        try:
            await outlived(asyncio.to_thread(make_directories, home / FILES, manifest.directories))
            begun.set_result(manifest)
            await self._fill(manifest, home)
            files = await outlived(asyncio.to_thread(self._complete, manifest, home))
        except BaseException as error:
            await outlived(asyncio.to_thread(self._erase, home, manifest.files))
            if isinstance(error, OSError | BundleError | FileMissing):
                raise self._fault(error, manifest) from error
            raise
        log.info("%s fetched", self.NOUN, extra={"digest": digest, "bytes": files.size})
        return files

    def _fault(self, error: OSError | BundleError | FileMissing, manifest: Manifest) -> RunFault:
        if isinstance(error, BundleError):
            return RunFault(Reason.USER_ERROR, f"The model's archive cannot be used: {error.message}")
        if isinstance(error, FileMissing):
            message = f"`{error.path}` of this {self.NOUN} is not in the store; {self.ADVICE}."
        elif error.errno == errno.ENOSPC:
            message = (
                f"The {self.NOUN} ({manifest.total_bytes} bytes) does not fit on the runner's disk, which is "
                "full. Try again later; its operator can free space or lower "
                "VITRINE_RUNNER_BUNDLE_CACHE_BYTES."
            )
        else:
            message = f"The {self.NOUN} cannot be written: {error.strerror}"
        return RunFault(Reason.PLATFORM_ERROR, message)

    async def _manifest(self, digest: str) -> Manifest:
        try:
            return await read_manifest(self._blobs, digest)
        except (BlobNotFound, Invalid) as error:
            message = f"The {self.NOUN}'s manifest {digest} is missing or damaged; {self.ADVICE}."
            raise RunFault(Reason.PLATFORM_ERROR, message) from error

    async def _fill(self, manifest: Manifest, home: Path) -> None:
        await self._make_room(await asyncio.to_thread(self._local.lacking, manifest.files))
        try:
            await self._local.place(manifest.files, home / FILES)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            log.warning("the disk is full: every %s that nothing uses is removed", self.NOUN)
            await self._make_room(self._most_bytes)
            await self._local.place(manifest.files, home / FILES)

    def _complete(self, manifest: Manifest, home: Path) -> F:
        """Prepare the files and write the record, which makes the set one."""
        files = home / FILES
        self.prepare(manifest, files)
        placed = {file.path: file for file in manifest.files}
        shown = [str(path.relative_to(files)) for path in files.rglob("*") if path.is_file()]
        kept = tuple(placed.get(name) or self._local.adopt(files / name, name) for name in shown)
        # What was fetched and is not shown: the archive of a model.
        self._local.release(manifest.files)
        record = Record(manifest=manifest, files=kept, boot=boot_id())
        write_record(home, record)
        return self.describe(manifest, files, record.size)

    def _read_whole(self, home: Path) -> tuple[Manifest, F] | None:
        """Return a set that an earlier process left here, or None; what is there is removed then."""
        record = read_record(home)
        if record is not None and self._is_whole(record, home):
            return record.manifest, self.describe(record.manifest, home / FILES, record.size)
        self._erase(home)
        return None

    def _is_whole(self, record: Record, home: Path) -> bool:
        """Whether every file has its size, and its bytes where the machine went down since they were written.

        A blob that is damaged is given up.
        """
        boot = boot_id()
        for file in record.files:
            path = home / FILES / file.path
            try:
                sound = path.stat().st_size == file.size
                if sound and record.boot != boot:
                    sound = sha256_file(path) == file.digest
            except OSError:
                sound = False
            if not sound:
                self._local.give_up(file, path)
                return False
        if record.boot != boot:
            write_record(home, record.model_copy(update={"boot": boot}))
        return True


def _failed(task: asyncio.Task[F]) -> bool:
    if not task.done():
        return task.cancelling() > 0
    return task.cancelled() or task.exception() is not None
