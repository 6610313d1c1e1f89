"""The builder's folders beside the environments, and temporary ones that never outlive their maker."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

from vitrine_builder.failures import BuildFailure, FailureReason
from vitrine_builder.spread import spread
from vitrine_common.ids import new_id
from vitrine_common.usage import UseTable, use_table

_LOCK = "lock"
_MUTEX = "mutex"
INSTALLERS = "installers"
ENTRANCE = "entrance"
"""In use by whoever is about to use the installers; closed by who waits for all others to be done."""


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

    @property
    def uses(self) -> UseTable:
        """What of all this is in use."""
        return use_table(self.root)

    @contextlib.asynccontextmanager
    async def installing(self) -> AsyncIterator[None]:
        """Keep what the installers have unpacked for themselves while the block lasts."""
        with self.uses.open() as uses:
            await uses.add(ENTRANCE)
            await uses.add(INSTALLERS)
            uses.drop(ENTRANCE)
            yield

    def write(self, place: Path, content: bytes) -> None:
        """Write a file at once; what is half written lies among the drafts.

        Raises:
            OSError: the disk is full.
        """
        place.parent.mkdir(parents=True, exist_ok=True)
        draft = self.drafts / new_id("file")
        try:
            draft.write_bytes(content)
            draft.replace(place)
        finally:
            draft.unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove the drafts of builders that are gone."""
        with _locked(self.drafts.parent / _MUTEX, fcntl.LOCK_EX):
            _sweep(self.drafts.parent)

    @contextlib.contextmanager
    def draft(self) -> Iterator[Path]:
        """Give an empty folder that is removed afterwards, unless it was renamed away."""
        folder = self.drafts / new_id("draft")
        folder.mkdir()
        try:
            yield folder
        finally:
            remove_tree(folder)

    @contextlib.asynccontextmanager
    async def scratch(self) -> AsyncIterator[Path]:
        """Give an empty folder; where all went well, nobody waits until it is removed afterwards."""
        folder = self.drafts / new_id("draft")
        folder.mkdir()
        try:
            yield folder
        except BaseException:
            remove_tree(folder)
            raise
        asyncio.get_running_loop().run_in_executor(None, remove_tree, folder)

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
    use_table(root).create()
    with _locked(drafts / _MUTEX, fcntl.LOCK_EX):
        _sweep(drafts)
        mine = drafts / new_id("builder")
        mine.mkdir()
        spread(mine)
        lifeline = os.open(mine / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(lifeline, fcntl.LOCK_EX)
    workspace = Workspace(root, mine, lifeline)
    workspace.layers.mkdir(exist_ok=True)
    try:
        yield workspace
    finally:
        remove_tree(mine)
        os.close(lifeline)


def _sweep(drafts: Path) -> None:
    """Remove the drafts of builders that are gone; the mutex is held."""
    for folder in drafts.iterdir():
        # Its builder, or a child of it that still writes, is alive as long as the lock is taken.
        try:
            with _locked(folder / _LOCK, fcntl.LOCK_EX | fcntl.LOCK_NB):
                remove_tree(folder)
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


def remove_tree(folder: Path) -> None:
    """Remove a folder as far as that is possible, however deep a package made it."""
    try:
        shutil.rmtree(folder, ignore_errors=True)
    except RecursionError:
        subprocess.run(["rm", "-rf", "--", str(folder)], check=False)


def system_use(digest: str) -> str:
    """Return how a layer of system packages is called in the table of what is in use."""
    return f"system {digest.removeprefix('sha256:')}"


def publish(draft: Path, place: Path) -> None:
    """Rename a finished folder to where it is looked for; if there is one, that one stays.

    What lies under a digest is equal whoever made it, so being second is being done.
    """
    try:
        draft.rename(place)
    except OSError as error:
        if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
            raise
