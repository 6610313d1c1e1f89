"""What makes the api look again who may call what. Every process hears it."""

from __future__ import annotations

from faststream.nats import NatsRouter

from vitrine_api.inference.admission import Admissions
from vitrine_common.bus import on_live
from vitrine_common.messages import (
    Envelope,
    LinkChanged,
    LinkDeleted,
    LinkRevoked,
    VersionDeleted,
    VersionReady,
)


def make_router(admissions: Admissions) -> NatsRouter:
    """Return the handlers; a router belongs to one broker."""
    router = NatsRouter()

    @on_live(router, "link.revoked")
    async def link_revoked(envelope: Envelope[LinkRevoked]) -> None:  # noqa: ARG001 - it names the message
        """Look again."""
        admissions.forget()

    @on_live(router, "link.changed")
    async def link_changed(envelope: Envelope[LinkChanged]) -> None:  # noqa: ARG001
        """Look again."""
        admissions.forget()

    @on_live(router, "link.deleted")
    async def link_deleted(envelope: Envelope[LinkDeleted]) -> None:  # noqa: ARG001
        """Look again."""
        admissions.forget()

    @on_live(router, "version.deleted")
    async def version_deleted(envelope: Envelope[VersionDeleted]) -> None:  # noqa: ARG001
        """Look again."""
        admissions.forget()

    @on_live(router, "version.ready")
    async def version_ready(envelope: Envelope[VersionReady]) -> None:  # noqa: ARG001
        """Look again."""
        admissions.forget()

    return router
