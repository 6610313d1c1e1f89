"""Tars that are equal wherever they are written: sorted, owned by root, dated 1970, streamed from the files.

The format is POSIX ustar with pax records for names that do not fit (IEEE Std 1003.1-2017, pax).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from vitrine_builder.failures import BuildFailure, FailureReason

BLOCK = 512
CHUNK = 1 << 20
_FILE, _LINK, _FOLDER, _PAX = b"0", b"2", b"5", b"x"
_TAIL = bytes(2 * BLOCK)
_ZEROS = bytes(BLOCK)


class Entry(NamedTuple):
    """One member. `source` is a file on disk; `content` stands in where there is none, or is a link's goal.

    `path` has no leading slash; a folder's ends with one.
    """

    path: str
    mode: int
    size: int = 0
    source: str | None = None
    content: bytes = b""
    link: bool = False


def file_entry(path: str, content: bytes, mode: int = 0o444) -> Entry:
    """Return a file that is in no tree."""
    return Entry(path, mode, len(content), None, content)


def link_entry(path: str, goal: str) -> Entry:
    """Return a symbolic link."""
    return Entry(path, 0o777, 0, None, goal.encode(), link=True)


def whole(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    """Return `entries` in the order of a tar, with every folder above them; of equal paths the last stays."""
    found = {entry.path: entry for entry in entries}
    for path in list(found):
        above = path.rstrip("/").rpartition("/")[0]
        while above and f"{above}/" not in found:
            found[f"{above}/"] = Entry(f"{above}/", 0o755)
            above = above.rpartition("/")[0]
    return tuple(found[path] for path in sorted(found))


@dataclass(frozen=True)
class Tar:
    """A tar of `entries`, which are `whole`; nothing of it is kept in memory or on disk."""

    entries: Sequence[Entry]

    @property
    def size(self) -> int:
        """Bytes of the tar."""
        return len(_TAIL) + sum(_length(entry) for entry in self.entries)

    def chunks(self) -> Iterator[bytes]:
        """Yield the tar in pieces of at most `CHUNK` bytes, or a little more.

        Raises:
            BuildFailure: a file is no longer what it was.
        """
        pieces: list[bytes] = []
        waiting = 0
        for entry in self.entries:
            pieces.append(_header(entry))
            waiting += len(pieces[-1])
            if entry.link:
                continue
            for piece in _content(entry):
                pieces.append(piece)
                waiting += len(piece)
                if waiting >= CHUNK:
                    yield b"".join(pieces)
                    pieces, waiting = [], 0
            if padding := -entry.size % BLOCK:
                pieces.append(_ZEROS[:padding])
                waiting += padding
        yield b"".join([*pieces, _TAIL])

    def digest(self) -> str:
        """Read everything and return `sha256:…` of the tar: its diff id."""
        digest = hashlib.sha256()
        for chunk in self.chunks():
            digest.update(chunk)
        return f"sha256:{digest.hexdigest()}"


def header(path: str, size: int, mode: int = 0o644) -> bytes:
    """Return the header of a file of `size` bytes, for archives that are put together elsewhere."""
    return _header(Entry(path, mode, size))


def padding(size: int) -> bytes:
    """Return what follows a file of `size` bytes."""
    return _ZEROS[: -size % BLOCK]


def _content(entry: Entry) -> Iterator[bytes]:
    if entry.source is None:
        yield entry.content
        return
    descriptor = os.open(entry.source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    left = entry.size
    try:
        while left:
            data = os.read(descriptor, min(left, CHUNK))
            if not data:
                break
            left -= len(data)
            yield data
    finally:
        os.close(descriptor)
    if left:
        sentence = f"A file of a layer is shorter than it was: {entry.path}."
        raise BuildFailure(FailureReason.INTERNAL, sentence)


def _length(entry: Entry) -> int:
    size = 0 if entry.link else entry.size + -entry.size % BLOCK
    return len(_header(entry)) + size


def _header(entry: Entry) -> bytes:
    """Return the entry's header block, after a pax header where one is needed."""
    kind = _LINK if entry.link else _FOLDER if entry.path.endswith("/") else _FILE
    size = 0 if entry.link else entry.size
    goal = entry.content if entry.link else b""
    name = entry.path.encode()
    split = _split(name)
    if split is not None and len(goal) <= 100 and size < 1 << 33:
        return _block(split[1], kind, entry.mode, size, goal, split[0])
    records = b""
    if split is None:
        records += _record(b"path", name)
    if len(goal) > 100:
        records += _record(b"linkpath", goal)
    if size >= 1 << 33:
        records += _record(b"size", str(size).encode())
    extra = _block(b"pax", _PAX, 0o644, len(records), b"") + records + padding(len(records))
    short = name[:100] if split is None else split[1]
    return extra + _block(short, kind, entry.mode, size % (1 << 33), goal[:100])


def _split(name: bytes) -> tuple[bytes, bytes] | None:
    """Return prefix and name as ustar keeps them, or None where they do not fit."""
    if not name.isascii():
        return None
    if len(name) <= 100:
        return b"", name
    cut = name.find(b"/", len(name) - 101)
    if cut <= 0 or cut > 155 or cut == len(name) - 1:
        return None
    return name[:cut], name[cut + 1 :]


def _record(key: bytes, value: bytes) -> bytes:
    length = len(key) + len(value) + 3
    while len(str(length)) + len(key) + len(value) + 3 != length:
        length = len(str(length)) + len(key) + len(value) + 3
    return b"%d %s=%s\n" % (length, key, value)


def _block(name: bytes, kind: bytes, mode: int, size: int, goal: bytes, prefix: bytes = b"") -> bytes:  # noqa: PLR0917
    # name, mode, owner, group, size, time; a checksum of blanks; type, link; magic, owners' names, devices.
    head = b"%s%07o\0%s%011o\0%s" % (name.ljust(100, b"\0"), mode, b"0000000\0" * 2, size, b"00000000000\0")
    tail = b"%s%s%s%s%s" % (kind, goal.ljust(100, b"\0"), b"ustar\x0000", bytes(80), prefix.ljust(155, b"\0"))
    checksum = sum(head) + sum(tail) + 8 * 32
    return b"%s%06o\0 %s%s" % (head, checksum, tail, bytes(12))
