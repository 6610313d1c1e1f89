"""How versions differ, without servers."""

from __future__ import annotations

from vitrine_api.diff import (
    MAX_LINES,
    MAX_TEXT_BYTES,
    FileChange,
    add_lines,
    changed_files,
    changed_values,
    flat,
)
from vitrine_common.bundle import FileEntry, Manifest
from vitrine_common.digests import sha256_bytes


def entry(path: str, text: str, *, executable: bool = False) -> FileEntry:
    data = text.encode()
    return FileEntry(path=path, digest=sha256_bytes(data), size=len(data), executable=executable)


def manifest(*files: FileEntry) -> Manifest:
    return Manifest(spec={}, files=files)


def test_files_are_added_removed_changed_and_moved() -> None:
    before = manifest(entry("a", "1"), entry("b", "2"), entry("c", "3"), entry("old/d", "4"))
    after = manifest(entry("a", "1"), entry("b", "two"), entry("e", "5"), entry("new/d", "4"))
    found = {one.path: one for one in changed_files(before, after)}
    kinds = {path: one.kind for path, one in found.items()}
    assert kinds == {"b": "changed", "c": "removed", "e": "added", "new/d": "moved"}
    assert found["new/d"].moved_from == "old/d"
    assert (found["b"].size_before, found["b"].size_after) == (1, 3)
    assert (found["e"].digest_before, found["e"].digest_after) == (None, sha256_bytes(b"5"))


def test_one_file_that_is_gone_explains_one_copy_only() -> None:
    found = changed_files(manifest(entry("a", "1")), manifest(entry("b", "1"), entry("c", "1")))
    assert [(one.path, one.kind) for one in found] == [("b", "moved"), ("c", "added")]


def test_an_executable_bit_is_a_change() -> None:
    (found,) = changed_files(manifest(entry("run", "x")), manifest(entry("run", "x", executable=True)))
    assert (found.kind, found.executable) == ("changed", True)
    add_lines(found, "x", "x")
    assert (found.lines, found.note) == (None, "")


def change(size: int = 10) -> FileChange:
    return FileChange(kind="changed", path="a", size_before=size, size_after=size)


def test_lines_are_a_unified_diff() -> None:
    one = change()
    add_lines(one, "a\nb\nc\n", "a\nB\nc\n")
    assert one.lines == ["@@ -1,3 +1,3 @@", " a", "-b", "+B", " c"]


def test_lines_that_look_like_headers_stay() -> None:
    one = change()
    add_lines(one, "-- a\n", "++ b\n")
    assert one.lines == ["@@ -1 +1 @@", "--- a", "+++ b"]


def test_why_there_are_no_lines() -> None:
    binary, long, endings = change(), change(MAX_TEXT_BYTES + 1), change()
    add_lines(binary, None, "x")
    add_lines(long, None, None)
    add_lines(endings, "a\n", "a\r\n")
    assert [one.note for one in (binary, long, endings)] == [
        "not a text",
        "too long to show",
        "only line endings differ",
    ]
    assert [one.lines for one in (binary, long, endings)] == [None, None, None]


def test_many_lines_are_cut() -> None:
    one = change()
    add_lines(one, "", "\n".join(str(number) for number in range(MAX_LINES * 2)))
    assert len(one.lines or []) == MAX_LINES
    assert one.note == f"the first {MAX_LINES} lines"


def test_settings_are_named_by_their_place() -> None:
    spec = {
        "name": "x",
        "inputs": [{"name": "image", "max": 3}, {"type": "text"}],
        "gpu": False,
        "none": None,
    }
    assert flat(spec) == {
        "name": "x",
        "inputs.image.name": "image",
        "inputs.image.max": "3",
        "inputs.1.type": "text",
        "gpu": "false",
    }


def test_values_that_differ() -> None:
    found = changed_values({"a": "1", "b": "2", "c": "3"}, {"a": "1", "b": "4", "d": "5"})
    assert [(one.name, one.before, one.after) for one in found] == [
        ("b", "2", "4"),
        ("c", "3", None),
        ("d", None, "5"),
    ]
