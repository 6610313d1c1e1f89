"""The builder's folders beside the environments, and temporary ones that never outlive their maker."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vitrine_builder.failures import BuildFailure, FailureReason
from vitrine_common.ids import new_id

_LOCK = "lock"
_MUTEX = "mutex"


@dataclass(frozen=True)
class Workspace:
    """Where the builder keeps what it makes. All of it is on one file system, for renames and hard links.

    `root` holds finished environments by digest, and in `.builder` everything else. Several builders may
    share one root: each has a drafts folder of its own, marked by a lock that the kernel gives back when
    the process, and every child that inherited it, is gone.
    """

    root: Path
    drafts: Path
    lifeline: int

    @property
    def layers(self) -> Path:
        """Unpacked and compiled wheels, by layer digest."""
        return self.root / ".builder" / "layers"

    @property
    def images(self) -> Path:
        """What is known of images: diff ids of layers, configurations by digest."""
        return self.root / ".builder" / "images"

    @property
    def resolutions(self) -> Path:
        """Remembered locks."""
        return self.root / ".builder" / "resolutions"

    @property
    def installer(self) -> Path:
        """Home and cache of uv."""
        return self.root / ".builder" / "uv"

    @contextlib.contextmanager
    def draft(self) -> Iterator[Path]:
        """Give an empty folder that is removed afterwards, unless it was renamed away."""
        folder = self.drafts / new_id("draft")
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def require_space(self, least: int) -> None:
        """Check that the file system has `least` bytes left.

        Raises:
            BuildFailure: it has fewer (`disk_full`).
        """
        free = shutil.disk_usage(self.root).free
        if free < least:
            sentence = (
                f"The builder's disk has {free >> 20} MiB left, and {least >> 20} MiB are kept free; "
                "try again later or tell the operator of the platform."
            )
            raise BuildFailure(FailureReason.DISK_FULL, sentence)


@contextlib.contextmanager
def open_workspace(root: Path) -> Iterator[Workspace]:
    """Make the folders below `root`, sweep what dead builders left behind, and give the workspace.

    Raises:
        OSError: the folders cannot be made or written.
    """
    drafts = root / ".builder" / "drafts"
    drafts.mkdir(parents=True, exist_ok=True)
    with _locked(drafts / _MUTEX, fcntl.LOCK_EX):
        _sweep(drafts)
        mine = drafts / new_id("builder")
        mine.mkdir()
        lifeline = os.open(mine / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(lifeline, fcntl.LOCK_EX)
    workspace = Workspace(root, mine, lifeline)
    workspace.layers.mkdir(exist_ok=True)
    try:
        yield workspace
    finally:
        shutil.rmtree(mine, ignore_errors=True)
        os.close(lifeline)


def _sweep(drafts: Path) -> None:
    """Remove the drafts of builders that are gone; the mutex is held."""
    for folder in drafts.iterdir():
        # Its builder, or a child of it that still writes, is alive as long as the lock is taken.
        try:
            with _locked(folder / _LOCK, fcntl.LOCK_EX | fcntl.LOCK_NB):
                shutil.rmtree(folder, ignore_errors=True)
        except (BlockingIOError, NotADirectoryError):
            continue


@contextlib.contextmanager
def _locked(file: Path, operation: int) -> Iterator[None]:
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, operation)
        yield
    finally:
        os.close(descriptor)


def publish(draft: Path, place: Path) -> None:
    """Rename a finished folder to where it is looked for; if there is one, that one stays.

    What lies under a digest is equal whoever made it, so being second is being done.
    """
    try:
        draft.rename(place)
    except OSError as error:
        if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
            raise
