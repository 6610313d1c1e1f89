"""What the stack keeps in its data directory: the lock, `stack.json` and `secrets.json`."""

from __future__ import annotations

import fcntl
import os
import secrets
import signal
import time
from pathlib import Path
from typing import Literal

import psutil
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vitrine.config import write_private
from vitrine.stack.errors import AlreadyRunningError, StackError


class PartState(BaseModel):
    """One process of the stack as others see it."""

    kind: Literal["server", "service"]
    state: Literal["starting", "healthy", "waiting", "stopped"] = "starting"
    pid: int | None = None
    created: float | None = Field(default=None, description="Start time of the process, Unix seconds.")
    restarts: int = 0
    log: str = ""


class StackState(BaseModel):
    """`stack.json`: what runs, and where it answers. Holds no secret but the servers' URLs; mode 0600."""

    model_config = ConfigDict(extra="ignore")

    state: Literal["starting", "healthy", "degraded", "stopping", "stopped"] = "starting"
    pid: int | None = None
    created: float | None = None
    started_at: str = ""
    url: str = ""
    nats_url: str = ""
    mongo_url: str = ""
    s3_endpoint: str = ""
    ports: dict[str, int] = Field(default_factory=dict)
    parts: dict[str, PartState] = Field(default_factory=dict)


class Secrets(BaseModel):
    """`secrets.json`: made once per data directory; mode 0600."""

    nats_user: str = "vitrine"
    nats_password: str = Field(default_factory=lambda: secrets.token_urlsafe(24))
    s3_access_key: str = Field(default_factory=lambda: secrets.token_hex(10))
    s3_secret_key: str = Field(default_factory=lambda: secrets.token_hex(20))
    api_secret_key: str = Field(default_factory=lambda: secrets.token_urlsafe(48))


def state_path(data_dir: Path) -> Path:
    """Return where the state of the stack of `data_dir` stands."""
    return data_dir / "stack.json"


def read_state(data_dir: Path) -> StackState | None:
    """Return the last written state, or None when there is none that can be read."""
    try:
        return StackState.model_validate_json(state_path(data_dir).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def write_state(data_dir: Path, state: StackState) -> None:
    """Replace the state of `data_dir`."""
    write_private(state_path(data_dir), state.model_dump())


def load_secrets(data_dir: Path) -> Secrets:
    """Return the secrets of `data_dir`, made now when they do not exist yet.

    Raises StackError when the file is damaged: new secrets would end every session, so nobody makes
    them silently.
    """
    path = data_dir / "secrets.json"
    try:
        return Secrets.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        fresh = Secrets()
        write_private(path, fresh.model_dump())
        return fresh
    except ValidationError as error:
        raise StackError(
            f"{path} is damaged ({error.error_count()} errors); restore it or remove it."
        ) from error


class DataLock:
    """The right to run a stack on a data directory: an flock, so it ends with its process."""

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / "stack.lock"
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock, or raise AlreadyRunningError with the pid that holds it."""
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        # Whoever only looks (`holder`) has a shared lock for a moment: that is no reason to give up.
        for pause in (0.05, 0.1, 0.2, 0.0):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(pause)
        else:
            holder = os.pread(descriptor, 32, 0).decode().strip()
            os.close(descriptor)
            raise AlreadyRunningError(
                f"A stack is running on {self._path.parent} (process {holder or 'unknown'}); stop it with "
                f"`vitrine down --data-dir {self._path.parent}` or choose another --data-dir."
            )
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._descriptor = descriptor

    def release(self) -> None:
        """Give the lock back; nothing happens when it is not held."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def holder(self) -> int | None:
        """Return the pid of the process that holds the lock, or None when nobody does."""
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            digits = os.pread(descriptor, 32, 0).decode().strip()
            return int(digits) if digits.isdigit() else 0
        finally:
            os.close(descriptor)
        return None


def created_at(pid: int) -> float | None:
    """Return when process `pid` started (Unix seconds), or None when there is none."""
    try:
        return psutil.Process(pid).create_time()
    except psutil.Error:
        return None


def kill_leftovers(state: StackState | None) -> list[int]:
    """Kill what a stack that was killed itself left behind; return the pids.

    A pid counts only with the start time that was recorded with it: pids are used again.
    """
    killed: list[int] = []
    for part in state.parts.values() if state else ():
        if part.pid is None or part.created is None:
            continue
        created = created_at(part.pid)
        if created is None or abs(created - part.created) > 1 or ended(part.pid):
            continue
        os.kill(part.pid, signal.SIGKILL)
        wait_ended(part.pid, 10)
        killed.append(part.pid)
    return killed


def ended(pid: int) -> bool:
    """Whether process `pid` is over. A zombie is: not every container has somebody who reaps."""
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return True


def wait_ended(pid: int, seconds: float) -> bool:
    """Wait for the end of `pid`; return False when it still runs after `seconds`."""
    deadline = time.monotonic() + seconds
    while not ended(pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
