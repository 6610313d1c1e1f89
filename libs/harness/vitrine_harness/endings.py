"""How a program that ran in a forked interpreter ends: its status, its last words, what exit still does.

The interpreter's own finalization takes apart every module, seconds where large packages are loaded. Here
only what the program itself made is taken apart; in the rare states where that would show, the process
does end by the interpreter's own.
"""

from __future__ import annotations

import _thread
import atexit
import contextlib
import gc
import io
import os
import signal
import sys
import weakref

from vitrine_harness import native

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType, ModuleType, TracebackType
    from typing import Any, NoReturn

_MAIN = {"__main__", "__mp_main__"}
INTERRUPTED = -signal.SIGINT
"""The status of a program that a KeyboardInterrupt ended: it dies by the signal."""


def stop_tracing() -> None:
    """Keep the program's tracing and profiling functions from seeing what is done at the exit."""
    sys.settrace(None)
    sys.setprofile(None)


def status_of(error: BaseException | None, hidden: set[CodeType]) -> int:
    """Report the error that ended a program, as the interpreter does, and return the exit status."""
    if error is None:
        return 0
    if isinstance(error, SystemExit):
        return _exit_status(error)
    _report(error, hidden)
    return INTERRUPTED if type(error) is KeyboardInterrupt else 1


def _exit_status(error: SystemExit) -> int:
    """Return the status that `SystemExit` asks for; anything but a number is written to standard error."""
    code = getattr(error, "code", error)
    if code is None:
        return 0
    if isinstance(code, int):
        # Numbers that do not fit are -1, and the system keeps eight bits.
        return code & 0xFF if -(1 << 63) <= code < 1 << 63 else 0xFF
    stderr = getattr(sys, "stderr", None)
    if stderr is not None:
        try:
            stderr.write(str(code))
            stderr.write("\n")
            stderr.flush()
        except Exception:  # noqa: BLE001 - the interpreter ignores it too
            return 1
    return 1


def _own_frames(traceback: TracebackType | None, hidden: set[CodeType]) -> TracebackType | None:
    while traceback is not None and traceback.tb_frame.f_code in hidden:
        traceback = traceback.tb_next
    return traceback


def _report(error: BaseException, hidden: set[CodeType]) -> None:
    traceback = _own_frames(error.__traceback__, hidden)
    kind, value = type(error), error.with_traceback(traceback)
    sys.last_type, sys.last_value, sys.last_traceback = kind, value, traceback
    hook = getattr(sys, "excepthook", None)
    if hook is None:
        sys.stderr.write("sys.excepthook is missing\n")
        sys.__excepthook__(kind, value, traceback)
        return
    second = _call_hook(hook, value, traceback)
    if second is None:
        return
    if isinstance(second, SystemExit):
        native.finalize(_exit_status(second))
    sys.stderr.write("Error in sys.excepthook:\n")
    rest = _own_frames(second.__traceback__, hidden)
    sys.__excepthook__(type(second), second.with_traceback(rest), rest)
    sys.stderr.write("\nOriginal exception was:\n")
    sys.__excepthook__(kind, value, traceback)


def _call_hook(hook: Any, value: BaseException, traceback: TracebackType | None) -> BaseException | None:
    try:
        sys.audit("sys.excepthook", hook, type(value), value, traceback)
        hook(type(value), value, traceback)
    except BaseException as error:  # noqa: BLE001 - reported by the caller
        return error
    return None


def finish(status: int, earlier: frozenset[str]) -> NoReturn:
    """Do what the interpreter does at its exit, then end the process with `status`.

    `earlier` are the modules that were there before the program.
    """
    threading: Any = sys.modules.get("threading")
    if threading is not None:
        try:
            threading._shutdown()
        except BaseException as error:  # noqa: BLE001 - as the interpreter, which goes on after it
            sys.stderr.write(f"Exception ignored in: {threading!r}\n")
            sys.__excepthook__(type(error), error, error.__traceback__)
    atexit._run_exitfuncs()
    code = 130 if status == INTERRUPTED else status
    # The interpreter stops threads that are left before it takes anything apart, and it names streams
    # that cannot be written. Both are its alone.
    if _thread._count() > 0 or not _flush():
        if status != INTERRUPTED:
            native.finalize(code)
    else:
        _take_apart(earlier)
        _flush()
    native.flush_streams()
    if status == INTERRUPTED:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    os._exit(code)


def _flush() -> bool:
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None and not stream.closed:
                stream.flush()
        except Exception:  # noqa: BLE001 - whatever a replaced stream raises
            return False
    return True


def _take_apart(earlier: frozenset[str]) -> None:
    """Release the program's modules in the interpreter's order: files are closed, finalizers called."""
    gc.collect()
    for name in ("path", "argv", "last_type", "last_value", "last_traceback"):
        vars(sys).pop(name, None)
    sys.stdin, sys.stdout, sys.stderr = sys.__stdin__, sys.__stdout__, sys.__stderr__
    modules: list[weakref.ref[ModuleType]] = []
    for name in [name for name in sys.modules if name not in earlier or name in _MAIN]:
        found = sys.modules.pop(name)
        if hasattr(type(found), "__weakref__") or isinstance(found, type(sys)):
            modules.append(weakref.ref(found))
        del found
    gc.collect()
    for reference in reversed(modules):
        module = reference()
        if module is not None:
            _clear(vars(module))
        del module
    gc.collect()
    # What modules from before hold of the program is not taken apart; its files must reach the disk.
    for held in gc.get_objects():
        if isinstance(held, io.TextIOWrapper | io.BufferedWriter | io.BufferedRandom) and not held.closed:
            with contextlib.suppress(Exception):
                held.flush()


def _clear(namespace: dict[str, Any]) -> None:
    """Set what the module holds to None, names with one underscore first (`_PyModule_ClearDict`)."""
    for private in (True, False):
        for name in list(namespace):
            if name == "__builtins__" or not isinstance(name, str):
                continue
            if (name[:1] == "_" and name[1:2] != "_") == private:
                namespace[name] = None


FRAMES = (finish, status_of, stop_tracing, _exit_status, _report, _call_hook, _flush, _take_apart, _clear)
"""Functions that may stand below hooks, exit handlers and finalizers of the program."""
