"""How many threads the native libraries of a running interpreter use."""

from __future__ import annotations

import ctypes
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

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


def apply(env: Mapping[str, str], threads: int) -> None:
    """Set the counts that libraries would read from `env` if they were loaded now; `threads` by default."""
    for path in _libraries():
        name = os.path.basename(path)
        for part, (variables, setters) in _SETTERS.items():
            if part in name:
                _set(path, setters, count(env, variables, threads))
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


def _set(path: str, setters: tuple[str, ...], threads: int) -> None:
    try:
        library = ctypes.CDLL(path, mode=os.RTLD_NOLOAD | os.RTLD_NOW)
    except OSError:
        return
    for setter in setters:
        function = getattr(library, setter, None)
        if function is not None:
            function(ctypes.c_int(threads))
            return
