"""Pages: checks of claims, for the owners of versions and for whoever holds a link."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, Response

from vitrine_api import blindness, views
from vitrine_api.claims.bodies import own_of
from vitrine_api.claims.checks import CheckRecord, claims_of
from vitrine_api.claims.sight import ClaimSight
from vitrine_api.dependencies import address_of
from vitrine_api.forms import text_of
from vitrine_api.models import parse_reference
from vitrine_api.pages import Page, Visit, see
from vitrine_api.policy import Principal
from vitrine_api.presenters.claims import (
    ClaimNews,
    ClaimReader,
    check_events,
    check_view,
    claims_table,
)
from vitrine_api.presenters.models import version_url
from vitrine_api.routes.claims import history_of, receipt_of, version_of
from vitrine_api.routes.receipts import receipt_response
from vitrine_api.services import Services
from vitrine_api.showings import Showing, Shown
from vitrine_api.streams import event_stream
from vitrine_common.documents import Version
from vitrine_common.spec.claims import MAX_OWN_FILES
from vitrine_common.states import VERDICTS, VersionState

router = APIRouter(include_in_schema=False)

_NEWEST = 20


async def table_of(
    services: Services, principal: Principal, version: Version, reader: ClaimReader, own: list[CheckRecord]
) -> views.ClaimsTable | None:
    """Return the claims of a version as a table; `own` are the reader's checks, newest first."""
    claims = claims_of(version)
    if not claims:
        return None
    tallies, last = await history_of(services, principal, version, reader.sight)
    datasets = await services.checks.datasets(version)
    newest: dict[str, CheckRecord] = {}
    for record in own:
        if record.state in VERDICTS and not record.request.own_inputs and reader.sight.may_open(record):
            newest.setdefault(record.request.claim_name, record)
    news = [
        ClaimNews(
            claim,
            datasets.get(claim.name),
            tallies.get(claim.name),
            last.get(claim.name),
            newest.get(claim.name),
        )
        for claim in claims
    ]
    reference = "" if reader.place else version.reference
    ready = version.state is VersionState.READY
    return claims_table(news, reader, can_check=ready, checks=own, reference=reference)


async def owner_table(visit: Visit, version: Version) -> views.ClaimsTable | None:
    """Return the claims of a version as its owner sees them."""
    reader = _owner(visit)
    if not claims_of(version):
        return None
    checks = (await visit.services.checks.page(visit.member, _NEWEST, None, version)).items
    return await table_of(visit.services, visit.member, version, reader, checks)


async def holder_table(shown: Showing) -> views.ClaimsTable | None:
    """Return the claims of a version as the holder of a link sees them."""
    if not claims_of(shown.version):
        return None
    services = shown.visit.services
    checks = (await services.checks.page_of_visitor(shown.visitor, _NEWEST, None)).items
    return await table_of(services, shown.visitor, shown.version, _holder(shown), checks)


def _owner(visit: Visit) -> ClaimReader:
    return ClaimReader(ClaimSight(visit.member))


def _holder(shown: Showing) -> ClaimReader:
    return ClaimReader(ClaimSight(shown.visitor), shown.place)


@router.post("/claims/checks")
async def start(visit: Page, request: Request) -> Response:
    """Have a claim of one's own version checked."""
    who, services = visit.member, visit.services
    async with request.form(max_files=MAX_OWN_FILES, max_fields=100, max_part_size=1 << 20) as form:
        visit.check_form(form)
        services.run_starts.take(f"account:{who.id}")
        version = await services.models.version(who, parse_reference(text_of(form, "ref")))
        record = await services.checks.start(who, version, text_of(form, "claim"), own_of(form))
    if not visit.by_script:
        return see(f"/claims/checks/{record.request.id}")
    return visit.page(views.CheckPanel(check=check_view(record, _owner(visit))))


@router.get("/claims/checks/{check_id}")
async def check(check_id: str, visit: Page) -> Response:
    """Show a check."""
    record = await visit.services.checks.get(visit.member, check_id)
    version = await version_of(visit.services, record)
    return visit.page(
        views.CheckPage(
            check=check_view(record, _owner(visit)),
            model_title=version.model if version else "",
            back_url=version_url(version) if version else "/",
            reference=version.reference if version else "",
        )
    )


