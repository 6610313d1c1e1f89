"""Facts that accounts are told of, as they come over the bus."""

from __future__ import annotations

from faststream.nats import NatsRouter

from vitrine_api.notifications.facts import Facts
from vitrine_common.bus import on
from vitrine_common.messages import (
    ClaimChecked,
    Envelope,
    RunFinished,
    TrialFinished,
    VersionBuildFailed,
    VersionReady,
)

_PURPOSE = "notifications"


def make_router(facts: Facts) -> NatsRouter:
    """Return the handlers over `facts`; a router belongs to one broker."""
    router = NatsRouter()

    @on(router, "api", "version.ready", concurrency=4, purpose=_PURPOSE)
    async def version_ready(envelope: Envelope[VersionReady]) -> None:
        """Tell the owner."""
        await facts.version_ready(envelope.payload)

    @on(router, "api", "version.build_failed", concurrency=4, purpose=_PURPOSE)
    async def version_build_failed(envelope: Envelope[VersionBuildFailed]) -> None:
        """Tell the owner."""
        await facts.version_build_failed(envelope.payload)

    async def run_finished(envelope: Envelope[RunFinished]) -> None:
        """Tell whoever began it."""
        await facts.run_finished(envelope.payload)

    for state in ("succeeded", "failed", "cancelled", "expired"):
        on(router, "api", f"run.{state}", concurrency=4, purpose=_PURPOSE)(run_finished)

    @on(router, "api", "claim.checked", concurrency=4, purpose=_PURPOSE)
    async def claim_checked(envelope: Envelope[ClaimChecked]) -> None:
        """Tell the owner."""
        await facts.claim_checked(envelope.payload)

    @on(router, "api", "trial.finished", concurrency=4, purpose=_PURPOSE)
    async def trial_finished(envelope: Envelope[TrialFinished]) -> None:
        """Tell the owner."""
        await facts.trial_finished(envelope.payload)

    return router
