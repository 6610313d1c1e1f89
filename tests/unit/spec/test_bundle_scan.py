import os
import socket
from pathlib import Path

import pytest
from pydantic import ValidationError

import onnx_bytes
from vitrine_common.bundle import (
    BundleError,
    BundleLimits,
    FileEntry,
    Manifest,
    bundle_warnings,
    check_manifest,
    check_runnable,
)
from vitrine_common.digests import canonical_json, sha256_bytes, sha256_file
from vitrine_common.paths import glob_matches
from vitrine_common.scan import scan_directory
from vitrine_common.spec import SpecError, load_spec

DIGEST = "sha256:" + "0" * 64


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    root.mkdir()
    (root / "vitrine.yaml").write_text("name: m\nmodel: {command: python run.py}\n")
    (root / "run.py").write_text("print(1)\n")
    return root


def entry(path: str, size: int = 1) -> FileEntry:
    return FileEntry(path=path, digest=DIGEST, size=size)


def manifest(*paths: str) -> Manifest:
    return Manifest(spec={}, files=tuple(entry(path) for path in paths))


def refused(directory: Path, limits: BundleLimits | None = None) -> dict[str, str]:
    with pytest.raises(BundleError) as caught:
        scan_directory(directory, limits or BundleLimits())
    return {problem.field: problem.message for problem in caught.value.problems}


def test_a_scan_names_every_file_by_its_content(directory: Path) -> None:
    (directory / "bin").mkdir()
    (directory / "bin" / "go").write_bytes(b"")
    (directory / "bin" / "go").chmod(0o700)
    reported: list[tuple[str, int]] = []
    scan = scan_directory(directory, report=lambda path, size: reported.append((path, size)))
    assert [item.path for item in scan.manifest.files] == ["bin/go", "run.py", "vitrine.yaml"]
    assert scan.manifest.files[0] == FileEntry(
        path="bin/go", digest=sha256_bytes(b""), size=0, executable=True
    )
    assert scan.manifest.files[1].digest == sha256_file(directory / "run.py")
    assert scan.manifest.directories == {"bin"}
    assert reported == [("bin/go", 0), ("run.py", 9), ("vitrine.yaml", scan.manifest.files[2].size)]
    assert scan.sources["run.py"].read_text() == "print(1)\n"


def test_the_version_digest_depends_on_content_alone(directory: Path, tmp_path: Path) -> None:
    first = scan_directory(directory).manifest
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("run.py", "vitrine.yaml"):
        (copy / name).write_bytes((directory / name).read_bytes())
        os.utime(copy / name, (1, 1))
    second = scan_directory(copy).manifest
    assert second.digest == first.digest
    assert Manifest(spec=first.spec, files=first.files[::-1]).digest == first.digest
    (copy / "run.py").write_text("print(2)\n")
    third = scan_directory(copy).manifest
    assert third.digest != first.digest
    (copy / "run.py").write_text("print(1)\n")
    (copy / "run.py").chmod(0o755)
    assert scan_directory(copy).manifest.digest not in {first.digest, third.digest}


def test_canonical_json_has_one_form() -> None:
    assert canonical_json({"b": 1, "a": ["ä", 1.5]}) == '{"a":["ä",1.5],"b":1}'.encode()
    with pytest.raises(ValueError, match="JSON"):
        canonical_json(float("nan"))


def test_caches_and_secrets_stay_at_home(directory: Path) -> None:
    for path in (
        ".git/config",
        "__pycache__/a.pyc",
        ".venv/x",
        ".env",
        "sub/.env.local",
        "sub/id_rsa",
        ".env.example",
    ):
        (directory / path).parent.mkdir(exist_ok=True)
        (directory / path).write_text("x")
    found = {item.path for item in scan_directory(directory).manifest.files}
    assert found == {"run.py", "vitrine.yaml", ".env.example"}


def test_the_ignore_file_leaves_out_and_takes_back_in(directory: Path) -> None:
    (directory / ".vitrineignore").write_text("data/\n*.log\n!keep.log\n/top.txt\n!.env\n")
    for path in ("data/x", "a.log", "keep.log", "top.txt", "sub/top.txt", ".env"):
        (directory / path).parent.mkdir(exist_ok=True)
        (directory / path).write_text("x")
    found = {item.path for item in scan_directory(directory).manifest.files}
    assert found == {"run.py", "vitrine.yaml", "keep.log", "sub/top.txt", ".env"}


def test_links_inside_stand_for_their_content(directory: Path) -> None:
    (directory / "data").mkdir()
    (directory / "data" / "a.txt").write_text("a")
    (directory / "link.txt").symlink_to("data/a.txt")
    (directory / "again").symlink_to("data")
    found = {item.path: item.digest for item in scan_directory(directory).manifest.files}
    assert found["link.txt"] == found["again/a.txt"] == found["data/a.txt"] == sha256_bytes(b"a")


