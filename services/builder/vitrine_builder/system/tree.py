"""Root file systems as trees on disk: made equal for equal packages, compared, written as archives.

An archive is a tar with sorted names, no owners, times or extended attributes: equal trees give equal bytes,
so the digest of the archive names the tree. What a layer removes is written as OCI whiteouts.
Source: OCI image format specification, "Image Layer Filesystem Changeset".
"""

# Paths are plain strings here: a tree has ten thousand, and a path object would clean what a link says.
# ruff: noqa: PTH101, PTH105, PTH108, PTH112, PTH114, PTH115, PTH119, PTH120

from __future__ import annotations

import filecmp
import fnmatch
import hashlib
import os
import shutil
import stat
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

WHITEOUT = ".wh."
_EMPTIED = (
    *("boot", "dev", "proc", "run", "sys", "tmp", "var/tmp", "var/backups", "var/log", "debootstrap"),
    *("var/cache/apt", "var/cache/fontconfig", "var/cache/ldconfig", "var/cache/man", "var/lib/apt/lists"),
    *("var/lib/systemd", "var/lib/dbus"),
)
"""Folders whose contents are caches, logs, random seeds, or the marks of one machine."""
_REMOVED = (
    *(
        "etc/machine-id",
        "etc/hostname",
        "etc/.pwd.lock",
        "etc/fstab",
        "var/lib/apt/extended_states",
        "var/lib/shells.state",
    ),
    *("etc/ssh/ssh_host_*", "etc/ssl/private/*", "etc/ssl/certs/ssl-cert-snakeoil.pem"),
    *("root/.bash_history", "root/.wget-hsts", "var/lib/ucf/*.[0-9]", "var/lib/ucf/*-old"),
    *("etc/*-", "var/lib/dpkg/*-old", "var/cache/debconf/*-old", "usr/share/info/dir.old"),
)
_FILES = {
    "etc/hosts": "127.0.0.1 localhost\n::1 localhost\n",
    "etc/resolv.conf": "",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}
"""Files that every base has: a sandbox shows its own over them, and apt the host's."""
_SHARED = frozenset({"tmp", "var/tmp"})
_CHANGED_DAY = "1"
"""The day of a user's last change of password; the real one would differ from day to day."""


class Sink(Protocol):
    """Where an archive is written, from its beginning to its end."""

    def write(self, data: bytes, /) -> int:
        """Take bytes."""

    def tell(self) -> int:
        """Return how many were taken."""


@dataclass(frozen=True)
class Difference:
    """How a tree differs from its base: paths that are new or others now, and paths that are gone."""

    changed: tuple[str, ...]
    removed: tuple[str, ...]


def walk(tree: Path) -> Iterator[str]:
    """Yield every path below `tree`, folders before what they hold, in one order anywhere."""
    for place, folders, files in os.walk(tree):
        prefix = place[len(str(tree)) + 1 :]
        linked = [name for name in folders if os.path.islink(f"{place}/{name}")]
        if prefix:
            yield prefix
        folders[:] = sorted(set(folders) - set(linked))
        for name in sorted([*files, *linked]):
            yield f"{prefix}/{name}" if prefix else name


def normalise(tree: Path, *, base: bool = False) -> None:
    """Remove what says when and where a tree was made; call `flatten` after it.

    A package's script may have left anything there: no symbolic link is followed.

    Raises:
        OSError: the disk is full.
    """
    for name in _EMPTIED:
        for path in _entries_of(tree, name):
            _remove(path)
    for pattern in _REMOVED:
        folder, _, name = pattern.rpartition("/")
        for path in _entries_of(tree, folder):
            if fnmatch.fnmatchcase(path.name, name):
                _remove(path)
    if base:
        for name, text in _FILES.items():
            _remove(tree / name)
            (tree / name).write_text(text)
    for path in _entries_of(tree, "etc"):
        if path.name == "shadow" and path.is_file() and not path.is_symlink():
            text = path.read_text()
            path.unlink()
            path.write_text(_without_days(text))


def flatten(tree: Path) -> None:
    """Make modes and times say nothing: readable by all, nobody's privilege, no device, midnight 1970."""
    for relative in [*walk(tree), ""]:
        path = f"{tree}/{relative}" if relative else str(tree)
        status = os.lstat(path)
        kind = stat.S_IFMT(status.st_mode)
        if kind not in {stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK}:
            os.unlink(path)
            continue
        if kind != stat.S_IFLNK:
            wanted = 0o755 if kind == stat.S_IFDIR or status.st_mode & 0o111 else 0o644
            if relative in _SHARED:
                wanted = 0o1777
            if stat.S_IMODE(status.st_mode) != wanted:
                os.chmod(path, wanted)
        if status.st_mtime_ns != 0:
            os.utime(path, ns=(0, 0), follow_symlinks=False)


