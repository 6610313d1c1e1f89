"""Whether everything is well."""

from __future__ import annotations

from fastapi import APIRouter, Response
from pydantic import BaseModel

from vitrine_api.dependencies import App, Who
from vitrine_api.health import Pulse

router = APIRouter(tags=["status"])


class StatusOut(BaseModel):
    """What answers, and how quickly."""

    services: dict[str, Pulse]
    servers: dict[str, Pulse]


class HealthOut(BaseModel):
    """Whether this process can work."""

    status: str


@router.get("/api/v1/status")
async def status(who: Who, app: App) -> StatusOut:
    """Say which services and servers answer (operators)."""
    services = await app.health.services(who)
    return StatusOut(services=services, servers=await app.health.servers())


@router.get("/healthz")
async def healthz(app: App, response: Response) -> HealthOut:
    """Say whether this process reaches its servers; 503 when one does not answer."""
    well = all(pulse.ok for pulse in (await app.health.servers()).values())
    if not well:
        response.status_code = 503
    return HealthOut(status="ok" if well else "unavailable")
