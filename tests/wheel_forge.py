"""Wheels that no honest tool would write: any member under any name, of any kind, told about in any way."""

from __future__ import annotations

import base64
import hashlib
import stat
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Member:
    """One member of a wheel's archive, under exactly this name.

    Attributes:
        kind: type bits as `stat` names them, for links and devices.
        size: what the archive claims, where that is a lie.
    """

    name: str
    content: bytes = b""
    kind: int = stat.S_IFREG
    mode: int = 0o644
    size: int | None = None


def forge(
    folder: Path,
    name: str,
    members: Iterable[Member],
    *,
    metadata: str = "",
    record: str | None = None,
    entry_points: str = "",
    version: str = "1.0",
) -> Path:
    """Write `name-version-py3-none-any.whl`; its RECORD is the honest one unless `record` is given."""
    folder.mkdir(parents=True, exist_ok=True)
    info = f"{name}-{version}.dist-info"
    head = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{metadata}"
    own = [
        Member(f"{info}/METADATA", head.encode()),
        Member(f"{info}/WHEEL", b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"),
        *([Member(f"{info}/entry_points.txt", entry_points.encode())] if entry_points else []),
    ]
    everything = [*members, *own]
    told = record if record is not None else "".join(f"{row(each)}\n" for each in everything)
    path = folder / f"{name}-{version}-py3-none-any.whl"
    lies: list[tuple[Member, zipfile.ZipInfo]] = []
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member in [*everything, Member(f"{info}/RECORD", f"{told}{info}/RECORD,,\n".encode())]:
            entry = zipfile.ZipInfo("x")
            entry.filename = member.name  # as it is: the constructor would make it honest
            entry.create_system = 3
            entry.external_attr = (member.kind | member.mode) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.NameToInfo.pop(member.name, None)  # or it would warn of a name that comes twice
            archive.writestr(entry, member.content)
            if member.size is not None:
                lies.append((member, entry))
        for member, entry in lies:
            assert member.size is not None
            entry.file_size = member.size
    return path


def row(member: Member) -> str:
    """Return the line that an honest RECORD has for `member`."""
    digest = base64.urlsafe_b64encode(hashlib.sha256(member.content).digest()).rstrip(b"=").decode()
    return f'"{member.name}",sha256={digest},{len(member.content)}'


def overlap(path: Path, copies: int) -> None:
    """Let the archive's first member appear `copies` times, each time the same bytes under another name."""
    with zipfile.ZipFile(path, "a") as archive:
        first = archive.infolist()[0]
        for number in range(copies):
            entry = zipfile.ZipInfo(f"{first.filename}{number:06}")
            for field in ("compress_type", "CRC", "compress_size", "file_size", "header_offset"):
                setattr(entry, field, getattr(first, field))
            entry.external_attr = first.external_attr
            entry.create_system = 3
            archive.filelist.append(entry)
            archive.NameToInfo[entry.filename] = entry
        archive._didModify = True  # type: ignore[attr-defined] # there is no way in the open
