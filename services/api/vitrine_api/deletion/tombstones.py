"""What was deleted, in a file that no backup of the database takes back to an older state.

One JSON object a line, with ids and digests alone. When the api starts, whatever stands here and is not
known as deleted in the database (which was restored from an older backup, then) is deleted once more.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from pathlib import Path

from vitrine_api.repository.erasure import Deletions
from vitrine_common.documents import Deletion

log = logging.getLogger(__name__)

_FIELDS = {"id", "kind", "subject_id", "owner_id", "version_digest", "build_id"}


class Tombstones:
    """Appends to the file and reads it.

    Args:
        deletions: what the database knows as deleted.
        file: where; without it nothing outlives a restore.
    """

    def __init__(self, deletions: Deletions, file: Path | None) -> None:
        self._deletions = deletions
        self._file = file

    async def write(self, deletion: Deletion) -> None:
        """Keep a deletion; it is on the disk when this returns. Twice is once."""
        if self._file is not None:
            await asyncio.to_thread(
                self._append, self._file, deletion.model_dump(include=_FIELDS, mode="json")
            )

    def _append(self, file: Path, line: dict[str, object]) -> None:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, json.dumps(line).encode() + b"\n")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    async def apply(self) -> int:
        """Delete once more what a restore brought back; return how much that is."""
        again = 0
        for deletion in await asyncio.to_thread(self._read):
            if await self._deletions.of(deletion.subject_id) is None:
                await self._deletions.add(deletion)
                again += 1
        if again:
            log.warning(
                "a restore brought back what was deleted; it is deleted again", extra={"number": again}
            )
        return again

    def _read(self) -> list[Deletion]:
        if self._file is None or not self._file.exists():
            return []
        found = []
        for line in self._file.read_text().splitlines():
            try:
                found.append(Deletion.model_validate(json.loads(line)))
            except ValueError:
                log.warning("a line of the tombstone file was cut short and is left out")
        return found