def test_links_out_of_the_directory_are_refused(directory: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s")
    (directory / "file").symlink_to(tmp_path / "secret")
    (directory / "up").symlink_to("..")
    (directory / "passwd").symlink_to("/etc/passwd")
    (directory / "nothing").symlink_to("nowhere")
    (directory / "loop").symlink_to("loop")
    (directory / "around").symlink_to(".")
    found = refused(directory)
    assert set(found) == {"file", "up", "passwd", "nothing", "loop", "around"}
    assert all("symbolic link" in message for message in found.values())


def test_a_link_lets_no_ignored_file_out(directory: Path) -> None:
    (directory / ".env").write_text("TOKEN=1")
    (directory / ".git").mkdir()
    (directory / ".git" / "config").write_text("x")
    (directory / "notes.txt").symlink_to(".env")
    (directory / "history").symlink_to(".git")
    assert {item.path for item in scan_directory(directory).manifest.files} == {"run.py", "vitrine.yaml"}


def test_what_is_no_file_is_refused(directory: Path) -> None:
    os.mkfifo(directory / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        before = Path.cwd()
        os.chdir(directory)  # a socket's path is short
        server.bind("socket")
        os.chdir(before)
        found = refused(directory)
    assert set(found) == {"pipe", "socket"}


def test_names_that_are_no_paths_are_refused(directory: Path) -> None:
    (directory / "a\nb").write_text("x")
    (directory / "a\\b").write_text("x")
    os.close(os.open(os.fsencode(directory) + b"/\xff\xfe", os.O_CREAT | os.O_WRONLY))
    assert len(refused(directory)) == 3


def test_limits_hold(directory: Path) -> None:
    assert "more than 1 files" in next(iter(refused(directory, BundleLimits(files=1)).values()))
    assert "at most 5 are taken" in refused(directory, BundleLimits(file_bytes=5))["run.py"]
    assert ".vitrineignore" in refused(directory, BundleLimits(total_bytes=20))[""]


def test_a_directory_without_a_model_file_says_how_to_get_one(directory: Path) -> None:
    (directory / "vitrine.json").write_text("{}")
    assert "keep one" in next(iter(refused(directory).values()))
    (directory / "vitrine.json").unlink()
    (directory / "vitrine.yaml").write_bytes(b"name: \xff")
    assert "UTF-8" in refused(directory)["vitrine.yaml"]
    (directory / "vitrine.yaml").write_text("nam: x")
    with pytest.raises(SpecError, match="did you mean `name`"):
        scan_directory(directory)
    (directory / "vitrine.yaml").unlink()
    assert "vitrine init" in refused(directory)["vitrine.yaml"]
    assert "not a directory" in next(iter(refused(directory / "run.py").values()))


def test_missing_and_empty_files_are_named_by_their_field(directory: Path) -> None:
    (directory / "vitrine.yaml").write_text(
        "name: m\nonnx: m.onnx\npackage: {requirements_file: r.txt}\nmodel_card: CARD.md\n"
        "inputs: {x: {type: image, examples: [a.png, b.png]}}\n"
    )
    (directory / "b.png").write_bytes(b"")
    found = refused(directory)
    assert set(found) == {
        "onnx",
        "package.requirements_file",
        "model_card",
        "inputs[0].examples[0]",
        "inputs[0].examples[1]",
    }
    assert "0 bytes" in found["inputs[0].examples[1]"]


def test_a_trained_file_may_come_later_but_not_be_run_without(directory: Path) -> None:
    (directory / "vitrine.yaml").write_text("name: m\nonnx: out/m.onnx\ntrain: {command: a, outputs: out/}\n")
    scan = scan_directory(directory)
    problems = check_runnable(scan.spec, scan.manifest)
    assert [(problem.field, "vitrine train" in problem.message) for problem in problems] == [("onnx", True)]
    (directory / "out").mkdir()
    (directory / "out" / "m.onnx").write_bytes(b"")
    scan = scan_directory(directory)
    assert "0 bytes" in check_runnable(scan.spec, scan.manifest)[0].message
    (directory / "out" / "m.onnx").write_bytes(onnx_bytes.model())
    scan = scan_directory(directory)
    assert check_runnable(scan.spec, scan.manifest) == []


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/a",
        "../a",
        "a/../b",
        "a//b",
        "./a",
        "a/",
        "a\\b",
        "a\nb",
        "a\x7fb",
        "c:/a",
        ".vitrine/x",
        "a" * 256,
        "a/" * 600 + "a",
    ],
    ids=range(14),
)
def test_a_manifest_takes_no_unsafe_path(path: str) -> None:
    with pytest.raises(ValidationError):
        entry(path)


def test_a_manifest_takes_no_wrong_digest_or_size() -> None:
    for wrong in ("0" * 64, "sha256:" + "0" * 63, "sha256:" + "A" * 64, DIGEST + "\n"):
        with pytest.raises(ValidationError):
            FileEntry(path="a", digest=wrong, size=1)
    with pytest.raises(ValidationError):
        entry("a", -1)


def test_doubles_and_files_inside_files_are_found() -> None:
    problems = check_manifest(manifest("a", "a", "b", "b/c"))
    assert [(problem.field, problem.message) for problem in problems] == [
        ("a", "is named twice"),
        ("b/c", "lies in `b`, which is a file"),
    ]
    assert check_manifest(manifest("a", "b/c", "b-c")) == []


def test_names_that_differ_only_by_case_are_warned_about() -> None:
    assert len(bundle_warnings(manifest("Readme", "readme", "other"))) == 1


def test_card_text_is_no_file() -> None:
    assert load_spec("name: m\nonnx: m.onnx\nmodel_card: A card.").model_card_file() is None
    assert load_spec("name: m\nonnx: m.onnx\nmodel_card: ./CARD.md").model_card_file() == "CARD.md"


@pytest.mark.parametrize(
    ("path", "pattern", "matches"),
    [
        ("out/m.onnx", "out/**/*", True),
        ("out/a/b", "out/**/*", True),
        ("out", "out/**/*", False),
        ("a/b.png", "*.png", False),
        ("a/b.png", "**/*.png", True),
        ("b.png", "**/*.png", True),
        ("a/b/c", "a/*/c", True),
        ("a/b/b/c", "a/*/c", False),
        ("a/x/y/c", "**/a/**/**/c", True),
        ("a1", "./a[0-9]", True),
        ("a/" * 300 + "b", "**/a/" * 100 + "c", False),
    ],
    ids=range(11),
)
def test_patterns_match_as_glob_does(path: str, pattern: str, matches: bool) -> None:
    assert glob_matches(path, pattern) is matches
