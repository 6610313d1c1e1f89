"""What of a store is in use, told to every process that shares it by locks that the kernel keeps.

A thing in use is a shared lock on one byte of one file, at a place that follows from the thing's name; who
removes it takes the byte for itself. The kernel gives locks back when a process is gone, however it ended.
Using needs the file to be readable and no more, so a service that sees the store read-only can use it.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_SHORTLY = 0.002
_FLOCK = "hhqqi4x"
"""The kernel's `struct flock`: type, whence, start, length, process."""


@dataclass(frozen=True)
class UseTable:
    """The locks of one store, in the file `path`; where there is none, nothing is ever removed."""

    path: Path

    def create(self) -> None:
        """Make the file, unless it is there."""
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644))
        # Readable for users that only use things, whatever the umask.
        with contextlib.suppress(PermissionError):
            self.path.chmod(0o644)

    @contextlib.contextmanager
    def open(self) -> Iterator[Uses]:
        """Give the uses of one piece of work; they end with the block."""
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            yield Uses(None)
            return
        try:
            yield Uses(descriptor)
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def claims(self) -> Iterator[Claims]:
        """Give the claims of one piece of work; they end with the block."""
        descriptor = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
        try:
            yield Claims(descriptor)
        finally:
            os.close(descriptor)


@dataclass(frozen=True)
class Uses:
    """What one piece of work uses. Things need not exist to be used: then nobody removes what is made."""

    descriptor: int | None

    async def add(self, *names: str) -> None:
        """Use `names` from now on, also those that are being removed: as soon as they are gone."""
        for name in names:
            # The kernel tells nobody who waits without blocking.
            while self.descriptor is not None and not _lock(self.descriptor, fcntl.F_RDLCK, name):  # noqa: ASYNC110
                await asyncio.sleep(_SHORTLY)

    def drop(self, name: str) -> None:
        """Use `name` no longer."""
        if self.descriptor is not None:
            _lock(self.descriptor, fcntl.F_UNLCK, name)


@dataclass(frozen=True)
class Claims:
    """What one piece of work has for itself: nobody else uses or claims it."""

    descriptor: int

    def take(self, name: str) -> bool:
        """Take `name`; False where somebody else uses it or has it."""
        return _lock(self.descriptor, fcntl.F_WRLCK, name)

    def drop(self, name: str) -> None:
        """Let others have `name`."""
        _lock(self.descriptor, fcntl.F_UNLCK, name)


def environment_use(digest: str) -> str:
    """Return how an environment is called in the table."""
    return f"environment {digest.removeprefix('sha256:')}"


def layer_use(name: str) -> str:
    """Return how the layer in the folder `name` is called in the table."""
    return f"layer {name}"


def system_use(digest: str) -> str:
    """Return how a layer of system packages is called in the table."""
    return f"system {digest.removeprefix('sha256:')}"


def use_table(environments: Path) -> UseTable:
    """Return the table of the store in the folder `environments`."""
    return UseTable(environments / ".builder" / "uses")


def _lock(descriptor: int, kind: int, name: str) -> bool:
    place = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) >> 2
    try:
        # Of the open file, not of the process: two pieces of work in one process are two.
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, struct.pack(_FLOCK, kind, os.SEEK_SET, place, 1, 0))
    except BlockingIOError:
        return False
    return True
