"""Which Python command lines a fork may execute, and what it reads in them."""

from __future__ import annotations

import pytest

from vitrine_harness.command_line import parse

LOCALE = {"LANG": "C.UTF-8"}


@pytest.mark.parametrize(
    ("line", "kind", "target", "arguments"),
    [
        ("python x.py", "script", "x.py", ()),
        ("python3 -u x.py -c 1 --", "script", "x.py", ("-c", "1", "--")),
        ("/env/bin/python3.11 -uB ./x.py", "script", "./x.py", ()),
        ("python -m pkg.tool -m other", "module", "pkg.tool", ("-m", "other")),
        ("python -mpkg a", "module", "pkg", ("a",)),
        ("python -uc pass a", "command", "pass", ("a",)),
        ("python -cpass", "command", "pass", ()),
        ("python -W ignore -Werror -q -s app.zip", "script", "app.zip", ()),
    ],
)
def test_a_program_is_read(line: str, kind: str, target: str, arguments: tuple[str, ...]) -> None:
    call = parse(line.split(), LOCALE)
    assert call is not None
    assert (call.kind, call.target, call.arguments) == (kind, target, arguments)
    assert call.argv == tuple(line.split())
    assert call.executable.startswith("/env/bin/python")


def test_options_are_read() -> None:
    call = parse(["python", "-uBWignore", "-sqW", "error", "x.py", "-u"], LOCALE)
    assert call is not None
    assert call.options == {"unbuffered", "dont_write_bytecode", "no_user_site", "quiet"}
    assert call.warnings == ["ignore", "error"]


@pytest.mark.parametrize(
    "line",
    [
        "",
        "bash run.sh",
        "python3.12 x.py",
        "/usr/bin/python3 x.py",
        "/opt/python/bin/python x.py",
        "bin/python x.py",
        "python",
        "python -",
        "python -u",
        "python -i x.py",
        "python -O x.py",
        "python -OO x.py",
        "python -I x.py",
        "python -uE x.py",
        "python -S x.py",
        "python -P x.py",
        "python -b x.py",
        "python -v x.py",
        "python -V",
        "python --version",
        "python -h",
        "python -X dev x.py",
        "python -Xutf8 x.py",
        "python -m",
        "python -c",
        "python -W",
        "python -- x.py",
        "python x.pyc",
        "python caf\udce9.py",
    ],
)
def test_the_rest_is_spawned(line: str) -> None:
    assert parse(line.split(), LOCALE) is None


@pytest.mark.parametrize(
    "name",
    [
        "HASHSEED",
        "OPTIMIZE",
        "UTF8",
        "DEVMODE",
        "MALLOC",
        "HOME",
        "STARTUP",
        "INSPECT",
        "TRACEMALLOC",
        "BREAKPOINT",
        "UNHEARD_OF",
    ],
)
def test_variables_that_shape_the_start_are_not_for_a_fork(name: str) -> None:
    assert parse(["python", "x.py"], {**LOCALE, f"PYTHON{name}": "1"}) is None
    assert parse(["python", "x.py"], {**LOCALE, f"PYTHON{name}": ""}) is not None


@pytest.mark.parametrize("value", ["0", "random"])
def test_variables_that_change_nothing_are_fine(value: str) -> None:
    name = {"0": "PYTHONUTF8", "random": "PYTHONHASHSEED"}[value]
    assert parse(["python", "x.py"], {**LOCALE, name: value}) is not None


@pytest.mark.parametrize(
    ("env", "faithful"),
    [
        ({"LANG": "de_DE.UTF-8"}, True),
        ({"LANG": "C", "LC_ALL": "en_US.utf8"}, True),
        ({"LANG": "C.UTF-8", "LC_ALL": "C"}, False),
        ({"LC_CTYPE": "POSIX"}, False),
        ({"LANG": "de_DE"}, False),
        ({}, False),
    ],
)
def test_other_locales_are_spawned(env: dict[str, str], faithful: bool) -> None:
    assert (parse(["python", "x.py"], env) is not None) == faithful
