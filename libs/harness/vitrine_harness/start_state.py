"""Bringing a forked interpreter to the state in which a fresh one begins a program."""

from __future__ import annotations

import codecs
import faulthandler
import gc
import importlib.machinery
import io
import locale
import os
import random
import signal
import site
import sys
import time
import types
import warnings
import weakref

from vitrine_harness import native, thread_counts
from vitrine_harness.command_line import PythonCall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

_RECURSION_LIMIT = 1000
_SWITCH_SECONDS = 0.005
_COLLECTION = (700, 10, 10)
_TORCH_SEED = 67280421310721
"""`c10::detail::default_rng_seed_val`: torch's generator starts with it in every process."""
_LOCALES_LENIENT = {"C", "POSIX", "C.UTF-8", "C.utf8", "UTF-8"}
"""Locales in which the interpreter lets its standard streams carry any bytes (PEP 538, 540)."""


def prepare() -> None:
    """Do once, before the first fork, what every fork would have to do alike."""
    _let_go_of_finalizers()
    _reset("inspect", modulesbyfile={}, _filesbymodname={})
    thread_counts.find_setters()


def apply(call: PythonCall, path: list[str], env: Mapping[str, str], threads: int) -> types.ModuleType:
    """Set everything but the program itself; return the new `__main__`. The directory is set already."""
    _set_environment(env)
    _set_interpreter(call, path, env)
    _set_signals()
    _set_warnings([*_listed(env.get("PYTHONWARNINGS", "")), *call.warnings])
    _set_streams(env, unbuffered="unbuffered" in call.options or bool(env.get("PYTHONUNBUFFERED")))
    _forget_process()
    _forget_harness()
    _reseed()
    thread_counts.apply(env, threads)
    return _fresh_main()


def refresh(env: Mapping[str, str], threads: int) -> None:
    """Set what forks must not have in common, for a process that goes on with the harness's own code."""
    _set_signals()
    _forget_process()
    _reseed()
    thread_counts.apply(env, threads)


def base_path() -> list[str]:
    """Return the part of `sys.path` that does not depend on the program or its environment."""
    zipped = f"python{sys.version_info[0]}{sys.version_info[1]}.zip"
    for index, entry in enumerate(sys.path):
        if os.path.basename(entry) == zipped:
            return sys.path[index:]
    return list(sys.path)


def _set_environment(env: Mapping[str, str]) -> None:
    os.environ.clear()
    native.clear_environment()
    os.environ.update(env)
    time.tzset()
    locale.setlocale(locale.LC_CTYPE, "")


def _set_interpreter(call: PythonCall, path: list[str], env: Mapping[str, str]) -> None:
    sys.executable = call.executable
    sys.orig_argv = list(call.argv)
    first = {"script": call.target, "module": "-m", "command": "-c"}[call.kind]
    sys.argv = [first, *call.arguments]
    sys.path[:] = path
    # What was found out about the packages stays true; where they are nothing is written.
    kept = tuple(base_path())
    for place in [place for place in sys.path_importer_cache if not place.startswith(kept)]:
        del sys.path_importer_cache[place]
    no_bytecode = "dont_write_bytecode" in call.options or bool(env.get("PYTHONDONTWRITEBYTECODE"))
    no_user_site = "no_user_site" in call.options or bool(env.get("PYTHONNOUSERSITE"))
    sys.dont_write_bytecode = no_bytecode
    sys.pycache_prefix = env.get("PYTHONPYCACHEPREFIX") or None
    started = {"isolated": 0, "ignore_environment": 0, "safe_path": 0, "no_site": 0}
    wanted = {
        "dont_write_bytecode": no_bytecode,
        "no_user_site": no_user_site,
        "quiet": "quiet" in call.options,
    }
    native.set_flags(started | {name: int(value) for name, value in wanted.items()})
    sys._xoptions.clear()
    sys.setrecursionlimit(_RECURSION_LIMIT)
    sys.setswitchinterval(_SWITCH_SECONDS)
    sys.settrace(None)
    sys.setprofile(None)
    faulthandler.disable()
    # What the zygote froze stays frozen: it is never garbage, and a collection would copy its pages.
    gc.enable()
    gc.set_threshold(*_COLLECTION)
    gc.callbacks.clear()


def _set_signals() -> None:
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        if signal.getsignal(number) not in {signal.SIG_DFL, None}:
            signal.signal(number, signal.SIG_DFL)
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def _listed(value: str) -> list[str]:
    return [item for item in value.split(",") if item]


def _set_warnings(options: list[str]) -> None:
    """Put the options where a start puts them: above the defaults, below what packages asked for."""
    defaults: list[Any] = [("default", None, DeprecationWarning, "__main__", 0)]
    ignored = (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning)
    defaults += [("ignore", None, category, None, 0) for category in ignored]
    module: Any = warnings
    earlier = [item for item in module.filters if item not in defaults]
    sys.warnoptions[:] = options
    module.filters[:] = defaults
    module._processoptions(options)
    module.filters[:] = [*earlier, *module.filters]
    module._filters_mutated()


