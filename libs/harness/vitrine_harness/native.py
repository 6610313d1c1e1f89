"""What only C can do to a running interpreter: execute a file as `python file` does, change its flags.

The layouts that are touched directly are those of CPython 3.11; each is checked before it is used, and on
other versions the functions do nothing and say so.
"""

from __future__ import annotations

import ctypes
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import CodeType, FrameType
    from typing import Any, NoReturn

FILE_INPUT = 257
IGNORE_COOKIE = 0x0800
_BLOCK = 8192
_KNOWN = sys.implementation.name == "cpython" and sys.version_info[:2] == (3, 11)
_FIRST_TRACEABLE = 168
"""Offset of `PyCodeObject._co_firsttraceable`."""
_RECURSION_REMAINING, _RECURSION_LIMIT = 32, 36
"""Offsets in `PyThreadState`."""
_RESUME = 151
"""The operation code by which every function of CPython 3.11 begins to be traceable."""
_INVISIBLE = 1 << 30

_c = ctypes.CDLL(None, use_errno=True)
_c.fopen.restype = ctypes.c_void_p
_c.fopen.argtypes = (ctypes.c_char_p, ctypes.c_char_p)


class _CompilerFlags(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_int), ("feature_version", ctypes.c_int))


_api = ctypes.pythonapi
_run_file = _api.PyRun_FileExFlags
_run_file.restype = ctypes.py_object
_run_file.argtypes = (
    *(ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int),
    *(ctypes.py_object, ctypes.py_object, ctypes.c_int, ctypes.POINTER(_CompilerFlags)),
)
_run_string = _api.PyRun_StringFlags
_run_string.restype = ctypes.py_object
_run_string.argtypes = (
    *(ctypes.c_char_p, ctypes.c_int),
    *(ctypes.py_object, ctypes.py_object, ctypes.POINTER(_CompilerFlags)),
)
_thread_state = _api.PyThreadState_Get
_thread_state.restype = ctypes.c_void_p
_set_field = _api.PyStructSequence_SetItem
_set_field.restype = None
_set_field.argtypes = (ctypes.py_object, ctypes.c_ssize_t, ctypes.py_object)
_own = _api.Py_IncRef
_own.restype = None
_own.argtypes = (ctypes.py_object,)


class CannotOpen(Exception):
    """The program's file is not there or not readable."""

    def __init__(self, number: int, path: str) -> None:
        super().__init__(f"[Errno {number}] {os.strerror(number)}")
        self.path = path


def run_file(path: str, namespace: dict[str, Any]) -> None:
    """Execute a source file in `namespace`, read as the interpreter reads its program (PEP 263).

    Raises `CannotOpen`, else whatever the program raises.
    """
    stream = _c.fopen(os.fsencode(path), b"rbe")
    if not stream:
        raise CannotOpen(ctypes.get_errno(), path)
    flags = _CompilerFlags(0, sys.version_info[1])
    _free_depth(0)
    _run_file(stream, os.fsencode(path), FILE_INPUT, namespace, namespace, 1, flags)


def run_string(code: str, namespace: dict[str, Any]) -> None:
    """Execute code in `namespace` as `python -c` does; raises whatever it raises."""
    text = (code + "\n").encode()
    flags = _CompilerFlags(IGNORE_COOKIE, sys.version_info[1])
    _free_depth(0)
    _run_string(text, FILE_INPUT, namespace, namespace, flags)


def run_module(name: str, *, alter_argv: bool) -> None:
    """Execute a module as `python -m` does, through `runpy`; raises whatever it raises."""
    import runpy

    execute: Any = vars(runpy)["_run_module_as_main"]
    _free_depth(1)
    execute(name, alter_argv)


def finalize(status: int) -> NoReturn:
    """End the process as the interpreter ends itself: slow where large packages are loaded, and complete."""
    _api.Py_Exit(status)
    os._exit(status)


def buffer_streams(*, buffered: bool) -> None:
    """Let C code's standard output be written at once, as `python -u` does, or in blocks."""
    fully, not_at_all = 0, 2
    for name in ("stdin", "stdout", "stderr"):
        stream = ctypes.c_void_p.in_dll(_c, name)
        if not buffered or name != "stderr":
            _c.setvbuf(stream, None, fully if buffered else not_at_all, ctypes.c_size_t(_BLOCK))


def flush_streams() -> None:
    """Write what C code printed and its library still holds."""
    _c.fflush(None)


def clear_environment() -> None:
    """Remove every environment variable, those too that `os.environ` does not know."""
    _c.clearenv()


def set_flags(values: dict[str, int]) -> None:
    """Change `sys.flags`, which programs read and `multiprocessing` and `subprocess` pass on."""
    names = list(type(sys.flags).__match_args__)
    for name, value in values.items():
        if name in names and getattr(sys.flags, name) != value:
            item = bool(value) if isinstance(getattr(sys.flags, name), bool) else value
            _own(item)
            _set_field(sys.flags, names.index(name), item)


def hide_callers(functions: Iterable[Callable[..., Any]]) -> set[CodeType]:
    """Make the frames of all callers and of `functions` invisible to stack inspection; return their code.

    The interpreter skips frames that have not reached their first traceable instruction. A program that
    prints its stack, or warns about its caller, then sees what a fresh interpreter would show.
    """
    codes = {code for code in (getattr(item, "__code__", None) for item in functions) if code is not None}
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        codes.add(frame.f_code)
        frame = frame.f_back
    if _KNOWN and all(_first_traceable(code).value == _resume(code) for code in codes):
        for code in codes:
            _first_traceable(code).value = _INVISIBLE
    return codes


def _first_traceable(code: CodeType) -> ctypes.c_int:
    return ctypes.c_int.from_address(id(code) + _FIRST_TRACEABLE)


def _resume(code: CodeType) -> int:
    return code.co_code[::2].find(_RESUME)


def _free_depth(taken: int) -> None:
    """Give what is called next the recursion depth that it has in a fresh interpreter, where C takes some."""
    if not _KNOWN:
        return
    state = _thread_state()
    limit = ctypes.c_int.from_address(state + _RECURSION_LIMIT).value
    if limit == sys.getrecursionlimit():
        ctypes.c_int.from_address(state + _RECURSION_REMAINING).value = limit - taken
