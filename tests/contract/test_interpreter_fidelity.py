"""An author's Python command line: a fork of a warm interpreter shows what a shell shows, to the byte."""

from __future__ import annotations

import os
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import process_programs  # noqa: F401 - adds to the table
from interpreter_programs import PROGRAMS
from warm_interpreter import Outcome, WarmInterpreter, make_environment

LIMIT_BYTES = 1 << 20


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory, onnx_environment: Path) -> Path:
    packages = next(onnx_environment.glob("lib/python*/site-packages"))
    return make_environment(tmp_path_factory.mktemp("interpreters") / "env", packages)


@pytest.fixture(scope="module", params=[(), ("-I", "-B", "-u")], ids=["plain", "isolated"])
def warm(request: pytest.FixtureRequest, environment: Path) -> Iterator[WarmInterpreter]:
    with WarmInterpreter(environment, request.param) as found:
        yield found


@pytest.fixture
def both(warm: WarmInterpreter, tmp_path: Path) -> Callable[[str], tuple[Outcome, Outcome]]:
    def execute(name: str) -> tuple[Outcome, Outcome]:
        return tuple(_execute(way, warm, tmp_path / "work", name) for way in ("shell", "fork"))  # type: ignore[return-value]

    return execute


def variables(warm: WarmInterpreter, directory: Path) -> dict[str, str]:
    path = f"{warm.programs}:/usr/bin:/bin"
    return {
        "PATH": path,
        "HOME": str(directory),
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
        "OMP_NUM_THREADS": "1",
    }


def _execute(way: str, warm: WarmInterpreter, work: Path, name: str) -> Outcome:
    files, argv, env = PROGRAMS[name]
    shutil.rmtree(work, ignore_errors=True)
    for path, content in files.items():
        (work / path).parent.mkdir(parents=True, exist_ok=True)
        (work / path).write_bytes(content if isinstance(content, bytes) else content.encode())
    return getattr(warm, way)(argv, work, {**variables(warm, work), **env})  # type: ignore[no-any-return]


def plain(text: str) -> str:
    """Return the text without what differs between any two processes."""
    text = re.sub(r"0x[0-9a-f]{6,}", "0x…", text)
    text = re.sub(r"\d+\.\d+ (seconds|sec|usec|msec)|[Rr]an .*in [\d.]+s", "… sec", text)
    return re.sub(r"(pid|Thread-|MainThread, started )[ =]?\d+", r"\1…", text)


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_fork_shows_what_a_shell_shows(both: Callable[[str], tuple[Outcome, Outcome]], name: str) -> None:
    shell, fork = both(name)
    assert plain(fork.out) == plain(shell.out)
    assert plain(fork.err) == plain(shell.err)
    assert fork.status == shell.status
    assert fork.files.keys() == shell.files.keys()
    for path in fork.files.keys() - {"prof.bin"}:
        assert plain(fork.files[path].decode("latin-1")) == plain(shell.files[path].decode("latin-1"))


def _run(warm: WarmInterpreter, directory: Path, source: str, **env: str) -> Outcome:
    (directory / "main.py").write_text(source)
    return warm.fork(["python", "main.py"], directory, {**variables(warm, directory), **env})


@pytest.mark.parametrize("ending", ["", "1/0", "raise SystemExit(2)"])
def test_what_a_program_imported_is_learnt(warm: WarmInterpreter, tmp_path: Path, ending: str) -> None:
    (tmp_path / "own.py").write_text("")
    source = f"import sys, own, heavy, xml.dom.minidom\nsys.modules['a b'] = sys.modules[3] = heavy\n{ending}"
    assert _run(warm, tmp_path, source).learnt == ["heavy"]


def test_a_child_of_the_program_reports_nothing(warm: WarmInterpreter, tmp_path: Path) -> None:
    outcome = _run(warm, tmp_path, "import os\nif os.fork(): os.wait()\nelse: import heavy\n")
    assert (outcome.learnt, outcome.status) == ([], 0)


def test_no_two_programs_share_random_numbers(warm: WarmInterpreter, tmp_path: Path) -> None:
    source = (
        "import random, numpy, uuid, tempfile, multiprocessing as mp, multiprocessing.synchronize\n"
        "print(random.random(), numpy.random.rand(), uuid.uuid4(), uuid.uuid1(), tempfile.mktemp())\n"
        "print(mp.current_process().authkey.hex(), mp.synchronize.SemLock._make_name())\n"
    )
    first, second = (_run(warm, tmp_path, source).out.split() for _ in range(2))
    assert len(first) == 7
    assert not set(first) & set(second)


def test_a_reader_that_left_is_reported_at_the_end(warm: WarmInterpreter, tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text("print('x' * 100)\n")
    env = {**variables(warm, tmp_path), "PYTHONUNBUFFERED": ""}
    found = []
    for way in (warm.shell, warm.fork):
        reader, writer = os.pipe()
        os.close(reader)
        found.append(way(["python", "main.py"], tmp_path, env, stdout=writer))
        os.close(writer)
    shell, fork = found
    assert (fork.err, fork.status) == (shell.err, shell.status)
    assert fork.status == 120


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_a_signal_from_outside_ends_it_alike(warm: WarmInterpreter, tmp_path: Path, number: int) -> None:
    (tmp_path / "main.py").write_text("import os, signal\nprint(os.getpid())\nsignal.pause()\n")
    env = variables(warm, tmp_path)
    shell, fork = (
        way(["python", "main.py"], tmp_path, env, lambda pid: os.kill(pid, number))
        for way in (warm.shell, warm.fork)
    )
    assert fork.status == shell.status == -number
    # The signal may come before or in the pause.
    assert fork.err.splitlines()[-1:] == shell.err.splitlines()[-1:]


def test_thread_counts_are_those_of_the_program(warm: WarmInterpreter, tmp_path: Path) -> None:
    source = (
        "import ctypes, numpy, re\n"
        "path = re.search(r'/.*openblas.*', open('/proc/self/maps').read())[0]\n"
        "print(ctypes.CDLL(path).scipy_openblas_get_num_threads64_())\n"
    )
    assert _run(warm, tmp_path, source, OPENBLAS_NUM_THREADS="2").out == "2\n"
    assert _run(warm, tmp_path, source, OPENBLAS_NUM_THREADS="1").out == "1\n"
