"""Logs of the stack's parts: one file each, and one older part when it grew long."""

from __future__ import annotations

import shutil
from pathlib import Path

MAX_BYTES = 10_000_000


def rotate(directory: Path, limit: int = MAX_BYTES) -> list[Path]:
    """Copy every log of `directory` over `limit` bytes to `<name>.log.1` and empty it; return those.

    The writers keep their descriptors: they append, so they go on at the start of the emptied file. A line
    written between copy and emptying is lost, which is the price of owning no pipe that could block them.
    """
    rotated = []
    for log in directory.glob("*.log"):
        if log.stat().st_size > limit:
            shutil.copyfile(log, log.with_name(f"{log.name}.1"))
            with log.open("r+b") as file:
                file.truncate(0)
            rotated.append(log)
    return rotated


def tail(log: Path, lines: int = 20) -> str:
    """Return the last `lines` lines of `log`, or nothing when it does not exist."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 16_384))
            return b"\n".join(file.read().splitlines()[-lines:]).decode("utf-8", "replace")
    except FileNotFoundError:
        return ""