@router.get("/claims/checks/{check_id}/events")
async def events(check_id: str, visit: Page) -> Response:
    """Follow a check, as fragments."""
    follower = visit.services.checks.follow(visit.member, check_id)
    return await event_stream(follower, check_events(_owner(visit), visit.render))


@router.get("/claims/checks/{check_id}/receipt")
async def receipt(check_id: str, visit: Page) -> Response:
    """Return the receipt of a check."""
    return receipt_response(await receipt_of(visit.services, visit.member, check_id))


@router.post("/claims/checks/{check_id}/cancel")
async def cancel(check_id: str, visit: Page, request: Request) -> Response:
    """Ask for a check to be stopped."""
    who = visit.member
    async with request.form() as form:
        visit.check_form(form)
    record = await visit.services.checks.cancel(who, check_id)
    if not visit.by_script:
        return see(f"/claims/checks/{check_id}")
    return HTMLResponse(visit.render(views.CheckStatus(check=check_view(record, _owner(visit)))))


@router.post("/s/{token}/claims/checks")
@router.post("/e/{token}/{visitor}/claims/checks")
async def start_by_link(shown: Shown, request: Request) -> Response:
    """Have a claim checked."""
    visit, services = shown.visit, shown.visit.services
    async with request.form(max_files=MAX_OWN_FILES, max_fields=100, max_part_size=1 << 20) as form:
        visit.check_form(form)
        services.run_starts.take(f"link:{shown.visitor.link.id}:{address_of(request)}")
        name = text_of(form, "claim")
        record = await services.checks.start_by_link(shown.visitor, shown.version, name, own_of(form))
    if not visit.by_script:
        return shown.answer(see(f"{shown.place}/claims/checks/{record.request.id}"))
    panel = views.CheckPanel(check=check_view(await services.checks.read(record.request), _holder(shown)))
    return shown.answer(visit.page(panel))


@router.get("/s/{token}/claims/checks/{check_id}")
@router.get("/e/{token}/{visitor}/claims/checks/{check_id}")
async def check_by_link(check_id: str, shown: Shown) -> Response:
    """Show one of this visitor's checks."""
    record = await shown.visit.services.checks.get(shown.visitor, check_id)
    page = views.CheckPage(
        check=check_view(record, _holder(shown)),
        model_title=blindness.title(shown.visitor.link, shown.version),
        back_url=shown.place,
    )
    return shown.answer(shown.visit.page(page))


@router.get("/s/{token}/claims/checks/{check_id}/events")
@router.get("/e/{token}/{visitor}/claims/checks/{check_id}/events")
async def events_by_link(check_id: str, shown: Shown) -> Response:
    """Follow one of this visitor's checks, as fragments; ends when the link is revoked."""
    follower = shown.visit.services.checks.follow(shown.visitor, check_id)
    return await event_stream(follower, check_events(_holder(shown), shown.visit.render))


@router.get("/s/{token}/claims/checks/{check_id}/receipt")
@router.get("/e/{token}/{visitor}/claims/checks/{check_id}/receipt")
async def receipt_by_link(check_id: str, shown: Shown) -> Response:
    """Return the receipt of one of this visitor's checks."""
    return receipt_response(await receipt_of(shown.visit.services, shown.visitor, check_id))


@router.post("/s/{token}/claims/checks/{check_id}/cancel")
@router.post("/e/{token}/{visitor}/claims/checks/{check_id}/cancel")
async def cancel_by_link(check_id: str, shown: Shown, request: Request) -> Response:
    """Ask for one of this visitor's checks to be stopped."""
    async with request.form() as form:
        shown.visit.check_form(form)
    record = await shown.visit.services.checks.cancel(shown.visitor, check_id)
    if not shown.visit.by_script:
        return shown.answer(see(f"{shown.place}/claims/checks/{check_id}"))
    view = views.CheckStatus(check=check_view(record, _holder(shown)))
    return shown.answer(HTMLResponse(shown.visit.render(view)))
