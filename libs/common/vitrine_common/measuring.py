"""How much of the disk the parts of the store take; what is shared by links is counted once."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

_BLOCK = 512
_MOST_KNOWN = 50_000


@dataclass
class Scales:
    """Weighs folders that never change once they have their name, and remembers what they weigh."""

    _known: dict[tuple[str, int, int], int] = field(default_factory=dict)

    def whole(self, folder: Path) -> int:
        """Return the bytes of everything in `folder`; whoever else links the files."""
        return self._weigh(folder, links=True)

    def own(self, folder: Path) -> int:
        """Return the bytes that `folder` takes besides: its folders, and files that nothing else links."""
        return self._weigh(folder, links=False)

    def forget(self) -> None:
        """Weigh everything anew: what was shared may no longer be."""
        self._known.clear()

    def _weigh(self, folder: Path, *, links: bool) -> int:
        try:
            status = folder.lstat()
            # Bytecode may join a layer later.
            key = (f"{folder}", status.st_ino, status.st_mtime_ns)
        except FileNotFoundError:
            return 0
        if key not in self._known:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[key] = weigh(folder, links=links)
        return self._known[key]


def weigh(folder: Path, *, links: bool = True) -> int:
    """Return the bytes on the disk of what is in `folder`; without `links`, of what only it holds."""
    total = 0
    for status in _everything(str(folder)):
        if links or stat.S_ISDIR(status.st_mode) or status.st_nlink == 1:
            total += status.st_blocks * _BLOCK
    return total


def _everything(folder: str) -> Iterator[os.stat_result]:
    waiting = [folder]
    while waiting:
        # What goes while it is counted, or lies too deep for a path, counts nothing.
        try:
            entries = list(os.scandir(waiting.pop()))
        except OSError:
            continue
        for entry in entries:
            try:
                status = entry.stat(follow_symlinks=False)
            except OSError:
                continue
            yield status
            if stat.S_ISDIR(status.st_mode):
                waiting.append(entry.path)
