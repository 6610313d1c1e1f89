"""Blobs on this host's disk: each is fetched once, and hard-linked to wherever its bytes are wanted."""

from __future__ import annotations

import asyncio
import errno
import os
import secrets
import shutil
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from vitrine_common.blobs import BlobNotFound, BlobStore
from vitrine_common.blobs.downloads import outlived
from vitrine_common.bundle import FileEntry
from vitrine_common.digests import sha256_file

DOWNLOADS = 6
"""Files that are fetched at a time."""
_NO_LINK = {errno.EMLINK, errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EXDEV}
"""One file has too many names already (65000 with ext4), or the file system has no hard links."""


class FileMissing(BlobNotFound):
    """A file's blob is not in the store. `path` is the file's."""

    def __init__(self, path: str) -> None:
        super().__init__(f"`{path}` is not in the store")
        self.path = path


@dataclass
class _Fetch:
    task: asyncio.Task[None]
    users: int = 0


class BlobCache:
    """Blobs below one directory of this process alone, and how many bytes they are.

    A blob stays as long as a file outside of the directory is a link to it: `release` removes the others. So
    what shows bytes decides how long they are here, and those of two versions that share their weights are
    once on the disk and once in the page cache.

    A blob appears whole, verified and with its mode, or not at all; what a killed process left behind is
    removed by `open`. Nothing waits for the disk: what was not written down when the *machine* went down is
    found by whoever verifies blobs after its start (`boot_id`).

    A link shares its file's mode: a blob that is a program in some bundles and data in others is here twice.
    Nothing in the directory, and no link to it, may be shown to anybody who can write.
    """

    def __init__(self, directory: Path, blobs: BlobStore) -> None:
        self._directory = directory
        self._blobs = blobs
        self._turns = asyncio.Semaphore(DOWNLOADS)
        self._fetching: dict[str, _Fetch] = {}
        self._lock = threading.Lock()
        self._wanted: Counter[str] = Counter()
        self._bytes = 0

    @property
    def size(self) -> int:
        """Bytes of the blobs that are here."""
        return self._bytes

    def open(self) -> None:
        """Make the directory, remove what nothing links to, and count; blocks, and reads no file."""
        self._directory.mkdir(parents=True, exist_ok=True)
        self._bytes = 0
        with os.scandir(self._directory) as found:
            for item in found:
                stat = item.stat(follow_symlinks=False)
                if item.name.startswith(".") or stat.st_nlink < 2:
                    Path(item).unlink()
                else:
                    self._bytes += stat.st_size

    def lacking(self, files: Iterable[FileEntry]) -> int:
        """Return how many bytes would have to be fetched for `files`; blocks."""
        sizes = {_name(file): file.size for file in files}
        return sum(size for name, size in sizes.items() if not (self._directory / name).exists())

    async def place(self, files: Iterable[FileEntry], root: Path) -> None:
        """Let `files` appear below `root`, where their directories exist; fetch what is not here.

        Callers at once share what they have in common. When cancelled, nothing is written any more once it
        returns; files that appeared stay for the caller to remove.

        Raises FileMissing, DigestMismatch, BlobStoreUnavailable, OSError.
        """
        by_name: dict[str, list[FileEntry]] = {}
        for file in files:
            by_name.setdefault(_name(file), []).append(file)
        with self._held(by_name):
            missing = await outlived(asyncio.to_thread(self._link_present, by_name, root))
            supplying = [asyncio.create_task(self._supply(name, by_name[name], root)) for name in missing]
            try:
                await asyncio.gather(*supplying)
            finally:
                for task in supplying:
                    task.cancel()
                await asyncio.gather(*supplying, return_exceptions=True)

    def adopt(self, path: Path, shown_as: str) -> FileEntry:
        """Take the file at `path` in as a blob, or replace it by a link to the same one; blocks.

        Returns what it is, named `shown_as`. Raises OSError.
        """
        stat = path.stat()
        file = FileEntry(
            path=shown_as,
            digest=sha256_file(path),
            size=stat.st_size,
            executable=bool(stat.st_mode & 0o100),
        )
        path.chmod(_mode(file))
        kept = self._directory / _name(file)
        with self._lock:
            try:
                os.link(path, kept)
                self._bytes += file.size
            except FileExistsError:
                twin = path.with_name(f".{secrets.token_hex(8)}")
                _link(kept, twin)
                twin.replace(path)
            except OSError as error:
                if error.errno not in _NO_LINK:
                    raise
        return file

    def release(self, files: Iterable[FileEntry]) -> None:
        """Remove those of the blobs of `files` that nothing links to and nobody waits for; blocks."""
        for name in {_name(file) for file in files}:
            kept = self._directory / name
            with self._lock, suppress(FileNotFoundError):
                if not self._wanted[name] and kept.stat().st_nlink == 1:
                    self._remove(kept)

    def give_up(self, file: FileEntry, shown: Path) -> None:
        """Remove the blob that the damaged file `shown` is a link to: it is fetched again; blocks."""
        kept = self._directory / _name(file)
        with self._lock, suppress(FileNotFoundError):
            if kept.samefile(shown):
                self._remove(kept)

    def _remove(self, kept: Path) -> None:
        size = kept.stat().st_size
        kept.unlink()
        self._bytes -= size

    @contextmanager
    def _held(self, names: Iterable[str]) -> Iterator[None]:
        """Keep blobs that are here, or come, until the links to them are made."""
        held = list(names)
        with self._lock:
            self._wanted.update(held)
        try:
            yield
        finally:
            with self._lock:
                self._wanted.subtract(held)
                for name in held:
                    if not self._wanted[name]:
                        del self._wanted[name]

    def _link_present(self, by_name: Mapping[str, Sequence[FileEntry]], root: Path) -> list[str]:
        missing = []
        for name, files in by_name.items():
            kept = self._directory / name
            size = kept.stat().st_size if kept.exists() else None
            if size == files[0].size:
                self._link_all(name, files, root)
                continue
            missing.append(name)
            if size is not None:
                self.give_up(files[0], kept)
        return missing

    def _link_all(self, name: str, files: Iterable[FileEntry], root: Path) -> None:
        for file in files:
            _link(self._directory / name, root / file.path)

    async def _supply(self, name: str, files: Sequence[FileEntry], root: Path) -> None:
        try:
            await self._fetched(name, files[0])
        except BlobNotFound as error:
            raise FileMissing(files[0].path) from error
        await outlived(asyncio.to_thread(self._link_all, name, files, root))

    async def _fetched(self, name: str, file: FileEntry) -> None:
        fetch = self._fetching.get(name)
        if fetch is None or fetch.task.done():
            fetch = self._fetching[name] = _Fetch(asyncio.create_task(self._fetch(name, file)))
        fetch.users += 1
        try:
            await asyncio.shield(fetch.task)
        finally:
            fetch.users -= 1
            if not fetch.users:
                if self._fetching.get(name) is fetch:
                    del self._fetching[name]
                fetch.task.cancel()
                await asyncio.gather(fetch.task, return_exceptions=True)

    async def _fetch(self, name: str, file: FileEntry) -> None:
        partial = self._directory / f".{name}.{secrets.token_hex(8)}"
        async with self._turns:
            try:
                await self._blobs.download_to(file.digest, partial, file.size)
                await outlived(asyncio.to_thread(self._keep, partial, name, _mode(file)))
            finally:
                partial.unlink(missing_ok=True)

    def _keep(self, partial: Path, name: str, mode: int) -> None:
        partial.chmod(mode)
        size = partial.stat().st_size
        with self._lock:
            partial.rename(self._directory / name)
            self._bytes += size


def boot_id() -> str:
    """Return what is the same until this machine starts again."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _name(file: FileEntry) -> str:
    return file.digest.removeprefix("sha256:") + (".x" if file.executable else "")


def _mode(file: FileEntry) -> int:
    return 0o755 if file.executable else 0o644


def _link(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
        shutil.copyfile(source, target)
        target.chmod(source.stat().st_mode & 0o777)
