"""Executing an author's Python command line in a fork of an interpreter that has its imports done.

The program sees what a fresh `python …` would show it. What cannot be had that way is refused by `parse`,
or, where it depends on files, handed to a real interpreter by `run`. Known to differ: the hash seed is the
first interpreter's, warnings that packages give while they are imported were given there, and modules
that were imported ahead are in `sys.modules` and frozen for the garbage collector.
"""

from __future__ import annotations

import codecs
import contextlib
import importlib.machinery
import importlib.util
import json
import locale
import os
import signal
import site
import sys

from vitrine_harness import endings, imports, native, start_state
from vitrine_harness.command_line import PythonCall, parse
from vitrine_harness.imports import newly_imported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import ModuleType
    from typing import NoReturn

__all__ = ["PythonCall", "newly_imported", "parse", "run"]

_READ_AT_IMPORT = {
    "HF_": ("huggingface_hub", "transformers", "datasets"),
    "TRANSFORMERS_": ("transformers",),
    "TORCH_": ("torch",),
    "PYTORCH_": ("torch",),
    "KMP_": ("torch", "numpy", "scipy", "sklearn"),
    "OMP_": ("torch", "numpy", "scipy", "sklearn"),
    "MKL_": ("torch", "numpy", "scipy"),
    "OPENBLAS_": ("numpy", "scipy"),
    "NUMEXPR_": ("numexpr",),
    "NUMBA_": ("numba",),
    "NPY_": ("numpy",),
    "NUMPY_": ("numpy",),
    "TF_": ("tensorflow",),
    "JAX_": ("jax",),
    "XLA_": ("jax", "tensorflow"),
    "MPLCONFIGDIR": ("matplotlib",),
    "MATPLOTLIBRC": ("matplotlib",),
}
"""Variables, by how they begin, that packages read once, when they are imported."""
_READ_BY_LOADER = ("LD_", "MALLOC_", "GLIBC_")


def run(
    call: PythonCall, directory: str, env: dict[str, str], threads: int, report: int | None = None
) -> NoReturn:
    """Execute the command line in this process and end it as the interpreter would.

    For a child that was just forked, whose descriptors 0 to 2 are the program's. `env` becomes the whole
    environment; `threads` is the count for libraries to which `env` gives none. At the end the names that
    `newly_imported` returns are written to the descriptor `report` as a JSON list. Raises `OSError` where
    `directory` cannot be entered; nothing else returns to the caller.
    """
    os.chdir(directory)
    first = _first_of_path(call)
    python_path = list(dict.fromkeys(os.path.abspath(item) for item in _listed(env.get("PYTHONPATH", ""))))
    if not _is_faithful(call, first, python_path, env):
        _spawn(call, env)
    base = start_state.base_path()
    path = [first, *python_path, *(item for item in base if item not in python_path)]
    reporter = os.getpid()
    main = start_state.apply(call, path, env, threads)
    earlier = frozenset(sys.modules)
    hidden = native.hide_callers(_OURS)
    error = _execute(call, main)
    del main
    endings.stop_tracing()
    status = endings.status_of(error, hidden)
    if call.kind == "script" and not isinstance(error, SystemExit):
        _forget_file(sys.modules.get("__main__"))
    del error
    if report is not None and reporter == os.getpid():
        _write_report(report, earlier)
    endings.finish(status, earlier)


def _listed(path: str) -> list[str]:
    return path.split(os.pathsep) if path else []


def _first_of_path(call: PythonCall) -> str:
    if call.kind == "command":
        return ""
    if call.kind == "module":
        return os.getcwd()
    if _is_container(_absolute(call.target)):
        return _absolute(call.target)
    return os.path.dirname(os.path.realpath(call.target))


def _absolute(path: str) -> str:
    """Return the path as the interpreter completes it: joined to the directory and not normalised."""
    return path if os.path.isabs(path) else os.path.join(os.getcwd(), path)


def _is_container(path: str) -> bool:
    """Whether the interpreter would run what lies at `path` as a directory or archive with `__main__`."""
    for hook in sys.path_hooks:
        with contextlib.suppress(ImportError):
            hook(path)
            return True
    return False


# what a fork cannot do


