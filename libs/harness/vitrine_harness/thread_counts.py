"""How many threads the native libraries of a running interpreter use."""

from __future__ import annotations

import ctypes
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any

    Setter = tuple[tuple[str, ...], Callable[[Any], Any]]

_SETTERS = {
    "libgomp": (("OMP",), ("omp_set_num_threads",)),
    "libiomp": (("OMP",), ("omp_set_num_threads",)),
    "libomp": (("OMP",), ("omp_set_num_threads",)),
    "libmkl_rt": (("MKL", "OMP"), ("MKL_Set_Num_Threads",)),
    "libblis": (("BLIS", "OMP"), ("bli_thread_set_num_threads",)),
    "openblas": (
        ("OPENBLAS", "GOTO", "OMP"),
        (
            "openblas_set_num_threads",
            "openblas_set_num_threads64_",
            "scipy_openblas_set_num_threads",
            "scipy_openblas_set_num_threads64_",
        ),
    ),
}
"""By a part of the library's name: whose `…_NUM_THREADS` it reads when it is loaded, and its own setters."""


_setters: list[Setter] | None = None
"""Of the libraries that were loaded when `find_setters` was called; forks inherit them."""


def find_setters() -> None:
    """Look for the libraries that are loaded once, for this process and its forks."""
    global _setters  # noqa: PLW0603 - what is loaded is the process's own
    _setters = list(_found())


def apply(env: Mapping[str, str], threads: int) -> None:
    """Set the counts that libraries would read from `env` if they were loaded now; `threads` by default."""
    for variables, setter in _found() if _setters is None else _setters:
        setter(ctypes.c_int(count(env, variables, threads)))
    torch, numexpr = sys.modules.get("torch"), sys.modules.get("numexpr")
    if hasattr(torch, "set_num_threads"):
        torch.set_num_threads(count(env, ("OMP", "MKL"), threads))  # type: ignore[union-attr]
    if hasattr(numexpr, "set_num_threads"):
        numexpr.set_num_threads(count(env, ("NUMEXPR", "OMP"), threads))  # type: ignore[union-attr]


def count(env: Mapping[str, str], variables: tuple[str, ...], threads: int) -> int:
    """Return the first count that `env` holds; OpenMP's may be a list by nesting level."""
    for variable in variables:
        value = env.get(f"{variable}_NUM_THREADS", "").split(",")[0].strip()
        if value.isascii() and value.isdigit() and int(value) > 0:
            return int(value)
    return max(1, threads)


def _libraries() -> Iterator[str]:
    with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as stream:
        paths = {line[73:].rstrip("\n") for line in stream if ".so" in line}
    return (path for path in sorted(paths) if any(part in os.path.basename(path) for part in _SETTERS))


def _found() -> Iterator[Setter]:
    """Yield the setters of the libraries that are loaded, with the variables that count for each."""
    for path in _libraries():
        name = os.path.basename(path)
        for part, (variables, setters) in _SETTERS.items():
            if part in name and (setter := _setter(path, setters)) is not None:
                yield variables, setter


def _setter(path: str, names: tuple[str, ...]) -> Callable[[Any], Any] | None:
    try:
        library = ctypes.CDLL(path, mode=os.RTLD_NOLOAD | os.RTLD_NOW)
    except OSError:
        return None
    return next((found for name in names if (found := getattr(library, name, None)) is not None), None)
