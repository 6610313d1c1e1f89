"""What there is in the store, what it needs of the rest, and when it was last of use."""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MARK_SECONDS = 60.0
"""How exactly the time of the last use is written down."""
_NAME = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Made:
    """A finished environment: what it is made of, by name, and when it was used last (Unix time)."""

    path: Path
    layers: frozenset[str]
    system: str | None
    base: str | None
    used: float

    @property
    def digest(self) -> str:
        """Its name."""
        return f"sha256:{self.path.name}"


def environments(store: Path) -> list[Made]:
    """Return every finished environment of the folder `store`; what was not used for longest comes first."""
    found = []
    for path in named(store):
        with contextlib.suppress(OSError, ValueError):
            layers, system, base = layers_of(path)
            used = (path / "environment.json").stat().st_mtime
            found.append(Made(path, layers, _name(system), _name(base), used))
    return sorted(found, key=lambda made: made.used)


def layers_of(environment: Path) -> tuple[frozenset[str], str | None, str | None]:
    """Return what an environment is made of: its layers, its system packages, and their base.

    Raises:
        FileNotFoundError: it is gone, or was not made by a builder.
    """
    kept = json.loads((environment / "environment.json").read_bytes())
    return frozenset(kept.get("layers", ())), kept.get("system"), kept.get("base")


def is_made(environment: Path) -> bool:
    """Whether a folder is a finished environment: what says what it is comes with the last rename."""
    return (environment / "environment.json").is_file()


def named(folder: Path) -> Iterator[Path]:
    """Yield what lies under a digest in `folder`, the oldest first."""
    with contextlib.suppress(FileNotFoundError):
        entries = [entry for entry in os.scandir(folder) if _NAME.fullmatch(entry.name)]
        for entry in sorted(entries, key=_changed):
            yield Path(entry.path)


def mark(description: Path) -> None:
    """Write down that what `description` describes is used now; whoever may not leaves it."""
    with contextlib.suppress(OSError):
        if time.time() - description.stat().st_mtime > MARK_SECONDS:
            os.utime(description)


def last_used(description: Path) -> float:
    """Return when what `description` describes was used last; long ago where it is gone."""
    try:
        return description.stat().st_mtime
    except OSError:
        return 0.0


def _changed(entry: os.DirEntry[str]) -> float:
    try:
        return entry.stat(follow_symlinks=False).st_mtime
    except OSError:
        return 0.0


def _name(digest: str | None) -> str | None:
    return digest.removeprefix("sha256:") if digest else None
