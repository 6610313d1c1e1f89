"""What a version runs in: its packages and layers, how it differs, and files that make it again."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from vitrine_api import blindness
from vitrine_api.dependencies import App, Ref, Who
from vitrine_api.environment_files import files_of, packed
from vitrine_api.environments import (
    EnvironmentDiffOut,
    EnvironmentOut,
    Told,
    compare,
    environment_out,
    untold,
)
from vitrine_api.models import parse_reference
from vitrine_api.pages import Page
from vitrine_api.policy import Principal
from vitrine_api.routes.link_holders import Holder
from vitrine_api.services import Services
from vitrine_common.documents import Version
from vitrine_common.errors import NotFound
from vitrine_common.receipts.dsse import MEDIA_TYPE as ENVELOPE

router = APIRouter(prefix="/api/v1", tags=["versions"])
pages = APIRouter(include_in_schema=False)

SBOM = "application/vnd.cyclonedx+json"
_ZIP = "application/zip"


def _told(media_type: str, description: str) -> dict[int | str, dict[str, Any]]:
    return {200: {"content": {media_type: {}}, "description": description}}


_FILES = _told(_ZIP, "requirements.txt with hashes, a Dockerfile, and packages.txt with Debian packages.")
_SBOM = _told(SBOM, "A CycloneDX document.")
_PROVENANCE = _told(ENVELOPE, "An in-toto statement with SLSA provenance in a DSSE envelope.")


@router.get("/versions/{owner}/{name}/{version}/environment")
async def environment(reference: Ref, who: Who, app: App) -> EnvironmentOut:
    """Show what a version runs in."""
    return environment_out(await app.environments.of(who, await app.models.version(who, reference)))


@router.get("/versions/{owner}/{name}/{version}/environment/diff")
async def diff(
    reference: Ref, who: Who, app: App, to: Annotated[str, Query(max_length=200)]
) -> EnvironmentDiffOut:
    """Show how the environment of the version `to` (owner/model@version) differs from this one's."""
    before = await app.models.version(who, reference)
    after = await app.models.version(who, parse_reference(to))
    return compare(await app.environments.of(who, before), await app.environments.of(who, after))


@router.get(
    "/versions/{owner}/{name}/{version}/environment/export", response_class=Response, responses=_FILES
)
async def export(reference: Ref, who: Who, app: App) -> Response:
    """Export files that make the environment again without Vitrine."""
    return await _export(app, who, await app.models.version(who, reference))


@router.get("/versions/{owner}/{name}/{version}/environment/sbom", response_class=Response, responses=_SBOM)
async def sbom(reference: Ref, who: Who, app: App) -> Response:
    """Return what is in the environment, as CycloneDX."""
    return await _sbom(app, who, await app.models.version(who, reference))


@router.get(
    "/versions/{owner}/{name}/{version}/environment/provenance",
    response_class=Response,
    responses=_PROVENANCE,
)
async def provenance(reference: Ref, who: Who, app: App) -> Response:
    """Return where the environment comes from, signed."""
    return await _provenance(app, who, await app.models.version(who, reference))


@router.get("/links/{token}/environment")
async def environment_by_link(holder: Holder, app: App) -> EnvironmentOut:
    """Show what a link's model runs in; a blind link tells Python and a commitment."""
    version = await app.links.version(holder)
    if not blindness.shows_environment(holder.link):
        found = await app.environments.find(version)
        if found is None:
            raise NotFound("the environment of this version was not made")
        return untold(holder, found)
    return environment_out(await app.environments.of(holder, version), reference=False)


@router.get("/links/{token}/environment/export", response_class=Response, responses=_FILES)
async def export_by_link(holder: Holder, app: App) -> Response:
    """Export files that make the environment again without Vitrine."""
    return await _export(app, holder, await app.links.version(holder))


@router.get("/links/{token}/environment/sbom", response_class=Response, responses=_SBOM)
async def sbom_by_link(holder: Holder, app: App) -> Response:
    """Return what is in the environment, as CycloneDX."""
    return await _sbom(app, holder, await app.links.version(holder))


@router.get("/links/{token}/environment/provenance", response_class=Response, responses=_PROVENANCE)
async def provenance_by_link(holder: Holder, app: App) -> Response:
    """Return where the environment comes from, signed."""
    return await _provenance(app, holder, await app.links.version(holder))


@pages.get("/models/{owner}/{name}/versions/{version}/environment")
async def export_page(reference: Ref, visit: Page) -> Response:
    """Export the environment of a version of one's own."""
    version = await visit.services.models.version(visit.member, reference)
    return await _export(visit.services, visit.member, version)


@pages.get("/models/{owner}/{name}/versions/{version}/sbom")
async def sbom_page(reference: Ref, visit: Page) -> Response:
    """Download the SBOM of a version of one's own."""
    version = await visit.services.models.version(visit.member, reference)
    return await _sbom(visit.services, visit.member, version)


@pages.get("/models/{owner}/{name}/versions/{version}/provenance")
async def provenance_page(reference: Ref, visit: Page) -> Response:
    """Download the provenance of a version of one's own."""
    version = await visit.services.models.version(visit.member, reference)
    return await _provenance(visit.services, visit.member, version)


async def _export(app: Services, who: Principal, version: Version) -> Response:
    told = await app.environments.of(who, version)
    return _file(packed(files_of(told.environment)), _ZIP, f"{_stem(told)}.zip")


async def _sbom(app: Services, who: Principal, version: Version) -> Response:
    told = await app.environments.of(who, version)
    return _file(await app.environments.sbom(told.environment), SBOM, f"{_stem(told)}.cdx.json")


async def _provenance(app: Services, who: Principal, version: Version) -> Response:
    told = await app.environments.of(who, version)
    return _file(await app.environments.provenance(told.environment), ENVELOPE, f"{_stem(told)}.intoto.json")


def _stem(told: Told) -> str:
    return f"environment-{told.environment.id.removeprefix('sha256:')[:12]}"


def _file(data: bytes, media_type: str, name: str) -> Response:
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(data, media_type=media_type, headers=headers)
