from __future__ import annotations

import os
from pathlib import Path

import pytest

from vitrine_harness import outputs

TREE = ("a.txt", "b/a.txt", "b/c/a.txt", "b/c/d.png", ".hidden", "x[1].txt")


def every(_path: str, _status: os.stat_result) -> bool:
    return True


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in TREE:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path


@pytest.mark.parametrize(
    "pattern",
    [
        "a.txt",
        "*.txt",
        "**/*.txt",
        "b/*",
        "b/**/*",
        "?.txt",
        "**/[ab].txt",
        "[!a].txt",
        "b/c/*.png",
        "*",
        "*.TXT",
    ],
)
def test_globs_mean_what_pathlib_means(tree: Path, pattern: str) -> None:
    expected = sorted(
        str(path.relative_to(tree))
        for match in tree.glob(pattern)
        for path in ([match] if match.is_file() else match.rglob("*"))
        if path.is_file()
    )
    found = outputs.find(str(tree), [(pattern, "o")], every)
    assert [item.name for item in found] == sorted(set(expected))


@pytest.mark.parametrize("pattern", ["b", "b/", "./b", "b/."])
def test_a_directory_means_all_files_below(tree: Path, pattern: str) -> None:
    found = outputs.find(str(tree), [(pattern, "o")], every)
    assert [item.name for item in found] == ["b/a.txt", "b/c/a.txt", "b/c/d.png"]


def test_a_file_of_two_outputs_comes_once(tree: Path) -> None:
    patterns = [("*.txt", "first"), ("a.*", "second"), ("a.txt", "first")]
    found = {item.name: item.outputs for item in outputs.find(str(tree), patterns, every)}
    assert found["a.txt"] == ("first", "second")


def test_unchanged_files_are_left_out(tree: Path) -> None:
    found = outputs.find(str(tree), [("**/*", "o")], lambda path, _: path == "b/a.txt")
    assert [item.name for item in found] == ["b/a.txt"]


def test_links_are_not_followed(tree: Path) -> None:
    (tree / "link").symlink_to(tree / "b")
    (tree / "one").symlink_to(tree / "a.txt")
    for pattern in ("link", "link/*", "one", "link/c/*"):
        assert outputs.find(str(tree), [(pattern, "o")], every) == []


def test_a_file_swapped_for_a_link_or_pipe_is_not_opened(tree: Path) -> None:
    found = {item.name: item for item in outputs.find(str(tree), [("**/*", "o")], every)}
    (tree / "a.txt").unlink()
    (tree / "a.txt").symlink_to("b/a.txt")
    (tree / "b/a.txt").unlink()
    os.mkfifo(tree / "b/a.txt")
    (tree / "b/c").rename(tree / "moved")
    (tree / "b/c").symlink_to(tree / "moved")
    for name in ("a.txt", "b/a.txt", "b/c/d.png"):
        with pytest.raises(OSError):  # noqa: PT011 - which one depends on the kind of file
            outputs.open_file(str(tree), found[name])
    os.close(outputs.open_file(str(tree), found[".hidden"]))