# standard streams


def _set_streams(env: Mapping[str, str], *, unbuffered: bool) -> None:
    native.buffer_streams(buffered=not unbuffered)
    chosen, _, errors = env.get("PYTHONIOENCODING", "").partition(":")
    encoding = codecs.lookup(chosen or locale.getencoding()).name
    lenient = not chosen and locale.setlocale(locale.LC_CTYPE) in _LOCALES_LENIENT
    errors = errors or ("surrogateescape" if lenient else "strict")
    sys.stdin = sys.__stdin__ = _stream(0, "stdin", encoding, errors, unbuffered=unbuffered)  # type: ignore[misc]
    sys.stdout = sys.__stdout__ = _stream(1, "stdout", encoding, errors, unbuffered=unbuffered)  # type: ignore[misc]
    sys.stderr = sys.__stderr__ = _stream(  # type: ignore[misc]
        2, "stderr", encoding, "backslashreplace", unbuffered=unbuffered
    )


def _stream(
    descriptor: int, name: str, encoding: str, errors: str, *, unbuffered: bool
) -> io.TextIOWrapper | None:
    """Return what `create_stdio` in CPython's pylifecycle.c would make."""
    try:
        os.fstat(descriptor)
    except OSError:
        return None
    writes = descriptor > 0
    raw_only = writes and unbuffered
    mode = "wb" if writes else "rb"
    buffer: Any = open(descriptor, mode, 0 if raw_only else -1, closefd=False)  # noqa: SIM115
    raw: Any = buffer if raw_only else buffer.raw
    raw.name = f"<{name}>"
    stream = io.TextIOWrapper(
        buffer,
        encoding,
        errors,
        newline="\n" if writes else None,
        line_buffering=not unbuffered and (raw.isatty() or name == "stderr"),
        write_through=unbuffered,
    )
    stream.mode = "w" if writes else "r"  # type: ignore[misc]
    return stream


# what packages remember about the process


def _forget_process() -> None:
    """Make modules that were imported ahead forget the process that imported them."""
    modules = sys.modules
    _reset("tempfile", tempdir=None, _name_sequence=None)
    _reset("uuid", _last_timestamp=None)
    _reset("logging", _startTime=time.time())
    _reset("urllib.request", _opener=None)
    site.USER_BASE = site.USER_SITE = None
    site.getusersitepackages()
    _reset_multiprocessing()
    asyncio: Any = modules.get("asyncio")
    if asyncio is not None:
        asyncio.set_event_loop_policy(None)
        asyncio._set_running_loop(None)
    matplotlib: Any = modules.get("matplotlib")
    if matplotlib is not None and os.environ.get("MPLBACKEND"):
        matplotlib.rcParams["backend"] = os.environ["MPLBACKEND"]


def _let_go_of_finalizers() -> None:
    # What packages finalize at exit is their first process's; torch would take its operators apart for 25 ms.
    finalizers: Any = weakref.finalize
    for finalizer in list(finalizers._registry):
        finalizer.atexit = False


def _forget_harness() -> None:
    for name in [name for name in sys.modules if name.split(".", 1)[0] == "vitrine_harness"]:
        del sys.modules[name]


def _reset(module: str, **values: object) -> None:
    found = sys.modules.get(module)
    if found is not None:
        vars(found).update(values)


def _reset_multiprocessing() -> None:
    process: Any = sys.modules.get("multiprocessing.process")
    if process is None:
        return
    process.ORIGINAL_DIR = os.getcwd()
    # Every process has its own key; all forks of one interpreter must not share it.
    process.current_process().authkey = os.urandom(32)
    process._children.clear()
    spawn: Any = sys.modules.get("multiprocessing.spawn")
    if spawn is not None:
        spawn.set_executable(sys.executable)
    synchronize: Any = sys.modules.get("multiprocessing.synchronize")
    if synchronize is not None:
        synchronize.SemLock._rand = type(synchronize.SemLock._rand)()


def _reseed() -> None:
    random.seed()
    numpy_random: Any = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()
    torch: Any = sys.modules.get("torch")
    if hasattr(torch, "default_generator"):
        torch.default_generator.manual_seed(_TORCH_SEED)


def _fresh_main() -> types.ModuleType:
    main = types.ModuleType("__main__")
    vars(main).update(
        __annotations__={},
        __builtins__=sys.modules["builtins"],
        __loader__=importlib.machinery.BuiltinImporter,
    )
    sys.modules["__main__"] = main
    if "__mp_main__" in sys.modules:
        sys.modules["__mp_main__"] = main
    return main