def compare(base: Path, tree: Path, copied_at: int = 0) -> Difference:
    """Return how `tree` differs from `base`; both have been flattened.

    `copied_at` is a change time (ns) before which `tree` was nothing but a copy: files last changed before it
    need no second look, since nobody in a container can set the clock or a change time.
    """
    before, after = list(walk(base)), list(walk(tree))
    kept = set(after)
    removed = [path for path in before if path not in kept]
    gone = set(removed)
    # What a removed folder held is gone with it.
    outermost = [path for path in removed if os.path.dirname(path) not in gone]
    known = set(before)
    changed = [
        path for path in after if path not in known or _differs(f"{base}/{path}", f"{tree}/{path}", copied_at)
    ]
    return Difference(tuple(changed), tuple(outermost))


def share(base: Path, tree: Path, changed: Iterable[str]) -> None:
    """Replace files of `tree` that are those of `base` by links to them, for the disk's sake."""
    others = set(changed)
    for relative in walk(tree):
        path, own = f"{base}/{relative}", f"{tree}/{relative}"
        if relative in others or not stat.S_ISREG(os.lstat(own).st_mode):
            continue
        os.link(path, f"{own}.vitrine-link")
        os.replace(f"{own}.vitrine-link", own)
    for relative in [*sorted(walk(tree), reverse=True), ""]:
        path = f"{tree}/{relative}" if relative else str(tree)
        if os.path.isdir(path) and not os.path.islink(path):
            os.utime(path, ns=(0, 0))


def write_archive(tree: Path, file: Sink, difference: Difference | None = None) -> str:
    """Write `tree`, or only its difference to a base, as a tar; return the archive's digest."""
    sink = _Digesting(file)
    with tarfile.open(fileobj=sink, mode="w", format=tarfile.PAX_FORMAT) as archive:  # type: ignore[call-overload]
        links: dict[tuple[int, int], str] = {}
        for name in sorted(_entries(tree, difference)):
            whiteout = os.path.basename(name).startswith(WHITEOUT)
            _add(archive, name, None if whiteout else tree / name, links)
    return f"sha256:{sink.digest.hexdigest()}"


def _entries(tree: Path, difference: Difference | None) -> Iterator[str]:
    if difference is None:
        yield from walk(tree)
        return
    names = set(difference.changed)
    for path in (*difference.changed, *difference.removed):
        # A layer says what its files' folders are like, as unpackers make missing ones their own way.
        names.update(str(parent) for parent in Path(path).parents if str(parent) != ".")
    yield from names
    for path in difference.removed:
        folder, _, name = path.rpartition("/")
        yield f"{folder}/{WHITEOUT}{name}" if folder else f"{WHITEOUT}{name}"


def _add(archive: tarfile.TarFile, name: str, source: Path | None, links: dict[tuple[int, int], str]) -> None:
    entry = tarfile.TarInfo(name)
    entry.mtime = 0
    if source is None:
        entry.mode = 0o644
        archive.addfile(entry)
        return
    status = source.lstat()
    entry.mode = stat.S_IMODE(status.st_mode)
    if stat.S_ISDIR(status.st_mode):
        entry.type = tarfile.DIRTYPE
    elif stat.S_ISLNK(status.st_mode):
        entry.type, entry.mode, entry.linkname = tarfile.SYMTYPE, 0o777, os.readlink(source)
    elif (first := links.setdefault((status.st_dev, status.st_ino), name)) != name:
        entry.type, entry.linkname = tarfile.LNKTYPE, first
    else:
        entry.size = status.st_size
        with source.open("rb") as content:
            archive.addfile(entry, content)
        return
    archive.addfile(entry)


class _Digesting:
    """A file that digests what is written to it."""

    def __init__(self, file: Sink) -> None:
        self._file = file
        self.digest = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        return self._file.write(data)

    def tell(self) -> int:
        return self._file.tell()


def _differs(before: str, after: str, copied_at: int) -> bool:
    old, new = os.lstat(before), os.lstat(after)
    if new.st_ctime_ns < copied_at and stat.S_ISREG(new.st_mode):
        return False
    if stat.S_IFMT(old.st_mode) != stat.S_IFMT(new.st_mode):
        return True
    if stat.S_ISLNK(new.st_mode):
        return os.readlink(before) != os.readlink(after)
    if stat.S_IMODE(old.st_mode) != stat.S_IMODE(new.st_mode):
        return True
    return not stat.S_ISDIR(new.st_mode) and not filecmp.cmp(before, after, shallow=False)


def _entries_of(tree: Path, folder: str) -> list[Path]:
    place = tree
    for name in filter(None, folder.split("/")):
        place = place / name
        if place.is_symlink() or not place.is_dir():
            return []
    return sorted(place.iterdir())


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _without_days(text: str) -> str:
    lines = []
    for line in text.splitlines():
        fields = line.split(":")
        if len(fields) > 2 and fields[2]:
            fields[2] = _CHANGED_DAY
        lines.append(":".join(fields))
    return "".join(f"{line}\n" for line in lines)
