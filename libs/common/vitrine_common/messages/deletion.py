"""Messages about what was deleted: every service removes what it wrote about it. Only ids and digests."""

from __future__ import annotations

from typing import ClassVar

from vitrine_common.messages.envelope import Event, Progress


class VersionDeleted(Event):
    """A version is gone: so are its runs, checks, scoring records and its build."""

    TYPE: ClassVar[str] = "version.deleted"

    version_id: str
    build_id: str = ""


class LinkDeleted(Event):
    """A share link is gone: so is what was done by it."""

    TYPE: ClassVar[str] = "link.deleted"

    link_id: str


class TrialDeleted(Event):
    """A training is gone: so are its metrics, samples and checkpoints."""

    TYPE: ClassVar[str] = "trial.deleted"

    trial_id: str


class FilesForgotten(Progress):
    """Heard by every runner: these manifests' files are to leave its disk."""

    TYPE: ClassVar[str] = "files.forgotten"

    digests: list[str]
