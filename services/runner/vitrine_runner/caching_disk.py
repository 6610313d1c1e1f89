"""What lies on the disk of a cache: the directory of a set, and the record that makes it a complete one."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from pydantic import BaseModel, ValidationError

from vitrine_common.bundle import FileEntry, Manifest

RECORD, FILES = "bundle.json", "files"


def make_directories(root: Path, directories: Iterable[str]) -> None:
    """Make `root`, which is not there yet, and `directories` below it, readable for every user."""
    root.mkdir(parents=True)
    for path in sorted(directories):
        (root / path).mkdir(exist_ok=True)
    for made in (root.parent, root, *(root / name for name in directories)):
        made.chmod(0o755)


class Record(BaseModel):
    """What is written down beside the files of a complete set."""

    manifest: Manifest
    files: tuple[FileEntry, ...]
    """What is shown: an archive's content in its place."""
    boot: str
    """The start of the machine since which the bytes are known to be right."""

    @property
    def size(self) -> int:
        """Bytes of the files together."""
        return sum(file.size for file in self.files)


def read_record(home: Path) -> Record | None:
    """Return the record of a complete set, or None."""
    try:
        return Record.model_validate_json((home / RECORD).read_bytes())
    except (OSError, ValidationError):
        return None


def write_record(home: Path, record: Record) -> None:
    """Make the set at `home` a complete one."""
    partial = home / f".{RECORD}"
    partial.write_text(record.model_dump_json())
    partial.rename(home / RECORD)


def touch(home: Path) -> None:
    """Note that a set was used now."""
    now = time.time_ns()  # the kernel's own stamp is the same for several milliseconds
    with suppress(FileNotFoundError):
        os.utime(home, ns=(now, now))


def remove(path: Path) -> None:
    """Remove a file or a directory; what is not there is no error."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
