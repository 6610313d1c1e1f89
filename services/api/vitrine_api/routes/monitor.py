"""How versions do."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from vitrine_api.dependencies import App, Pages, Ref, Who
from vitrine_api.descriptions import (
    monitor_out,
    scoring_out,
)
from vitrine_api.resources import (
    Listed,
    MonitorOut,
)

router = APIRouter(prefix="/api/v1", tags=["monitoring"])


@router.get("/versions/{owner}/{name}/{version}/monitor")
async def monitor(reference: Ref, who: Who, app: App) -> MonitorOut:
    """Summarise a version's newest runs: outcomes, latency percentiles, predictions."""
    version = await app.models.version(who, reference)
    return monitor_out(version, await app.monitoring.summary(who, version))


@router.get("/versions/{owner}/{name}/{version}/scoring")
async def scoring(reference: Ref, who: Who, app: App, paging: Pages) -> Listed[dict[str, Any]]:
    """List a version's scoring records, newest first."""
    version = await app.models.version(who, reference)
    page = await app.monitoring.records(who, version, paging.limit, paging.after)
    return Listed(items=[scoring_out(record) for record in page.items], next=page.next)
