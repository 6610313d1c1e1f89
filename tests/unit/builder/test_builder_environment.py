"""Putting an environment together from layers: links, bytecode, scripts, what wins and what is refused."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import importlib.util
import marshal
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from vitrine_builder import assembly as assembling
from vitrine_builder import bytecode_worker
from vitrine_builder.assembly import Assembly, Guesses, begin_ahead
from vitrine_builder.bytecode import Compiled, Compiler, Folder, require_interpreter
from vitrine_builder.failures import BuildFailure, FailureReason
from vitrine_builder.images.content import merge
from vitrine_builder.layers import Layer, LayerFile, list_files
from vitrine_builder.lock import Lock, LockedPackage, Target
from vitrine_builder.process import Bounds
from vitrine_builder.scripts import console_scripts
from vitrine_builder.wheels import WheelTree
from vitrine_builder.workspace import open_workspace

SITE = "lib/python3.11/site-packages"
PYTHON = Path(sys.base_prefix) / "bin" / "python3.11"


def layer(path: Path, files: dict[str, str]) -> Layer:
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(content)
    listing = list_files(path)
    package = LockedPackage(path.name, "1", ("sha256:" + "0" * 64,))
    return Layer(package, path, sum(file.size for file in listing), listing)


async def compile_all(root: Path, inside: str = "/env/lib", jobs: int = 2) -> Compiled:
    done: list[Compiled] = []
    compiler = Compiler(PYTHON, "", Bounds(60), jobs=jobs)
    await compiler.compile([Folder(root, inside, root)], lambda _number, compiled: done.append(compiled))
    return done[0]


def test_an_environment_has_the_layout_that_sandboxes_expect(tmp_path: Path) -> None:
    made = layer(tmp_path / "a", {f"{SITE}/a.py": "a = 1\n", "bin/a": "#!/env/bin/python\n"})
    root = tmp_path / "env"
    root.mkdir()
    assert assemble(root, [made], Target()) == (2, 24)
    assert (root / "bin/python").readlink() == Path("/opt/python/bin/python3.11")
    assert (root / "bin/python3").readlink() == Path("python")
    assert "home = /opt/python/bin\n" in (root / "pyvenv.cfg").read_text()
    assert (root / SITE / "a.py").samefile(tmp_path / "a" / SITE / "a.py")


def test_a_package_cannot_replace_the_interpreter_or_its_configuration(tmp_path: Path) -> None:
    evil = layer(tmp_path / "a", {"bin/python": "evil", "pyvenv.cfg": "evil", "environment.json": "evil"})
    root = tmp_path / "env"
    root.mkdir()
    assemble(root, [evil], Target())
    assert (root / "bin/python").readlink() == Path("/opt/python/bin/python3.11")
    assert "evil" not in (root / "pyvenv.cfg").read_text()
    assert not (root / "environment.json").exists()


def test_of_two_files_of_one_name_the_later_wins_with_its_own_bytecode(tmp_path: Path) -> None:
    pyc = f"{SITE}/shared/__pycache__/__init__.cpython-311.pyc"
    first = layer(tmp_path / "a", {f"{SITE}/shared/__init__.py": "1", pyc: "bytecode of 1"})
    second = layer(tmp_path / "b", {f"{SITE}/shared/__init__.py": "2"})
    root = tmp_path / "env"
    root.mkdir()
    assemble(root, [first, second], Target())
    assert (root / SITE / "shared/__init__.py").read_text() == "2"
    assert not (root / pyc).exists()


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_file_where_another_has_a_folder_is_a_conflict(tmp_path: Path, order: tuple[int, int]) -> None:
    made = [layer(tmp_path / "a", {f"{SITE}/x": "f"}), layer(tmp_path / "b", {f"{SITE}/x/y": "f"})]
    root = tmp_path / "env"
    root.mkdir()
    with pytest.raises(BuildFailure, match="a file in one, a folder in the other") as caught:
        assemble(root, [made[index] for index in order], Target())
    assert caught.value.reason is FailureReason.CONFLICT


def assemble(root: Path, layers: list[Layer], target: Target) -> tuple[int, int]:
    assembly = Assembly(root, target)
    assembly.lay(layers)
    return assembly.files, assembly.size


def shape(root: Path) -> dict[str, tuple[int, ...]]:
    return {
        str(path.relative_to(root)): (path.lstat().st_ino,) if path.is_file() else ()
        for path in root.rglob("*")
    }


def test_a_guess_that_is_corrected_leaves_what_was_never_guessed(tmp_path: Path) -> None:
    pyc = f"{SITE}/shared/__pycache__/__init__.cpython-311.pyc"
    one = layer(
        tmp_path / "a", {f"{SITE}/shared/__init__.py": "1", pyc: "1", f"{SITE}/one/x/y.py": "", "bin/one": ""}
    )
    two = layer(
        tmp_path / "b", {f"{SITE}/shared/__init__.py": "2", f"{SITE}/one/x": "file where one has a folder"}
    )
    three = layer(tmp_path / "c", {f"{SITE}/three.py": "3"})
    four = layer(tmp_path / "d", {f"{SITE}/shared/__init__.py": "four"})
    for number, (guess, truth) in enumerate(
        [
            ([one], [two, three]),
            ([one, three], [one]),
            ([], [two]),
            ([two], [three, one]),
            ([one, two], [two]),
            ([one], [one, three]),
            ([one, three], [three, one]),
            ([one, three], [four, one, three]),
            ([four], [one, four]),
        ]
    ):
        guessed, plain = tmp_path / f"guessed{number}", tmp_path / f"plain{number}"
        guessed.mkdir()
        plain.mkdir()
        assembly = Assembly(guessed, Target())
        with contextlib.suppress(BuildFailure):
            assembly.lay(guess)
        assembly.lay(truth)
        assert (assembly.files, assembly.size) == assemble(plain, truth, Target())
        names = {name: inode for name, inode in shape(guessed).items() if name != "pyvenv.cfg"}
        assert names == {name: inode for name, inode in shape(plain).items() if name != "pyvenv.cfg"}


def test_files_of_an_environment_are_merged_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = layer(tmp_path / "a", {f"{SITE}/one.py": "1"})
    two = layer(tmp_path / "b", {f"{SITE}/two.py": "2"})
    merged: list[list[Layer]] = []

    def counted(layers: list[Layer]) -> Mapping[str, tuple[Layer, LayerFile]]:
        merged.append(list(layers))
        return merge(layers)

    monkeypatch.setattr(assembling, "merge", counted)
    (tmp_path / "env").mkdir()
    made = Assembly(tmp_path / "env", Target())
    made.lay([one])
    made.lay([one, two])
    assert merged == [[one], [two]]


async def test_a_right_guess_goes_on_and_is_not_laid_out_again(tmp_path: Path) -> None:
    made = [layer(tmp_path / "layers" / name, {f"{SITE}/{name}.py": name}) for name in ("a", "b")]
    with open_workspace(tmp_path / "environments") as workspace:
        async with begin_ahead(workspace, Target(), made) as ahead:
            begun = ahead.laying
            await ahead.go_on(made)
            assert ahead.laying is begun
            await ahead.go_on(made[:1])
            assert ahead.laying is not begun
            assembly = await ahead.take()
            assembly.lay(made)
            assert assembly.files == 2


def test_a_guess_is_the_lock_of_a_list_that_has_most_lines_in_common() -> None:
    guesses, near, far = Guesses(most=2), Lock(()), Lock((LockedPackage("x", "1", ()),))
    guesses.remember(["a", "b", "c"], near)
    guesses.remember(["x", "y"], far)
    assert guesses.guess(["a", "b", "c", "d"]) is near
    assert guesses.guess(["a", "b", "c"]) is None, "it was resolved before, and will be answered at once"
    assert guesses.guess(["q"]) is None
    guesses.remember(["z"], far)
    assert guesses.guess(["a", "b", "c", "d"]) is None, "only the last ones are kept"


def wheel(path: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(content)
    return path


def test_a_wheels_files_lie_where_its_format_says_and_the_record_tells(tmp_path: Path) -> None:
    unpacked = wheel(
        tmp_path / "wheel",
        {
            "a/__init__.py": "",
            "a/__pycache__/__init__.cpython-311.pyc": "bytecode that its author made",
            "a-1.dist-info/METADATA": "Name: a\n",
            "a-1.dist-info/INSTALLER": "uv\n",
            "a-1.dist-info/entry_points.txt": "[console_scripts]\nmain = a.cli:App.run [x]\n../evil = a:b\n",
            "a-1.dist-info/RECORD": "a/__init__.py,sha256=kept,0\na-1.data/scripts/tool,sha256=old,9\n",
            "a-1.data/scripts/tool": "#!python\nprint(1)\n",
            "a-1.data/scripts/shell": "#!/bin/sh\nexec true\n",
            "a-1.data/data/share/a.txt": "data",
            "a-1.data/purelib/pure.py": "",
            "a-1.data/headers/a.h": "",
            "a-1.data/elsewhere/x": "",
        },
    )
    (unpacked / "a/link").symlink_to("/etc/passwd")
    tree = tmp_path / "tree"
    WheelTree(unpacked, tree, "3.11").lay()
    assert {file.path for file in list_files(tree)} == {
        "bin/main",
        "bin/shell",
        "bin/tool",
        "include/site/python3.11/a/a.h",
        f"{SITE}/a-1.dist-info/METADATA",
        f"{SITE}/a-1.dist-info/RECORD",
        f"{SITE}/a-1.dist-info/entry_points.txt",
        f"{SITE}/a/__init__.py",
        f"{SITE}/pure.py",
        "share/a.txt",
    }
    assert (tree / "bin/tool").read_text() == "#!/env/bin/python\nprint(1)\n"
    assert (tree / "bin/shell").read_text() == "#!/bin/sh\nexec true\n"
    assert (tree / "bin/main").stat().st_mode & 0o777 == 0o555
    assert (unpacked / "a-1.data/scripts/tool").read_text().startswith("#!python"), "the cache was written"
    record = (tree / SITE / "a-1.dist-info/RECORD").read_text().splitlines()
    rows = {row[0]: row[1:] for row in csv.reader(record)}
    assert rows["a/__init__.py"] == ["sha256=kept", "0"]
    assert rows["../../../bin/tool"][1] == str(len("#!/env/bin/python\nprint(1)\n"))
    assert "../../../bin/main" in rows


def test_programs_start_the_object_that_a_wheel_names() -> None:
    made = console_scripts(
        "[console_scripts]\nx = pkg.mod:Class.run\n[gui_scripts]\ny=pkg:f\n[other]\nz=p:f\n"
    )
    assert sorted(made) == ["x", "y"]
    assert made["x"].startswith(b"#!/env/bin/python\n")
    assert b"from pkg.mod import Class\n" in made["x"]
    assert b"sys.exit(Class.run())" in made["x"]


@pytest.mark.parametrize("goal", ["a", "a:", "a:b; import os", "a b:c", "os:system('x')", ":f"])
def test_an_entry_point_that_names_no_object_makes_no_program(goal: str) -> None:
    assert console_scripts(f"[console_scripts]\nx = {goal}\n") == {}


def test_an_entry_points_file_that_is_none_makes_no_program() -> None:
    assert console_scripts("no section\n") == {}


async def test_bytecode_is_unchecked_names_the_sandboxs_path_and_runs_nothing(tmp_path: Path) -> None:
    layer(
        tmp_path / "a",
        {
            "good.py": "def f():\n    return {'a', 'b'}\n",
            "bad.py": "print 'old'\n",
            "evil.pth": f"import os; open({str(tmp_path / 'ran')!r}, 'w')\n",
            "sitecustomize.py": f"open({str(tmp_path / 'ran')!r}, 'w')\n",
            "sub/__init__.py": "",
        },
    )
    assert await compile_all(tmp_path / "a") == Compiled(files=3, failed=1)
    pyc = (tmp_path / "a/__pycache__/good.cpython-311.pyc").read_bytes()
    assert pyc[4:8] == b"\x01\0\0\0", "hash-based, unchecked"
    assert pyc[:4].hex() == (await require_interpreter(PYTHON, Target())).magic
    assert marshal.loads(pyc[16:]).co_filename == "/env/lib/good.py"
    assert not (tmp_path / "ran").exists()


async def test_bytecode_is_the_same_bytes_whatever_else_is_compiled(tmp_path: Path) -> None:
    source = (
        "X = frozenset({'one', 'two', 'three'})\ndef f(name, other):\n    return name in {'p', 'q', 'r'}\n"
    )
    digests = set()
    for name, more in (("a", {}), ("b", {f"before{i}.py": source + f"name = {i}\n" for i in range(5)})):
        layer(tmp_path / name, {"same.py": source, **more})
        await compile_all(tmp_path / name)
        pyc = (tmp_path / name / "__pycache__/same.cpython-311.pyc").read_bytes()
        digests.add(hashlib.sha256(pyc).hexdigest())
    assert len(digests) == 1


STDLIB = Path(importlib.util.__file__ or "").parents[1]
MODULES = ("asyncio", "concurrent", "email", "encodings", "http", "importlib", "json", "logging", "xml")


def copy_of_modules(folder: Path) -> Path:
    """Copy a few hundred real modules, one that does not compile and one in an old encoding among them."""
    for name in MODULES:
        for source in sorted((STDLIB / name).rglob("*.py")):
            place = folder / source.relative_to(STDLIB)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(source.read_bytes())
    (folder / "json" / "broken.py").write_text("print 'old'\n")
    (folder / "json" / "old.py").write_bytes(b"# -*- coding: latin-1 -*-\nencode = errors = '\xe9'\n")
    (folder / "xml" / "warns.py").write_text("x = '\\d'\nassert (x, 'always')\n")
    return folder


def bytecode_of(folder: Path) -> dict[str, str]:
    found = sorted(folder.rglob("*.pyc"))
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in found}


SHUFFLE = """
import random
def shuffled(found, seed):
    random.Random(seed).shuffle(found)
    return found

