"""Models and versions."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import Field
from starlette.responses import StreamingResponse

from vitrine_api.dependencies import App, Pages, Ref, Who
from vitrine_api.descriptions import (
    model_out,
    version_out,
)
from vitrine_api.policy import Member
from vitrine_api.progress import Follower
from vitrine_api.repository import Sort
from vitrine_api.resources import (
    Listed,
    ModelOut,
    ModelWithLatest,
    VersionOut,
)
from vitrine_api.routes.accounts import Strict
from vitrine_api.services import Services
from vitrine_api.streams import event_stream, json_events
from vitrine_common.documents import Version
from vitrine_common.states import VersionState

router = APIRouter(prefix="/api/v1", tags=["versions"])


class VersionIn(Strict):
    """A manifest: `{"spec": {…}, "files": [{"path", "digest", "size", "executable"}]}`."""

    manifest: dict[str, Any]
    model: str | None = Field(default=None, max_length=100)
    refresh: bool = False


@router.post("/versions", status_code=201, responses={200: {"model": VersionOut}})
async def create(body: VersionIn, response: Response, who: Who, app: App) -> VersionOut:
    """Make a version of files that are present; 200 when that version is there already."""
    version, is_new = await app.versions.create(who, body.manifest, body.model, refresh=body.refresh)
    if not is_new:
        response.status_code = 200
    return version_out(version)


@router.get("/models")
async def models(
    who: Who,
    app: App,
    paging: Pages,
    q: Annotated[str, Query(max_length=100, description="Part of the name.")] = "",
    sort: Sort = "created",
) -> Listed[ModelOut]:
    """List one's models, the newest or the last changed first, or by name."""
    page = await app.models.found(who, q, sort, paging.limit, paging.after)
    return Listed(items=[model_out(model) for model, _ in page.items], next=page.next)


@router.get("/models/{owner}/{name}")
async def model(owner: str, name: str, who: Who, app: App) -> ModelWithLatest:
    """Show a model and its latest version."""
    found = await app.models.model(who, owner, name)
    latest = await app.models.latest(found)
    described = model_out(found).model_dump()
    return ModelWithLatest(**described, latest=version_out(latest) if latest else None)


@router.get("/models/{owner}/{name}/versions")
async def versions(owner: str, name: str, who: Who, app: App, paging: Pages) -> Listed[VersionOut]:
    """List a model's versions."""
    found = await app.models.model(who, owner, name)
    page = await app.models.versions(who, found, paging.limit, paging.after)
    return Listed(items=[version_out(version) for version in page.items], next=page.next)


@router.get("/versions/{version_id}")
async def version_by_id(version_id: str, who: Who, app: App) -> VersionOut:
    """Show a version by its id."""
    return version_out(await app.models.version_by_id(who, version_id))


@router.get("/versions/{owner}/{name}/{version}")
async def version_by_reference(reference: Ref, who: Who, app: App) -> VersionOut:
    """Show a version by number, digest prefix or `latest`."""
    return version_out(await app.models.version(who, reference))


@router.get("/versions/{owner}/{name}/{version}/manifest")
async def manifest(reference: Ref, who: Who, app: App) -> dict[str, Any]:
    """Return a version's manifest: its specification and its files."""
    found = await app.models.manifest(await app.models.version(who, reference))
    return found.model_dump(mode="json")


@router.get("/versions/{version_id}/events", response_class=StreamingResponse)
async def events(version_id: str, who: Who, app: App) -> StreamingResponse:
    """Follow a version until it is ready or its build has failed (server-sent events)."""
    follower = await follow_version(app, who, version_id)
    return await event_stream(follower, json_events(version_out))


async def follow_version(app: Services, who: Member, version_id: str) -> Follower[Version]:
    """Return a follower of a version's build. Raises NotFound."""
    version = await app.models.version_by_id(who, version_id)

    async def read() -> Version:
        return await app.models.version_by_id(who, version_id)

    return Follower(
        hub=app.hub,
        ids=(version_id, version.build_id or version_id),
        read=read,
        mark=lambda found: found.state,
        is_final=lambda found: found.state in {VersionState.READY, VersionState.BUILD_FAILED},
        recheck_seconds=app.settings.recheck_seconds,
    )
