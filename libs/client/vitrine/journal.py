"""What has been sent of large files, so that an interrupted push goes on where it stopped."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from vitrine.config import read_saved, write_private
from vitrine.errors import ClientError

_MARGIN = timedelta(minutes=5)


@dataclass(frozen=True)
class Part:
    """Bytes `offset` to `offset + size` of a blob go to `url` by PUT."""

    number: int
    url: str
    offset: int
    size: int


@dataclass(frozen=True)
class Upload:
    """One blob on its way; `sent` numbers the parts that have arrived."""

    digest: str
    size: int
    upload_id: str
    expires_at: str
    parts: tuple[Part, ...]
    sent: frozenset[int] = field(default_factory=frozenset)

    @classmethod
    def from_document(cls, document: dict[str, Any], sent: frozenset[int] = frozenset()) -> Upload:
        """Read what the platform answered. Raises KeyError and TypeError when it is something else."""
        parts = tuple(
            Part(part["number"], part["url"], part["offset"], part["size"]) for part in document["parts"]
        )
        return cls(
            document["digest"], document["size"], document["upload_id"], document["expires_at"], parts, sent
        )

    @property
    def remaining(self) -> tuple[Part, ...]:
        """The parts that have not arrived."""
        return tuple(part for part in self.parts if part.number not in self.sent)

    def is_alive(self, now: datetime) -> bool:
        """Tell whether its addresses are good for some more minutes."""
        try:
            return datetime.fromisoformat(self.expires_at) > now + _MARGIN
        except (TypeError, ValueError):
            return False


class Journal:
    """Remembers uploads of several parts in `directory`, one private file each; None remembers nothing."""

    def __init__(self, directory: Path | None, platform: str) -> None:
        self._directory = directory
        self._platform = platform
        self._lock = threading.Lock()

    def resumed(self, fresh: Upload) -> Upload:
        """Return the earlier upload of the same blob when it can go on, else `fresh`."""
        path = self._path(fresh)
        if path is None:
            return fresh
        try:
            saved = read_saved(path)
            earlier = Upload.from_document(saved, frozenset(saved["sent"]))
        except (ClientError, KeyError, TypeError):
            return fresh
        same = saved.get("platform") == self._platform and earlier.size == fresh.size
        return earlier if same and earlier.is_alive(datetime.now(UTC)) else fresh

    def note(self, upload: Upload, sent: frozenset[int]) -> None:
        """Remember which parts have arrived."""
        path = self._path(upload)
        if path is None:
            return
        content = {
            "platform": self._platform,
            "digest": upload.digest,
            "size": upload.size,
            "upload_id": upload.upload_id,
            "expires_at": upload.expires_at,
            "parts": [vars(part) for part in upload.parts],
            "sent": sorted(sent),
        }
        with self._lock:
            write_private(path, content)

    def forget(self, upload: Upload) -> None:
        """Forget an upload whose blob is there, or that is over."""
        path = self._path(upload)
        if path is not None:
            path.unlink(missing_ok=True)

    def _path(self, upload: Upload) -> Path | None:
        if self._directory is None or len(upload.parts) < 2:
            return None
        return self._directory / f"{upload.digest.removeprefix('sha256:')}.json"
