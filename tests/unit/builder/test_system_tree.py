import io
import os
import tarfile
from pathlib import Path

import pytest

from vitrine_builder.system import tree


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def archive(root: Path, difference: tree.Difference | None = None) -> tuple[str, dict[str, tarfile.TarInfo]]:
    out = io.BytesIO()
    digest = tree.write_archive(root, out, difference)
    out.seek(0)
    with tarfile.open(fileobj=out) as tar:
        return digest, {entry.name: entry for entry in tar.getmembers()}


@pytest.fixture
def base(tmp_path: Path) -> Path:
    root = write(tmp_path / "base", {"usr/bin/tool": "1", "etc/name": "a", "etc/gone": "x", "old/a/b": "c"})
    (root / "bin").symlink_to("usr/bin")
    tree.flatten(root)
    return root


def test_equal_trees_give_equal_archives_whatever_their_times_and_modes(base: Path, tmp_path: Path) -> None:
    files = {"old/a/b": "c", "etc/gone": "x", "etc/name": "a", "usr/bin/tool": "1"}
    other = write(tmp_path / "other", files)
    (other / "bin").symlink_to("usr/bin")
    (other / "etc/name").chmod(0o4600)
    os.mkfifo(other / "etc/pipe")
    tree.flatten(other)
    digest, entries = archive(base)
    assert archive(other)[0] == digest
    assert {(entry.mtime, entry.uid, entry.gid, entry.uname) for entry in entries.values()} == {(0, 0, 0, "")}
    (other / "etc/name").write_text("b")
    assert archive(other)[0] != digest


def test_a_difference_holds_what_changed_and_whiteouts_of_what_is_gone(base: Path, tmp_path: Path) -> None:
    after = write(tmp_path / "after", {"usr/bin/tool": "2", "etc/name": "a", "new/deep/file": "n"})
    (after / "bin").symlink_to("usr/bin")
    (after / "link").symlink_to("../..//odd/")
    tree.flatten(after)
    difference = tree.compare(base, after)
    assert set(difference.changed) == {"new", "new/deep", "new/deep/file", "usr/bin/tool", "link"}
    assert set(difference.removed) == {"etc/gone", "old"}
    _, entries = archive(after, difference)
    assert set(entries) == {
        *("etc", "etc/.wh.gone", ".wh.old", "link", "new", "new/deep", "new/deep/file"),
        *("usr", "usr/bin", "usr/bin/tool"),
    }
    assert entries["link"].linkname == "../..//odd/"

    tree.share(base, after, difference.changed)
    assert (after / "etc/name").samefile(base / "etc/name")
    assert not (after / "usr/bin/tool").samefile(base / "usr/bin/tool")
    assert tree.compare(base, after) == difference


def test_a_folder_that_became_a_link_and_a_file_that_became_a_folder(base: Path, tmp_path: Path) -> None:
    after = write(
        tmp_path / "after", {"usr/bin/tool": "1", "etc/name/inside": "now a folder", "etc/gone": "x"}
    )
    (after / "bin").symlink_to("usr/bin")
    (after / "old").symlink_to("usr")
    tree.flatten(after)
    difference = tree.compare(base, after)
    assert set(difference.changed) == {"etc/name", "etc/name/inside", "old"}
    _, entries = archive(after, difference)
    assert entries["old"].issym()


def test_no_link_is_followed_when_a_tree_is_cleaned(tmp_path: Path) -> None:
    outside = write(tmp_path / "outside", {"log/kept": "1", "passwd-": "2", "shadow": "root:*:20000:0::::\n"})
    root = write(tmp_path / "root", {"usr/x": "1"})
    (root / "var").symlink_to(outside)
    (root / "etc").symlink_to(outside)
    tree.normalise(root)
    tree.flatten(root)
    assert sorted(path.name for path in outside.rglob("*")) == ["kept", "log", "passwd-", "shadow"]
    assert (outside / "shadow").read_text() == "root:*:20000:0::::\n"
    assert outside.stat().st_mtime_ns != 0


def test_what_says_when_and_where_is_removed(tmp_path: Path) -> None:
    root = write(
        tmp_path / "root",
        {
            "etc/machine-id": "a",
            "etc/passwd-": "b",
            "etc/shadow": "root:*:20778:0:99999:7:::\n",
            "var/log/dpkg.log": "c",
            "var/cache/apt/pkgcache.bin": "d",
            "var/lib/dpkg/status-old": "e",
            "var/lib/dpkg/status": "f",
        },
    )
    tree.normalise(root)
    files = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
    assert files == {"etc/shadow", "var/lib/dpkg/status"}
    assert (root / "etc/shadow").read_text() == "root:*:1:0:99999:7:::\n"
