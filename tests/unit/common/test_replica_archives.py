"""Archives of layers that were not packed by a builder: nothing of them leads out of their folder."""

from __future__ import annotations

import io
import stat
import tarfile
from pathlib import Path

import pytest
from backports import zstd

from vitrine_common.replicas.unpacking import ArchiveDamaged, unpack


def member(name: str, kind: bytes = tarfile.REGTYPE, goal: str = "", mode: int = 0o444) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname, entry.mode = kind, goal, mode
    entry.size = len(b"bytes") if kind == tarfile.REGTYPE else 0
    return entry


def folder(name: str) -> tarfile.TarInfo:
    return member(name, tarfile.DIRTYPE, mode=0o755)


def packed(place: Path, *members: tarfile.TarInfo) -> Path:
    with zstd.open(place, "wb") as file, tarfile.open(fileobj=file, mode="w|") as archive:
        for entry in members:
            archive.addfile(entry, io.BytesIO(b"bytes") if entry.isreg() else None)
    return place


def test_files_folders_and_links_are_what_they_were(tmp_path: Path) -> None:
    members = [
        folder("tree"),
        member("tree/a", mode=0o555),
        member("tree/b", tarfile.LNKTYPE, "tree/a"),
        member("tree/c", tarfile.SYMTYPE, "/usr/bin/env"),
    ]
    target = tmp_path / "target"
    target.mkdir()
    unpack(packed(tmp_path / "x.tar.zst", *members), target)
    assert (target / "tree/a").read_bytes() == b"bytes"
    assert stat.S_IMODE((target / "tree/a").stat().st_mode) == 0o555
    assert (target / "tree/b").samefile(target / "tree/a")
    assert str((target / "tree/c").readlink()) == "/usr/bin/env"
    assert {path.lstat().st_mtime for path in (target, *target.rglob("*"))} == {0}


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ([member("../out")], "no file can be called"),
        ([member("/out")], "no file can be called"),
        ([folder("a"), member("a/../../out")], "no file can be called"),
        ([folder("a"), member("a/./out")], "no file can be called"),
        ([member("a"), member("a")], "no file can be called"),
        ([member("a/out")], "lies in no folder of it"),
        ([member("a"), member("a/out")], "lies in no folder of it"),
        ([member("a", tarfile.SYMTYPE, ".."), member("a/out")], "lies in no folder of it"),
        ([member("a", tarfile.SYMTYPE, "/"), folder("a")], "no file can be called"),
        ([member("a", tarfile.LNKTYPE, "../secret")], "is a link to no file of it"),
        (
            [member("a", tarfile.SYMTYPE, "../secret"), member("b", tarfile.LNKTYPE, "a")],
            "is a link to no file",
        ),
        ([member("a", tarfile.CHRTYPE)], "is no file, folder or link"),
        ([member("a", tarfile.FIFOTYPE)], "is no file, folder or link"),
    ],
)
def test_what_leads_out_is_refused(tmp_path: Path, members: list[tarfile.TarInfo], said: str) -> None:
    (tmp_path / "secret").write_text("secret")
    target = tmp_path / "below/target"
    target.mkdir(parents=True)
    with pytest.raises(ArchiveDamaged, match=said):
        unpack(packed(tmp_path / "x.tar.zst", *members), target)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["below", "secret", "x.tar.zst"]
    assert [path.name for path in (tmp_path / "below").iterdir()] == ["target"]
    assert (tmp_path / "secret").stat().st_nlink == 1


@pytest.mark.parametrize("cut", ["not zstd", "half"])
def test_what_is_no_archive_is_said(tmp_path: Path, cut: str) -> None:
    whole = packed(tmp_path / "x.tar.zst", folder("tree"), member("tree/a")).read_bytes()
    (tmp_path / "y").write_bytes(b"no archive at all" if cut == "not zstd" else whole[: len(whole) // 2])
    target = tmp_path / "target"
    target.mkdir()
    with pytest.raises(ArchiveDamaged, match="no archive that can be read"):
        unpack(tmp_path / "y", target)
