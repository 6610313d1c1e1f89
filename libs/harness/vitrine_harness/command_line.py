"""Python command lines: which of them a fork of a running interpreter can execute faithfully."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PROGRAMS = "/env/bin"
"""Where the environment's interpreter lies, as runs see it."""

_FLAGS = {"u": "unbuffered", "B": "dont_write_bytecode", "s": "no_user_site", "q": "quiet"}
_HONOURED = frozenset(
    {
        "PYTHONASYNCIODEBUG",
        "PYTHONDONTWRITEBYTECODE",
        "PYTHONIOENCODING",
        "PYTHONNOUSERSITE",
        "PYTHONPATH",
        "PYTHONPYCACHEPREFIX",
        "PYTHONUNBUFFERED",
        "PYTHONWARNINGS",
    }
)
"""Variables that `start_state` applies, or that the interpreter reads when it needs them.

Every other one changes what only a start can change: the hash seed, the allocator, UTF-8 mode."""
_NEUTRAL = {"PYTHONHASHSEED": "random", "PYTHONUTF8": "0"}
"""Values that ask for what is so anyway."""


class PythonCall:
    """One command line of the interpreter: `target` is a path, a module or code, as `kind` says."""

    def __init__(self, argv: Sequence[str], executable: str) -> None:
        self.argv = tuple(argv)
        self.executable = executable
        self.kind = "script"
        self.target = ""
        self.arguments: tuple[str, ...] = ()
        self.options: set[str] = set()
        self.warnings: list[str] = []


def parse(
    argv: Sequence[str], env: Mapping[str, str] | None = None, programs: str = PROGRAMS
) -> PythonCall | None:
    """Return what the command line asks of the interpreter in `programs`; None where it must be spawned.

    It must where it names another program, or options or `PYTHON…` variables that shape the start of an
    interpreter (`-O`, `-I`, `-X dev`, a hash seed), reads its program from standard input, or uses a locale
    other than UTF-8. What depends on files is judged later, by `interpreter.run`.
    """
    if not argv or not _is_honoured(env or {}):
        return None
    executable = _executable(argv[0], programs)
    if executable is None:
        return None
    call = PythonCall(argv, executable)
    return call if _read_options(call, list(argv[1:])) else None


def _executable(program: str, programs: str) -> str | None:
    directory, name = os.path.split(program)
    if name not in {"python", "python3", "python3.11"} or directory not in {"", programs}:
        return None
    return f"{programs}/{name}"


def _is_honoured(env: Mapping[str, str]) -> bool:
    for name, value in env.items():
        if name.startswith("PYTHON") and value and name not in _HONOURED and _NEUTRAL.get(name) != value:
            return False
    # The first that is set and not empty decides: setlocale(3).
    locale = env.get("LC_ALL") or env.get("LC_CTYPE") or env.get("LANG") or "C"
    return locale.lower().endswith((".utf-8", ".utf8"))


def _read_options(call: PythonCall, rest: list[str]) -> bool:
    while rest and rest[0].startswith("-") and rest[0] != "-":
        cluster = rest.pop(0)[1:]
        while cluster:
            letter, cluster = cluster[0], cluster[1:]
            if letter in _FLAGS:
                call.options.add(_FLAGS[letter])
                continue
            if letter not in {"W", "c", "m"} or not (cluster or rest):
                return False
            value, cluster = cluster or rest.pop(0), ""
            if letter == "W":
                call.warnings.append(value)
            else:
                kind = {"c": "command", "m": "module"}[letter]
                return _settle(call, kind, value, rest)
    return bool(rest) and rest[0] != "-" and _settle(call, "script", rest[0], rest[1:])


def _settle(call: PythonCall, kind: str, target: str, rest: list[str]) -> bool:
    call.kind, call.target, call.arguments = kind, target, tuple(rest)
    # Compiled files, and text that is not UTF-8, take other ways through the interpreter.
    return bool(target) and not target.endswith(".pyc") and not _has_raw_bytes(target)


def _has_raw_bytes(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)
