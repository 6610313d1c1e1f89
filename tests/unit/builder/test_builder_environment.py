"""Putting an environment together from layers: links, bytecode, scripts, what wins and what is refused."""

from __future__ import annotations

import csv
import hashlib
import marshal
import os
import sys
from pathlib import Path

import pytest

from vitrine_builder.bytecode import Compiled, Compiler, require_interpreter
from vitrine_builder.failures import BuildFailure, FailureReason
from vitrine_builder.layers import Layer
from vitrine_builder.lock import LockedPackage, Target
from vitrine_builder.materialise import assemble
from vitrine_builder.process import Bounds
from vitrine_builder.scripts import relocate_scripts

SITE = "lib/python3.11/site-packages"
PYTHON = Path(sys.base_prefix) / "bin" / "python3.11"


def layer(path: Path, files: dict[str, str]) -> Layer:
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(content)
    return Layer(LockedPackage(path.name, "1", ("sha256:" + "0" * 64,)), path, len(files), 0, 0)


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


def test_scripts_start_the_environments_python_and_the_record_says_so(tmp_path: Path) -> None:
    # A kernel splits at the first blank, so an interpreter's path with one stands in the long form only.
    plain, python = Path("/opt/x/bin/python3.11"), Path("/some where/bin/python3.11")
    cached = tmp_path / "cached"
    cached.write_text(f"#!{plain}\nprint(1)\n")
    layer(
        tmp_path / "a",
        {
            "bin/long": f"#!/bin/sh\n'''exec' \"{python}\" \"$0\" \"$@\"\n' '''\nprint(2)\n",
            "bin/shell": "#!/bin/sh\nexec true\n",
            f"{SITE}/a-1.dist-info/RECORD": "../../../bin/short,sha256=old,1\na/__init__.py,sha256=kept,3\n",
        },
    )
    os.link(cached, tmp_path / "a/bin/short")
    assert relocate_scripts(tmp_path / "a", plain, tmp_path / "a" / SITE) == 1
    assert relocate_scripts(tmp_path / "a", python, tmp_path / "a" / SITE) == 1
    assert (tmp_path / "a/bin/short").read_text() == "#!/env/bin/python\nprint(1)\n"
    assert (tmp_path / "a/bin/long").read_text() == "#!/env/bin/python\nprint(2)\n"
    assert (tmp_path / "a/bin/shell").read_text() == "#!/bin/sh\nexec true\n"
    assert cached.read_text() == f"#!{plain}\nprint(1)\n", "the installer's cache was written through a link"
    record = tmp_path / "a" / SITE / "a-1.dist-info/RECORD"
    rows = list(csv.reader(record.read_text().splitlines()))
    assert rows[0][2] == str(len("#!/env/bin/python\nprint(1)\n"))
    assert rows[1] == ["a/__init__.py", "sha256=kept", "3"]


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
    compiler = Compiler(PYTHON, Bounds(60), jobs=2)
    assert await compiler.compile(tmp_path / "a", "/env/lib") == Compiled(files=3, failed=1)
    pyc = (tmp_path / "a/__pycache__/good.cpython-311.pyc").read_bytes()
    assert pyc[4:8] == b"\x01\0\0\0", "hash-based, unchecked"
    assert pyc[:4].hex() == await require_interpreter(PYTHON, Target())
    assert marshal.loads(pyc[16:]).co_filename == "/env/lib/good.py"
    assert not (tmp_path / "ran").exists()


async def test_bytecode_is_the_same_bytes_whatever_else_is_compiled(tmp_path: Path) -> None:
    source = (
        "X = frozenset({'one', 'two', 'three'})\ndef f(name, other):\n    return name in {'p', 'q', 'r'}\n"
    )
    digests = set()
    for name, more in (("a", {}), ("b", {f"before{i}.py": source + f"name = {i}\n" for i in range(5)})):
        layer(tmp_path / name, {"same.py": source, **more})
        await Compiler(PYTHON, Bounds(60), jobs=2).compile(tmp_path / name, "/env/lib")
        pyc = (tmp_path / name / "__pycache__/same.cpython-311.pyc").read_bytes()
        digests.add(hashlib.sha256(pyc).hexdigest())
    assert len(digests) == 1


async def test_an_interpreter_of_another_version_is_refused() -> None:
    with pytest.raises(BuildFailure, match=r"is Python 3\.11, and environments are for 3\.12"):
        await require_interpreter(PYTHON, Target(python="3.12"))
    with pytest.raises(BuildFailure, match="does not run"):
        await require_interpreter(Path("/nowhere/python"), Target())
