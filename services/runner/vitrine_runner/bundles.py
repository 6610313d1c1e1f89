"""Versions on this host: each bundle is fetched once, verified, and kept while there is room."""

from __future__ import annotations

import asyncio
import logging
import secrets
import shutil
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from vitrine_common.archives import extract_archive, is_archive
from vitrine_common.blobs import BlobNotFound, BlobStore
from vitrine_common.bundle import BundleError, FileEntry, Manifest
from vitrine_common.errors import Invalid
from vitrine_common.materialise import read_manifest
from vitrine_common.spec import ModelKind, Spec
from vitrine_common.states import Reason
from vitrine_runner.errors import RunFault

log = logging.getLogger(__name__)

DOWNLOADS = 6
"""Files of one bundle that are fetched at a time."""

_RECORD, _FILES = "bundle.json", "files"


@dataclass(frozen=True)
class Bundle:
    """A version's files on this host, shown to sandboxes read-only."""

    digest: str
    directory: Path
    spec: Spec
    directories: frozenset[str]
    size: int
    form: dict[str, Any]
    """The harness form of the spec."""

    @property
    def is_onnx(self) -> bool:
        """Whether the model is an ONNX file and needs no command."""
        return self.spec.kind() is ModelKind.ONNX


@dataclass
class _Entry:
    loading: asyncio.Task[Bundle]
    users: int = 0


class Bundles:
    """The bundles below one directory.

    Files keep write permission for their owner: sandboxes see them on a read-only mount, and what a model
    rewrites in its private directory it may rewrite there, as on its author's machine.

    Args:
        directory: of this process alone.
        blobs: where manifests and files are.
        most_bytes: of bundles that nothing uses; the least recently used goes first.
    """

    def __init__(self, directory: Path, blobs: BlobStore, most_bytes: int) -> None:
        self._directory = directory
        self._blobs = blobs
        self._most_bytes = most_bytes
        self._entries: dict[str, _Entry] = {}
        self._last_use: dict[str, float] = {}
        self._sizes: dict[str, int] = {}

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
    async def held(self, digest: str) -> AsyncIterator[Bundle]:
        """Keep the version's files on this host while the block lasts; fetch them first if need be.

        Raises RunFault: a file is missing or damaged in the store, or the archive in the bundle is unsafe.
        Several callers at once share one download.
        """
        entry = self._entries.get(digest)
        if entry is None or _failed(entry.loading):
            entry = self._entries[digest] = _Entry(asyncio.create_task(self._load(digest), name="bundle"))
        entry.users += 1
        try:
            yield await asyncio.shield(entry.loading)
        finally:
            entry.users -= 1
            if not entry.users:
                await self._leave(digest, entry)

    async def aclose(self) -> None:
        """Stop what is being fetched."""
        loading = [entry.loading for entry in self._entries.values() if not entry.loading.done()]
        for task in loading:
            task.cancel()
        await asyncio.gather(*loading, return_exceptions=True)

    async def _leave(self, digest: str, entry: _Entry) -> None:
        """Forget a failure, cancel what nobody waits for any more, make room."""
        self._last_use[digest] = asyncio.get_running_loop().time()
        if self._entries.get(digest) is entry and (_failed(entry.loading) or not entry.loading.done()):
            del self._entries[digest]
        if not entry.loading.done():
            entry.loading.cancel()
            await asyncio.gather(entry.loading, return_exceptions=True)
            return
        doomed = [self._detach(digest) for digest in self._surplus()]
        for path in doomed:
            await asyncio.to_thread(shutil.rmtree, path, ignore_errors=True)

    def _detach(self, digest: str) -> Path:
        """Take a bundle that nothing uses out of sight; return where its files wait for removal."""
        self._entries.pop(digest, None)
        del self._sizes[digest]
        home = self._home(digest)
        return home.rename(home.with_name(f".{home.name}.{secrets.token_hex(4)}"))

    def _home(self, digest: str) -> Path:
        return self._directory / digest.removeprefix("sha256:")

    def _surplus(self) -> list[str]:
        """Return the bundles to remove: not in use, least recently used first, until the rest fits."""
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

    async def _load(self, digest: str) -> Bundle:
        home = self._home(digest)
        known = await asyncio.to_thread(_read_whole, home)
        if known is not None:
            self._sizes[digest] = known.size
            return known
        manifest = await self._manifest(digest)
        partial = self._directory / f".{home.name}.{secrets.token_hex(4)}"
        try:
            await self._fetch(manifest, partial / _FILES)
            bundle = await asyncio.to_thread(_complete, manifest, partial, home)
        except BundleError as error:
            raise RunFault(
                Reason.USER_ERROR, f"The model's archive cannot be used: {error.message}"
            ) from error
        except OSError as error:
            raise RunFault(
                Reason.PLATFORM_ERROR, f"The bundle cannot be written: {error.strerror}"
            ) from error
        finally:
            await asyncio.to_thread(shutil.rmtree, partial, ignore_errors=True)
        self._sizes[digest] = bundle.size
        log.info("bundle fetched", extra={"version_digest": digest, "bytes": bundle.size})
        return bundle

    async def _manifest(self, digest: str) -> Manifest:
        try:
            return await read_manifest(self._blobs, digest)
        except (BlobNotFound, Invalid) as error:
            message = f"The version's manifest {digest} is missing or damaged; push the model again."
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
                    message = f"`{entry.path}` of this version is not in the store; push the model again."
                    raise RunFault(Reason.PLATFORM_ERROR, message) from error
                path.chmod(0o755 if entry.executable else 0o644)

        tasks = [asyncio.create_task(fetch(entry)) for entry in manifest.files]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def _failed(task: asyncio.Task[Bundle]) -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)