def _is_faithful(call: PythonCall, first: str, python_path: list[str], env: Mapping[str, str]) -> bool:
    return (
        _has_read(env)
        and _can_speak(env)
        and not _is_hidden_by_files(first, python_path)
        and not _is_compiled(call)
        and not (site.ENABLE_USER_SITE and os.path.isdir(_user_site(env)))
        and not ("matplotlib" in sys.modules and os.path.exists("matplotlibrc"))
    )


def _has_read(env: Mapping[str, str]) -> bool:
    """Whether what was imported or loaded already would have found the same variables in `env`."""
    for name in {*os.environ, *env}:
        if os.environ.get(name) == env.get(name) or name.endswith("_NUM_THREADS"):
            continue
        if name.startswith(_READ_BY_LOADER):
            return False
        for beginning, packages in _READ_AT_IMPORT.items():
            if name.startswith(beginning) and not sys.modules.keys().isdisjoint(packages):
                return False
    return True


def _can_speak(env: Mapping[str, str]) -> bool:
    """Whether the locale exists and the streams' encoding too."""
    try:
        locale.setlocale(locale.LC_CTYPE, env.get("LC_ALL") or env.get("LC_CTYPE") or env.get("LANG") or "C")
        codecs.lookup(env.get("PYTHONIOENCODING", "").partition(":")[0] or "utf-8")
    except (locale.Error, LookupError):
        return False
    return locale.getencoding().lower() in {"utf-8", "utf8"}


def _is_hidden_by_files(first: str, python_path: list[str]) -> bool:
    own = {"__main__", "vitrine_harness"}
    for item in python_path:
        if imports.is_shadowing(item, sys.modules, own) or imports.customizes_start(item):
            return True
    # The interpreter imports `encodings` before its path has the program's directory.
    return imports.is_shadowing(first or os.getcwd(), sys.modules, {*own, "encodings"})


def _is_compiled(call: PythonCall) -> bool:
    if call.kind != "script":
        return False
    try:
        with open(call.target, "rb") as stream:
            return stream.read(4) == importlib.util.MAGIC_NUMBER
    except OSError:
        return False


def _user_site(env: Mapping[str, str]) -> str:
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    return os.path.join(env.get("HOME", "/"), ".local", "lib", version, "site-packages")


def _spawn(call: PythonCall, env: dict[str, str]) -> NoReturn:
    """Become a real interpreter."""
    for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    # By its full name: the first `python` on the path may be the shim, and be taken for the interpreter.
    os.execve(call.executable, [call.executable, *call.argv[1:]], env)


# the program


def _execute(call: PythonCall, main: ModuleType) -> BaseException | None:
    try:
        if call.kind == "module":
            native.run_module(call.target, alter_argv=True)
        elif call.kind == "command":
            native.run_string(call.target, vars(main))
        elif _is_container(_absolute(call.target)):
            native.run_module("__main__", alter_argv=False)
        else:
            _run_script(_absolute(call.target), main)
    except native.CannotOpen as error:
        sys.stderr.write(f"{call.argv[0]}: can't open file {error.path!r}: {error}\n")
        return SystemExit(2)
    except BaseException as error:  # noqa: BLE001 - whatever a program raises is its ending
        return error
    return None


def _run_script(path: str, main: ModuleType) -> None:
    loader = importlib.machinery.SourceFileLoader("__main__", path)
    vars(main).update(__file__=path, __cached__=None, __loader__=loader)
    try:
        native.run_file(path, vars(main))
    finally:
        endings.stop_tracing()
        for stream in (sys.stderr, sys.stdout):
            with contextlib.suppress(Exception):
                stream.flush()


def _forget_file(main: ModuleType | None) -> None:
    """Do as the interpreter, which takes these names back before it exits."""
    for name in ("__file__", "__cached__"):
        if main is not None:
            vars(main).pop(name, None)


def _write_report(descriptor: int, earlier: frozenset[str]) -> None:
    with contextlib.suppress(Exception):
        os.write(descriptor, json.dumps(newly_imported(earlier)).encode())
        os.close(descriptor)


_OURS = (
    *(_execute, _run_script, _forget_file, _write_report),
    *(native.run_file, native.run_string, native.run_module, native.finalize),
    *endings.FRAMES,
)
"""Functions that stand below a program, or below what runs when it has ended."""
