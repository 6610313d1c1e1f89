"""Starting one child process: its own session, its log, and an end with its supervisor.

Everything forks by hand instead of through `subprocess`, because a service is *not* executed: it runs in
a fork of the supervisor, whose imported libraries it shares (see `services`). The supervisor has one
thread, which is what makes that sound.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import os
import signal
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_PR_SET_PDEATHSIG, _PR_SET_NAME, _PR_SET_CHILD_SUBREAPER = 1, 15, 36
LINUX = sys.platform == "linux"
_HANDLED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD)
# Loaded once, before any fork: the child must not have to open a library between fork and exec.
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Program:
    """What a child runs: `argv` by exec, or `call` in the fork itself when it is given."""

    name: str
    argv: Sequence[str]
    environment: Mapping[str, str]
    directory: Path
    log: Path
    call: Callable[[], None] | None = None


def start(program: Program, ready: int | None = None) -> int:
    """Start `program` and return its pid.

    The child leads a session of its own, so that Ctrl-C in a terminal reaches the supervisor alone, and
    is killed by the kernel (Linux) when the supervisor dies. Descriptor `ready` stays open in the child,
    which finds its number in `VITRINE_READY_FD`; every other one is closed.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    supervisor = os.getpid()
    # A signal that arrives before the child has handlers of its own must wait, not meet the supervisor's.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _HANDLED)
    pid = os.fork()
    if pid:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        return pid
    status = 1
    try:
        _become_child(program, ready, supervisor)
        status = _run(program)
    except BaseException:  # noqa: BLE001 - a fork must never return into the supervisor's code
        traceback.print_exc()
    finally:
        os._exit(status)


def adopt_orphans() -> None:
    """Make the calling process the parent of what its children leave behind (Linux)."""
    if LINUX:
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def children() -> set[int]:
    """Return the pids of this process's children, zombies included; empty where /proc does not tell."""
    try:
        return {int(pid) for pid in Path("/proc/thread-self/children").read_text("ascii").split()}
    except OSError:
        return set()


def kill_group(pid: int, number: signal.Signals) -> None:
    """Signal the process group that `pid` leads; it may be gone."""
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):
        return


def _become_child(program: Program, ready: int | None, supervisor: int) -> None:
    os.setsid()
    if LINUX:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != supervisor:
            os._exit(1)
    _reset_signals()
    environment = dict(program.environment)
    if ready is not None:
        environment["VITRINE_READY_FD"] = str(ready)
    _redirect(program.log, ready)
    os.chdir(program.directory)
    os.umask(0o077)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [program.name]


def _run(program: Program) -> int:
    if program.call is None:
        os.execve(program.argv[0], list(program.argv), dict(os.environ))  # noqa: S606 - no shell is wanted
    _name_process(program.name)
    # The supervisor's exit functions are not the service's; what the service registers itself still runs.
    atexit._clear()  # noqa: SLF001 - os._exit would skip them; there is no public way to run one set
    gc.enable()
    try:
        program.call()
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 - the service's own failure, whatever it is, belongs in its log
        traceback.print_exc()
        status = 1
    atexit._run_exitfuncs()  # noqa: SLF001 - as above
    sys.stdout.flush()
    sys.stderr.flush()
    return status


def _reset_signals() -> None:
    signal.set_wakeup_fd(-1)
    for number in _HANDLED:
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def _redirect(log: Path, ready: int | None) -> None:
    null = os.open(os.devnull, os.O_RDONLY)
    # Appending keeps every line whole when the supervisor empties a long log (see `logs`).
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for source, target in ((null, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    limit = os.sysconf("SC_OPEN_MAX")
    keep = 3 if ready is None else ready
    os.closerange(3, keep)
    os.closerange(keep if ready is None else keep + 1, min(limit, 65_536))
    if ready is not None:
        os.set_inheritable(ready, True)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(line_buffering=True)


def _name_process(name: str) -> None:
    """Show `name` instead of the interpreter's in process lists (the kernel keeps 15 bytes)."""
    if LINUX:
        _libc.prctl(_PR_SET_NAME, name.encode()[:15], 0, 0, 0)


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, value, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
