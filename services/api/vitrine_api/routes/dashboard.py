"""What an account sees first, for programs."""

from __future__ import annotations

import datetime

from fastapi import APIRouter
from pydantic import BaseModel

from vitrine_api.dashboard import Kind
from vitrine_api.dependencies import App, Who

router = APIRouter(prefix="/api/v1", tags=["dashboard"])


class DayOut(BaseModel):
    """The runs that were asked for on one day (UTC), but those by blind links."""

    day: datetime.date
    runs: int
    failed: int


class AttentionOut(BaseModel):
    """Something to look at."""

    kind: Kind
    at: datetime.datetime
    version: str
    link_id: str | None


class DashboardOut(BaseModel):
    """How the last days were, and what needs attention."""

    days: list[DayOut]
    attention: list[AttentionOut]


@router.get("/dashboard")
async def dashboard(who: Who, app: App) -> DashboardOut:
    """Say how the last days were and what needs attention."""
    days = await app.dashboard.days(who)
    attention = await app.dashboard.attention(who)
    return DashboardOut(
        days=[DayOut(day=day.day, runs=day.runs, failed=day.failed) for day in days],
        attention=[
            AttentionOut(
                kind=one.kind,
                at=one.at,
                version=one.version.reference,
                link_id=one.link.id if one.link else None,
            )
            for one in attention
        ],
    )
