"""What is not finished yet, in folders that never outlive their maker; and how it becomes visible at once.

Several processes may work in one store. Each has a folder of its own below `.builder/drafts`, marked by a
lock that the kernel gives back when the process, and every child that inherited it, is gone.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from vitrine_common.ids import new_id

_LOCK = "lock"
_MUTEX = "mutex"


@contextlib.contextmanager
def own_drafts(store: Path, kind: str) -> Iterator[tuple[Path, int]]:
    """Give a folder for drafts in the environments' folder `store`, and a descriptor that marks it as alive.

    What dead processes left behind is removed. `kind` begins the folder's name.

    Raises:
        OSError: the folders cannot be made or written.
    """
    drafts = store / ".builder" / "drafts"
    drafts.mkdir(parents=True, exist_ok=True)
    with _locked(drafts / _MUTEX, fcntl.LOCK_EX):
        _sweep(drafts)
        mine = drafts / new_id(kind)
        mine.mkdir()
        lifeline = os.open(mine / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(lifeline, fcntl.LOCK_EX)
    try:
        yield mine, lifeline
    finally:
        remove_tree(mine)
        os.close(lifeline)


def has_living(store: Path, kind: str) -> bool:
    """Whether a living process has a folder for drafts of `kind` in the environments' folder `store`."""
    for folder in (store / ".builder" / "drafts").glob(f"{kind}_*"):
        try:
            with _locked(folder / _LOCK, fcntl.LOCK_SH | fcntl.LOCK_NB):
                continue
        except BlockingIOError:
            return True
        except FileNotFoundError:
            continue
    return False


def sweep_drafts(store: Path) -> None:
    """Remove the drafts of processes that are gone."""
    drafts = store / ".builder" / "drafts"
    with _locked(drafts / _MUTEX, fcntl.LOCK_EX):
        _sweep(drafts)


def remove_tree(folder: Path) -> None:
    """Remove a folder as far as that is possible, however deep a package made it."""
    try:
        shutil.rmtree(folder, ignore_errors=True)
    except RecursionError:
        subprocess.run(["rm", "-rf", "--", str(folder)], check=False)


def publish(draft: Path, place: Path) -> None:
    """Rename a finished folder to where it is looked for; if there is one, that one stays.

    What lies under a digest is equal whoever made it, so being second is being done.
    """
    try:
        draft.rename(place)
    except OSError as error:
        if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
            raise


def link(source: str, place: str) -> None:
    """Make `place` a hard link to `source`; a copy where there can be none.

    Raises:
        FileExistsError: something is there.
        OSError: the disk is full.
    """
    try:
        os.link(source, place)
    except OSError as error:
        # On another file system, or a file that has all the links its file system allows.
        if error.errno not in {errno.EXDEV, errno.EMLINK}:
            raise
        shutil.copy2(source, place)


def _sweep(drafts: Path) -> None:
    """Remove the drafts of processes that are gone; the mutex is held."""
    for folder in drafts.iterdir():
        # Its maker, or a child of it that still writes, is alive as long as the lock is taken.
        try:
            with _locked(folder / _LOCK, fcntl.LOCK_EX | fcntl.LOCK_NB):
                remove_tree(folder)
        except (BlockingIOError, NotADirectoryError, FileNotFoundError):
            # The last: it was done meanwhile, and has removed its folder itself.
            continue


@contextlib.contextmanager
def _locked(file: Path, operation: int) -> Iterator[None]:
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, operation)
        yield
    finally:
        os.close(descriptor)
