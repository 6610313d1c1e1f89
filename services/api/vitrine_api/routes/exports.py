"""A version as one archive, for the long term."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from starlette.responses import StreamingResponse

from vitrine_api.claims.describing import check_out
from vitrine_api.claims.sight import ClaimSight
from vitrine_api.crates import Contents, archive, contents_of
from vitrine_api.dependencies import App, Ref, Who
from vitrine_api.models import Reference
from vitrine_api.pages import Page
from vitrine_api.policy import Action, Member, Visitor, require
from vitrine_api.routes.claims import claims_out
from vitrine_api.routes.link_holders import Holder
from vitrine_api.services import Services
from vitrine_api.showings import Shown
from vitrine_common.documents import Version

router = APIRouter(prefix="/api/v1", tags=["versions"])
pages = APIRouter(include_in_schema=False)

_CHECKS = 200
_ZIP = "application/zip"
_ARCHIVE: dict[int | str, dict[str, Any]] = {
    200: {"content": {_ZIP: {}}, "description": "An RO-Crate as a zip file."}
}
WithFiles = Annotated[bool, Query(description="Put the bundle's files in, too.")]


@router.get("/versions/{owner}/{name}/{version}/export", response_class=Response, responses=_ARCHIVE)
async def export(reference: Ref, who: Who, app: App, files: WithFiles = False) -> Response:
    """Export a version: model file, manifest, lock, claims, checks, receipts, model card."""
    return await _owners(app, who, reference, files=files)


@router.get("/links/{token}/export", response_class=Response, responses=_ARCHIVE)
async def export_by_link(holder: Holder, app: App) -> Response:
    """Export what a link shows, never weights or source."""
    return await _holders(app, holder, await app.links.version(holder))


@pages.get("/models/{owner}/{name}/versions/{version}/export")
async def export_page(reference: Ref, visit: Page, files: WithFiles = False) -> Response:
    """Export a version of one's own."""
    return await _owners(visit.services, visit.member, reference, files=files)


@pages.get("/s/{token}/export")
async def export_shown(shown: Shown) -> Response:
    """Export what a link shows."""
    return shown.answer(await _holders(shown.visit.services, shown.visitor, shown.version))


async def _owners(app: Services, who: Member, reference: Reference, *, files: bool) -> Response:
    version = await app.models.version(who, reference)
    require(who, Action.OPEN, version)
    page = await app.checks.page(who, _CHECKS, None, version)
    checks = [check_out(ClaimSight(who), record, "", version) for record in page.items]
    contents = await contents_of(
        app, who, version, await claims_out(app, who, version), checks, with_files=files
    )
    return _answer(app, contents, f"{version.owner}-{version.model}-{version.number}")


async def _holders(app: Services, visitor: Visitor, version: Version) -> Response:
    page = await app.checks.page_of_visitor(visitor, _CHECKS, None)
    checks = [check_out(ClaimSight(visitor), record, "") for record in page.items]
    claims = await claims_out(app, visitor, version)
    contents = await contents_of(app, visitor, version, claims, checks)
    return _answer(app, contents, "model")


def _answer(app: Services, contents: Contents, name: str) -> Response:
    headers = {"Content-Disposition": f'attachment; filename="{name}.crate.zip"'}
    return StreamingResponse(archive(contents, app.platform.blobs), media_type=_ZIP, headers=headers)
