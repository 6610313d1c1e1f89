"""Which modules of the environment a program imported, and which files hide such modules."""

from __future__ import annotations

import _imp
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container

MOST = 200
LONGEST = 100
_SUFFIXES = (".py", ".pyc", ".so")
_AT_START = {"sitecustomize", "usercustomize", "site", "encodings"}


def newly_imported(before: frozenset[str]) -> list[str]:
    """Return modules, not in `before`, that came from the environment's packages.

    They are what a future interpreter may import ahead. Of a package that is new itself, which may have
    imported hundreds of its own, only the package; what is used of it besides shows in a later run. At most
    `MOST`, in order of import; names are identifiers, with dots, of at most `LONGEST` characters, whatever
    the program did to `sys.modules`.
    """
    found: list[str] = []
    for name, module in list(sys.modules.items()):
        if len(found) == MOST:
            break
        if name in before or not isinstance(name, str) or len(name) > LONGEST:
            continue
        package, *parts = name.split(".")
        if not all(part.isidentifier() for part in (package, *parts)) or (parts and package not in before):
            continue
        if _is_package_of_environment(getattr(module, "__file__", None)):
            found.append(name)
    return found


def _is_package_of_environment(file: object) -> bool:
    if not isinstance(file, str) or not file.startswith(sys.prefix + os.sep):
        return False
    return f"{os.sep}site-packages{os.sep}" in file


def is_shadowing(directory: str, loaded: Container[str], besides: Container[str] = ()) -> bool:
    """Whether a module in `directory` would be imported where one of the same name is `loaded`.

    Names `besides` are let be. Modules that are built in or frozen come first in any case.
    """
    try:
        entries = list(os.scandir(directory))
    except OSError:
        return False
    for entry in entries:
        stem = entry.name.split(".", 1)[0]
        if stem not in loaded or stem in besides or stem in sys.builtin_module_names or _imp.is_frozen(stem):
            continue
        if entry.name.endswith(_SUFFIXES) or _is_package(entry.path):
            return True
    return False


def customizes_start(directory: str) -> bool:
    """Whether `directory`, on the path from the start, holds what the start itself would import."""
    return is_shadowing(directory, _AT_START)


def _is_package(path: str) -> bool:
    # A directory without it is a namespace package: it gives way to a regular one further down the path.
    return any(os.path.exists(os.path.join(path, f"__init__{suffix}")) for suffix in (".py", ".pyc"))
