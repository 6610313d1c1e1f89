import io
import os
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from vitrine_common.archives import ArchiveLimits, extract_archive, is_archive
from vitrine_common.bundle import BundleError

SMALL = ArchiveLimits(entries=10, total_bytes=1 << 20, ratio=20, ratio_from=1 << 16)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    directory = tmp_path / "outer" / "target"
    directory.mkdir(parents=True)
    return directory


def make_zip(path: Path, files: dict[str, bytes], mode: int = stat.S_IFREG | 0o6755) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, data)
    return path


def make_tar(path: Path, members: dict[str, bytes], kind: bytes = tarfile.REGTYPE, link: str = "") -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.mode = kind, link, 0o6755
            info.size = len(data) if kind == tarfile.REGTYPE else 0
            archive.addfile(info, io.BytesIO(data))
    return path


def refused(archive: Path, target: Path, limits: ArchiveLimits = SMALL) -> str:
    with pytest.raises(BundleError) as caught:
        extract_archive(archive, target, limits)
    assert [path.name for path in target.parent.iterdir()] == ["target"], "nothing lands beside the target"
    return str(caught.value)


@pytest.mark.parametrize("name", ["m.zip", "m.tar.gz", "m.tgz"])
def test_files_come_out_with_their_executable_bit_alone(tmp_path: Path, target: Path, name: str) -> None:
    make = make_zip if name.endswith(".zip") else make_tar
    files = {"m/vitrine.yaml": b"name: m", "m/bin/go": b"go"}
    archive = (
        make(tmp_path / name, files, stat.S_IFREG | 0o6755)
        if make is make_zip
        else make_tar(tmp_path / name, files)
    )
    assert is_archive(name)
    root = extract_archive(archive, target, SMALL)
    assert root == target / "m", "the one directory of the archive is the bundle"
    assert (root / "bin" / "go").read_bytes() == b"go"
    assert stat.S_IMODE((root / "bin" / "go").stat().st_mode) == 0o755


def test_files_at_the_top_are_the_bundle(tmp_path: Path, target: Path) -> None:
    archive = make_zip(tmp_path / "m.zip", {"vitrine.yaml": b"a", "sub/x": b"b", "__MACOSX/y": b"c"})
    assert extract_archive(archive, target, SMALL) == target


@pytest.mark.parametrize("name", ["../evil", "/evil", "a/../../evil", "..\\evil", "C:/evil", "a\nb"])
def test_traversal_is_refused(tmp_path: Path, target: Path, name: str) -> None:
    assert "the path" in refused(make_zip(tmp_path / "m.zip", {name: b"x"}), target)
    assert "the path" in refused(make_tar(tmp_path / "m.tar.gz", {name: b"x"}), target)


def test_a_name_with_a_hidden_end_is_refused(tmp_path: Path, target: Path) -> None:
    archive = make_zip(tmp_path / "m.zip", {"evilXtxt": b"x"})
    archive.write_bytes(archive.read_bytes().replace(b"evilXtxt", b"evil\0txt"))
    assert "control character" in refused(archive, target)


@pytest.mark.parametrize(
    "kind",
    [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE],
    ids=range(5),
)
def test_links_and_devices_are_refused(tmp_path: Path, target: Path, kind: bytes) -> None:
    message = refused(make_tar(tmp_path / "m.tar.gz", {"x": b""}, kind, "/etc/passwd"), target)
    assert "is a link" in message or "is a device" in message


def test_links_in_zip_are_refused(tmp_path: Path, target: Path) -> None:
    archive = make_zip(tmp_path / "m.zip", {"x": b"/etc/passwd"}, stat.S_IFLNK | 0o777)
    assert "is a link" in refused(archive, target)


@pytest.mark.parametrize("suffix", [".zip", ".tar.gz"])
def test_bombs_are_stopped_while_they_unpack(tmp_path: Path, target: Path, suffix: str) -> None:
    make = make_zip if suffix == ".zip" else make_tar
    assert "times its size" in refused(make(tmp_path / f"a{suffix}", {"bomb": bytes(900_000)}), target)
    noise = os.urandom((1 << 20) + 1)
    assert "more than 1048576 bytes" in refused(make(tmp_path / f"b{suffix}", {"noise": noise}), target)
    written = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
    assert written <= 2 << 20


def test_too_many_entries_are_refused(tmp_path: Path, target: Path) -> None:
    archive = make_zip(tmp_path / "m.zip", {f"f{index}": b"" for index in range(11)})
    assert "more than 10 entries" in refused(archive, target)


def test_names_given_twice_are_refused(tmp_path: Path, target: Path) -> None:
    with zipfile.ZipFile(tmp_path / "m.zip", "w") as archive:
        archive.writestr("a", "1")
        archive.writestr("./a", "2")
    assert "twice" in refused(tmp_path / "m.zip", target)


def test_a_file_cannot_be_a_directory_too(tmp_path: Path, target: Path) -> None:
    assert "twice" in refused(make_zip(tmp_path / "m.zip", {"a": b"1", "a/b": b"2"}), target)


@pytest.mark.parametrize("name", ["m.zip", "m.tar.gz"])
@pytest.mark.parametrize("data", [b"", b"nothing of the kind", b"PK\x03\x04" + bytes(40)], ids=range(3))
def test_what_is_no_archive_is_refused(tmp_path: Path, target: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    assert "damaged" in refused(tmp_path / name, target)


def test_a_cut_archive_is_refused(tmp_path: Path, target: Path) -> None:
    for make, name in ((make_zip, "m.zip"), (make_tar, "m.tar.gz")):
        archive = make(tmp_path / name, {"a": b"".join(bytes([n % 251]) * n for n in range(300))})
        archive.write_bytes(archive.read_bytes()[:-60])
        assert "damaged" in refused(archive, target)


def test_other_suffixes_are_refused(tmp_path: Path, target: Path) -> None:
    (tmp_path / "m.rar").write_bytes(b"x")
    assert ".zip" in refused(tmp_path / "m.rar", target)
