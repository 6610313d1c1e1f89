"""Messages about model versions."""

from __future__ import annotations

from typing import ClassVar

from vitrine_common.messages.envelope import Command, Event


class VersionRegister(Command):
    """Register a trained model; the manifest is the blob of that digest, its files are stored.

    `version_id` is chosen by the sender, so that asking twice registers once.
    """

    TYPE: ClassVar[str] = "version.register"

    version_id: str
    manifest_digest: str
    trial_id: str


class VersionReady(Event):
    """A version can be run."""

    TYPE: ClassVar[str] = "version.ready"

    version_id: str
    version_digest: str
    environment_digest: str | None = None
    owner_id: str | None = None


class VersionBuildFailed(Event):
    """A version cannot be run, since its environment cannot be made."""

    TYPE: ClassVar[str] = "version.build_failed"

    version_id: str


class LinkChanged(Event):
    """A share link's end, quotas or pause are other than they were, or it is no longer blind."""

    TYPE: ClassVar[str] = "link.changed"

    link_id: str


class LinkRevoked(Event):
    """A share link was withdrawn: open pages close, its waiting and working runs stop."""

    TYPE: ClassVar[str] = "link.revoked"

    link_id: str
