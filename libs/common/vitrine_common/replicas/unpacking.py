"""Archives of layers and root file systems to folders; nothing in an archive leads out of its folder.

What is unpacked was hashed first, so it is what the builder packed. It is read as if a stranger had packed
it all the same: files lie in folders that the archive itself has made, never behind a link.
"""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

_CHUNK = 1 << 20


class ArchiveDamaged(Exception):
    """An archive holds what no builder packs; says what."""


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a tar compressed by zstd into the empty `folder`; blocks.

    Raises:
        ArchiveDamaged: it is none, or leads out of the folder.
        OSError: the disk is full.
    """
    # Late: only hosts without a builder's disk ever need it.
    from backports import zstd

    made: dict[str, str] = {"": "folder"}
    try:
        with (
            zstd.open(archive, "rb") as stream,
            tarfile.open(fileobj=stream, mode="r|") as members,
        ):
            for member in members:
                path = member.name.rstrip("/")
                _check(path, made)
                made[path] = _place(members, member, folder, path, made)
    except (tarfile.TarError, zstd.ZstdError, EOFError) as error:
        raise ArchiveDamaged(f"it is no archive that can be read ({error})") from error
    _still(folder, made)


def _check(path: str, made: dict[str, str]) -> None:
    parts = path.split("/")
    above = path.rpartition("/")[0]
    if not path or {"", ".", ".."} & set(parts) or path in made:
        raise ArchiveDamaged(f"no file can be called {path[:200]!r} in it")
    if made.get(above) != "folder":
        raise ArchiveDamaged(f"{path[:200]!r} lies in no folder of it")


def _place(
    members: tarfile.TarFile, member: tarfile.TarInfo, folder: Path, path: str, made: dict[str, str]
) -> str:
    """Make one member; return what it is."""
    place = f"{folder}/{path}"
    if member.isdir():
        os.mkdir(place)  # noqa: PTH102 - strings are what is at hand, thousands of them
        os.chmod(place, member.mode & 0o1777)  # noqa: PTH101 - as above
        return "folder"
    if member.issym():
        os.symlink(member.linkname, place)  # noqa: PTH211 - as above
        return "link"
    if member.islnk():
        if made.get(member.linkname) != "file":
            raise ArchiveDamaged(f"{path[:200]!r} is a link to no file of it")
        os.link(f"{folder}/{member.linkname}", place, follow_symlinks=False)
        return "file"
    content = members.extractfile(member) if member.isreg() else None
    if content is None:
        raise ArchiveDamaged(f"{path[:200]!r} is no file, folder or link")
    descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:  # noqa: PTH123 - by descriptor, so that nothing is replaced
        while data := content.read(_CHUNK):
            file.write(data)
        os.fchmod(descriptor, member.mode & 0o755)
    return "file"


def _still(folder: Path, made: dict[str, str]) -> None:
    """Date everything 1970, as the builder does: some programs compare times of folders and caches."""
    for path in sorted(made, reverse=True):
        os.utime(f"{folder}/{path}", ns=(0, 0), follow_symlinks=False)
