"""A model pushed as one file (`.zip`, `.tar.gz`): unpacked so that no archive can do harm.

Nothing in an archive is trusted: names are checked as paths of a bundle, links and devices are refused,
and bytes are counted as they come out, whatever the archive's headers promise.
"""

from __future__ import annotations

import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from vitrine_common.bundle import BundleError
from vitrine_common.errors import Problem
from vitrine_common.paths import normalise_path, path_fault

_DAMAGED = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError),
    NotImplementedError,  # what zipfile raises for a compression that it does not know
)

CHUNK = 1 << 18
SUFFIXES = (".zip", ".tar.gz", ".tgz", ".tar")
Kind = Literal["file", "directory", "link", "special", "encrypted"]


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """How much may come out of an archive."""

    entries: int = 20_000
    total_bytes: int = 20 << 30
    ratio: int = 200
    """Most bytes out per byte of the archive …"""
    ratio_from: int = 64 << 20
    """… once this many bytes have come out."""


DEFAULT_ARCHIVE_LIMITS = ArchiveLimits()


@dataclass(frozen=True, slots=True)
class _Member:
    """One entry of an archive, of either format."""

    name: str
    kind: Kind
    executable: bool
    handle: zipfile.ZipInfo | tarfile.TarInfo


def is_archive(name: str) -> bool:
    """Tell from its name whether a file is an archive that can be unpacked."""
    return name.lower().endswith(SUFFIXES)


def extract_archive(archive: Path, target: Path, limits: ArchiveLimits = DEFAULT_ARCHIVE_LIMITS) -> Path:
    """Unpack `archive` into the empty directory `target` and return the bundle's directory in it.

    That is `target`, or the one directory that the archive holds when nothing stands beside it. Raises
    BundleError naming the entry; the caller removes `target` then, as it may hold part of the files.
    """
    budget = _Budget(limits, max(archive.stat().st_size, 1))
    try:
        with _opened(archive) as (members, read):
            for member in members:
                budget.count_entry()
                _extract(member, read, target, budget)
    except _DAMAGED as error:
        message = f"is damaged, or not an archive that can be read ({SUFFIXES[0]}, {SUFFIXES[1]}): {error}"
        raise BundleError([Problem(archive.name, message)]) from error
    except UnicodeError as error:
        raise BundleError([Problem(archive.name, "has a name that is not text; rename the file")]) from error
    return _bundle_in(target)


class _Budget:
    """Counts what has come out. Raises BundleError when it is too much."""

    def __init__(self, limits: ArchiveLimits, packed_bytes: int) -> None:
        self.limits, self.packed_bytes = limits, packed_bytes
        self.entries = self.bytes = 0

    def count_entry(self) -> None:
        self.entries += 1
        if self.entries > self.limits.entries:
            raise BundleError([Problem("", f"the archive has more than {self.limits.entries} entries")])

    def count_bytes(self, name: str, count: int) -> None:
        self.bytes += count
        limits = self.limits
        if self.bytes > limits.total_bytes:
            raise BundleError([Problem(name, f"the archive unpacks to more than {limits.total_bytes} bytes")])
        if self.bytes > limits.ratio_from and self.bytes > limits.ratio * self.packed_bytes:
            message = f"the archive unpacks to more than {limits.ratio} times its size; push the directory"
            raise BundleError([Problem(name, message)])


class _Reader:
    """Opens the content of a member."""

    def __init__(self, archive: zipfile.ZipFile | tarfile.TarFile) -> None:
        self.archive = archive

    def open(self, member: _Member) -> IO[bytes]:
        if isinstance(self.archive, zipfile.ZipFile):
            assert isinstance(member.handle, zipfile.ZipInfo)
            return self.archive.open(member.handle)
        assert isinstance(member.handle, tarfile.TarInfo)
        stream = self.archive.extractfile(member.handle)
        assert stream is not None
        return stream


@contextmanager
def _opened(archive: Path) -> Iterator[tuple[Iterator[_Member], _Reader]]:
    if not is_archive(archive.name):
        raise BundleError([Problem(archive.name, f"is not one of {', '.join(SUFFIXES)}; push the directory")])
    if archive.name.lower().endswith(".zip"):
        with zipfile.ZipFile(archive) as file:
            yield (_zip_member(info) for info in file.infolist()), _Reader(file)
    else:
        with tarfile.open(archive, "r:*") as tar:
            yield (_tar_member(info) for info in tar), _Reader(tar)


def _zip_member(info: zipfile.ZipInfo) -> _Member:
    mode = info.external_attr >> 16
    kind: Kind = "directory" if info.is_dir() else "file"
    if info.flag_bits & 0x1:
        kind = "encrypted"
    elif stat.S_ISLNK(mode):
        kind = "link"
    elif stat.S_IFMT(mode) not in {0, stat.S_IFREG, stat.S_IFDIR}:
        kind = "special"
    return _Member(info.orig_filename, kind, bool(mode & stat.S_IXUSR), info)


def _tar_member(info: tarfile.TarInfo) -> _Member:
    kind: Kind = "file" if info.isreg() else "directory" if info.isdir() else "special"
    if info.issym() or info.islnk():
        kind = "link"
    return _Member(info.name, kind, bool(info.mode & stat.S_IXUSR), info)


_REFUSED = {
    "link": "is a link; pack the file that it points to",
    "special": "is a device, socket or pipe; leave it out",
    "encrypted": "is encrypted; pack it without a password",
}


def _extract(member: _Member, read: _Reader, target: Path, budget: _Budget) -> None:
    fault = path_fault(member.name) or _REFUSED.get(member.kind)
    if fault:
        raise BundleError([Problem(repr(member.name)[1:-1][:200], fault)])
    destination = target / normalise_path(member.name)
    try:
        if member.kind == "directory":
            destination.mkdir(parents=True, exist_ok=True)
            return
        destination.parent.mkdir(parents=True, exist_ok=True)
        with read.open(member) as source, destination.open("xb") as file:
            while chunk := source.read(CHUNK):
                budget.count_bytes(member.name, len(chunk))
                file.write(chunk)
        destination.chmod(0o755 if member.executable else 0o644)
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise BundleError([Problem(member.name, "is in the archive twice, as file or directory")]) from error


def _bundle_in(target: Path) -> Path:
    inside = [path for path in target.iterdir() if path.name not in {"__MACOSX", ".DS_Store"}]
    return inside[0] if len(inside) == 1 and inside[0].is_dir() else target
