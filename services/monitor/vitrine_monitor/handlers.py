"""What the monitor listens to."""

from __future__ import annotations

from typing import Annotated

from faststream import Context
from faststream.nats import NatsRouter

from vitrine_common.bus import Poison, on
from vitrine_common.errors import NotFound
from vitrine_common.messages import CallRecorded, Envelope, LinkDeleted, RunFinished, VersionDeleted
from vitrine_monitor.repository import ScoringRepository
from vitrine_monitor.scoring import score, score_calls
from vitrine_monitor.settings import MonitorSettings

router = NatsRouter()


async def run_finished(
    envelope: Envelope[RunFinished],
    repository: Annotated[ScoringRepository, Context("repository")],
    settings: Annotated[MonitorSettings, Context("settings")],
) -> None:
    """Record the run."""
    try:
        await score(envelope.payload.run_id, repository, settings.raw_retention_seconds)
    except NotFound as error:
        raise Poison(error.message) from error


for _state in ("succeeded", "failed", "cancelled", "expired"):
    on(router, "monitor", f"run.{_state}", concurrency=8)(run_finished)


@on(router, "monitor", "call.recorded")
async def call_recorded(
    envelope: Envelope[CallRecorded],
    repository: Annotated[ScoringRepository, Context("repository")],
    settings: Annotated[MonitorSettings, Context("settings")],
) -> None:
    """Record many synchronous calls."""
    await score_calls(envelope.payload.run_ids, repository, settings.raw_retention_seconds)


@on(router, "monitor", "version.deleted")
async def version_deleted(
    envelope: Envelope[VersionDeleted], repository: Annotated[ScoringRepository, Context("repository")]
) -> None:
    """Delete what was recorded of the version's runs."""
    await repository.erase(version_id=envelope.payload.version_id)


@on(router, "monitor", "link.deleted")
async def link_deleted(
    envelope: Envelope[LinkDeleted], repository: Annotated[ScoringRepository, Context("repository")]
) -> None:
    """Delete what was recorded of the link's runs."""
    await repository.erase(link_id=envelope.payload.link_id)
