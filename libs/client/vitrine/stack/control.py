"""The stack from outside: start it in the background, ask how it is, stop it."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from vitrine.stack import logs
from vitrine.stack.errors import AlreadyRunningError, StackError
from vitrine.stack.services import MEMORY_ENVIRONMENT
from vitrine.stack.stack import Announcement
from vitrine.stack.state import DataLock, StackState, kill_leftovers, read_state, wait_ended, write_state

_STOP_SECONDS = 60.0


def supervisor_command(arguments: list[str]) -> list[str]:
    """Return the command line of the supervisor's process.

    `-P` keeps the working directory, which is a model's often enough, from shadowing modules.
    """
    return [sys.executable, "-P", "-m", "vitrine.stack", *arguments]


def supervisor_environment() -> dict[str, str]:
    """Return the environment that the supervisor starts in."""
    environment = {**os.environ, **MEMORY_ENVIRONMENT}
    # Bytecode in memory only would make every start pay for compiling the libraries.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    return environment


def replace_process(arguments: list[str]) -> None:
    """Become the supervisor; does not return. Nothing of the command line stays in memory."""
    command = supervisor_command(arguments)
    sys.stdout.flush()
    os.execve(command[0], command, supervisor_environment())  # noqa: S606 - no shell is wanted


def start_detached(data_dir: Path, arguments: list[str]) -> Announcement:
    """Start the stack in the background and return once it is healthy.

    Raises StackError with the supervisor's own words when it does not come up.
    """
    holder = DataLock(data_dir).holder()
    if holder is not None:
        raise AlreadyRunningError(
            f"A stack is running on {data_dir} (process {holder}); stop it with "
            f"`vitrine down --data-dir {data_dir}` or choose another --data-dir."
        )
    log = data_dir / "logs" / "supervisor.log"
    for folder in (data_dir, log.parent):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    before = log.stat().st_size if log.exists() else 0
    read, write = os.pipe()
    pid = _spawn(supervisor_command([*arguments, "--announce-fd", str(write)]), log, write)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        said = pipe.readline()
    if said:
        return Announcement.model_validate_json(said)
    os.waitpid(pid, 0)
    with log.open("rb") as file:
        file.seek(before)
        words = file.read().decode("utf-8", "replace").rpartition("error: ")[2].strip()
    raise StackError(words or logs.tail(log))


def _spawn(command: list[str], log: Path, announce: int) -> int:
    """Start `command` in a session of its own, logging to `log`, with descriptor `announce` open in it."""
    os.set_inheritable(announce, True)
    with log.open("ab") as output, Path(os.devnull).open("rb") as null:
        actions = [(os.POSIX_SPAWN_DUP2, null.fileno(), 0)]
        actions += [(os.POSIX_SPAWN_DUP2, output.fileno(), target) for target in (1, 2)]
        return os.posix_spawn(
            command[0], command, supervisor_environment(), file_actions=actions, setsid=True
        )


def stack_state(data_dir: Path) -> StackState | None:
    """Return how the stack of `data_dir` is now; None when there never was one.

    A state file that a killed supervisor left says what was; the lock says what is.
    """
    state = read_state(data_dir)
    if state is not None and DataLock(data_dir).holder() is None:
        parts = {
            name: part.model_copy(update={"state": "stopped", "pid": None})
            for name, part in state.parts.items()
        }
        return state.model_copy(update={"state": "stopped", "pid": None, "parts": parts})
    return state


def stop_stack(data_dir: Path, seconds: float = _STOP_SECONDS) -> bool:
    """Stop the stack of `data_dir`, with everything it runs; return False when none was running.

    Raises StackError when it does not stop within `seconds`, even killed.
    """
    lock = DataLock(data_dir)
    holder = lock.holder()
    if holder is None:
        _clear_leftovers(data_dir)
        return False
    if holder:
        os.kill(holder, signal.SIGTERM)
    if _released(lock, seconds) and (not holder or wait_ended(holder, 5.0)):
        return True
    if holder:
        os.kill(holder, signal.SIGKILL)
    if not _released(lock, 5.0):
        raise StackError(f"Process {holder} holds {data_dir} and does not stop; end it by hand.")
    _clear_leftovers(data_dir)
    return True


def _released(lock: DataLock, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while lock.holder() is not None:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _clear_leftovers(data_dir: Path) -> None:
    state = read_state(data_dir)
    if state is not None and state.state != "stopped":
        kill_leftovers(state)
        write_state(data_dir, state.model_copy(update={"state": "stopped", "pid": None}))