"""


async def test_bytecode_depends_on_no_other_file_of_a_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each file in a child of its own, in the shipped batches, and all in one, in other orders."""
    text = Path(bytecode_worker.__file__).read_text()
    made = []
    for size in (1, 1_000_000, 1 << 30):
        folder = copy_of_modules(tmp_path / str(size))
        worker = tmp_path / f"worker{size}.py"
        changed = text.replace("BATCH_BYTES = 1_000_000", f"BATCH_BYTES = {size}")
        changed = changed.replace("for file in sorted(found)]", f"for file in shuffled(found, {size})]")
        worker.write_text(changed.replace("\nMEMORY_BYTES", f"{SHUFFLE}\nMEMORY_BYTES", 1))
        assert changed.count(f"{size}") >= 2
        monkeypatch.setattr(bytecode_worker, "__file__", str(worker))
        assert (await compile_all(folder)).failed == 1
        made.append(bytecode_of(folder))
    assert len(made[0]) > 200
    assert made[0] == made[1] == made[2]


async def test_tests_of_packages_get_no_bytecode(tmp_path: Path) -> None:
    layer(tmp_path / "a", {"a/tests/x.py": "", "a/test/y.py": "", "a/testing/z.py": "", "a/tests.py": ""})
    assert await compile_all(tmp_path / "a") == Compiled(files=2, failed=0)
    assert {Path(name).name for name in bytecode_of(tmp_path / "a")} == {
        "z.cpython-311.pyc",
        "tests.cpython-311.pyc",
    }


async def test_an_interpreter_of_another_version_is_refused() -> None:
    with pytest.raises(BuildFailure, match=r"is Python 3\.11, and environments are for 3\.12"):
        await require_interpreter(PYTHON, Target(python="3.12"))
    with pytest.raises(BuildFailure, match="does not run"):
        await require_interpreter(Path("/nowhere/python"), Target())