def _make_directories(root: Path, directories: Iterable[str]) -> None:
    root.mkdir(parents=True)
    for path in sorted(directories):
        (root / path).mkdir(exist_ok=True)
    for made in (root.parent, root, *(root / name for name in directories)):
        made.chmod(0o755)


class _Record(BaseModel):
    """What is written down beside the files of a complete bundle."""

    manifest: Manifest
    sizes: dict[str, int]

    @property
    def size(self) -> int:
        return sum(self.sizes.values())


def _complete(manifest: Manifest, partial: Path, home: Path) -> Bundle:
    """Unpack an archive that is the model, write the record, and put the bundle in its place."""
    files = partial / _FILES
    _unpack(Spec.model_validate(manifest.spec), files)
    sizes = {str(path.relative_to(files)): path.stat().st_size for path in files.rglob("*") if path.is_file()}
    record = _Record(manifest=manifest, sizes=sizes)
    (partial / _RECORD).write_text(record.model_dump_json())
    shutil.rmtree(home, ignore_errors=True)
    partial.rename(home)
    return _bundle(record, home)


def _bundle(record: _Record, home: Path) -> Bundle:
    files = home / _FILES
    spec = Spec.model_validate(record.manifest.spec)
    directories = frozenset(str(path.relative_to(files)) for path in files.rglob("*") if path.is_dir())
    form = spec.to_harness(directories)
    return Bundle(record.manifest.digest, files, spec, directories, record.size, form)


def _read_record(home: Path) -> _Record | None:
    try:
        return _Record.model_validate_json((home / _RECORD).read_bytes())
    except (OSError, ValidationError):
        return None


def _read_whole(home: Path) -> Bundle | None:
    """Return a bundle that an earlier process left here, or None where a file lacks or has another size."""
    record = _read_record(home)
    try:
        if record is None or any(
            (home / _FILES / path).stat().st_size != size for path, size in record.sizes.items()
        ):
            return None
        return _bundle(record, home)
    except OSError:
        return None


def archive_of(spec: Spec, files: Path) -> Path | None:
    """Return the archive that holds the model, where the bundle has one instead of `model.path`.

    `model: {fileType: .zip, path: source/gan}` means `source/gan.zip`, or a file `source/gan` of that
    kind, unless the directory `source/gan` was pushed itself.
    """
    model = spec.model
    if model is None or model.path is None or not model.file_type:
        return None
    suffix = "." + model.file_type.lstrip(".").lower()
    found = [files / model.path, files / (model.path + suffix)]
    return next((path for path in found if path.is_file() and is_archive("x" + suffix)), None)


def _unpack(spec: Spec, files: Path) -> None:
    """Replace the archive that is the model by the directory that it holds, at `model.path`."""
    archive = archive_of(spec, files)
    if archive is None or spec.model is None or spec.model.path is None or spec.model.file_type is None:
        return
    target = files / spec.model.path
    if target.is_dir():
        return
    suffix = "." + spec.model.file_type.lstrip(".").lower()
    packed = archive.rename(files.parent / f"packed{suffix}")
    unpacked = files.parent / "unpacked"
    unpacked.mkdir()
    extract_archive(packed, unpacked).rename(target)
    for directory in (target, *target.rglob("*")):
        if directory.is_dir():
            directory.chmod(0o755)
    packed.unlink()
    shutil.rmtree(unpacked, ignore_errors=True)
