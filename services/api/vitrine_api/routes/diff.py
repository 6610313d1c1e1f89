"""How versions differ."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query
from starlette.responses import Response

from vitrine_api.dependencies import App, Ref, Who
from vitrine_api.diff import DiffOut
from vitrine_api.models import Reference, parse_reference
from vitrine_api.pages import Page
from vitrine_api.presenters.diff import diff_view

router = APIRouter(prefix="/api/v1", tags=["versions"])
pages = APIRouter(include_in_schema=False)

Other = Annotated[str, Query(max_length=200, description="The version to compare with, as a reference.")]
Text = Annotated[str, Path(max_length=80)]


@router.get("/versions/{owner}/{name}/{version}/diff")
async def diff(reference: Ref, to: Other, who: Who, app: App) -> DiffOut:
    """Show how the version `to` differs from this one."""
    before = await app.models.version(who, reference)
    return await app.diffs.compare(who, before, await app.models.version(who, parse_reference(to)))


@pages.get("/models/{owner}/{name}/versions/{version}/diff")
async def page(owner: Text, name: Text, version: Text, visit: Page, to: Other = "") -> Response:
    """Show how a version differs from another; from the one before unless told."""
    services, who = visit.services, visit.member
    model = await services.models.model(who, owner, name)
    before = await services.models.version(who, Reference(owner, name, version))
    wanted = parse_reference(to) if "/" in to else Reference(owner, name, to or "latest")
    after = await services.models.version(who, wanted)
    found = await services.diffs.compare(who, before, after)
    known = (await services.models.versions(who, model, 50, None)).items
    return visit.page(diff_view(found, before, after, known))
