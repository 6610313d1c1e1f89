"""Claims of versions and their checks: for their owners, and for whoever holds a link."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from starlette.responses import StreamingResponse

from vitrine_api.claims.bodies import CHECK_BODY, wish_of
from vitrine_api.claims.checks import CheckRecord, claims_of
from vitrine_api.claims.describing import CheckOut, ClaimOut, check_out, claim_out
from vitrine_api.claims.repository import Tally
from vitrine_api.claims.sight import ClaimSight
from vitrine_api.credentials import new_secret
from vitrine_api.dependencies import App, Pages, Prefer, Ref, Who, address_of, wait_seconds
from vitrine_api.models import parse_reference
from vitrine_api.policy import Action, Principal, require
from vitrine_api.resources import API, Listed
from vitrine_api.routes.link_holders import VISITOR_HEADER, Holder, Pass, Token, VisitorSecret
from vitrine_api.routes.receipts import receipt_response
from vitrine_api.services import Services
from vitrine_api.streams import event_stream, json_events, without_news
from vitrine_common.documents import ClaimCheck, Receipt, Version
from vitrine_common.errors import NotFound
from vitrine_common.receipts.dsse import MEDIA_TYPE
from vitrine_common.states import VERDICTS

router = APIRouter(prefix="/api/v1", tags=["claims"])

CHECKS = f"{API}/claims/checks"
_DSSE: dict[int | str, dict[str, Any]] = {
    200: {"content": {MEDIA_TYPE: {"schema": {"type": "object"}}}, "description": "The DSSE envelope."}
}
_FINISHED: dict[int | str, dict[str, Any]] = {
    200: {"model": CheckOut, "description": "Finished within `Prefer: wait=N`."}
}


@router.get("/versions/{owner}/{name}/{version}/claims")
async def claims(reference: Ref, who: Who, app: App) -> list[ClaimOut]:
    """List the claims of a version, and how their checks ended."""
    return await claims_out(app, who, await app.models.version(who, reference))


async def claims_out(app: Services, principal: Principal, version: Version) -> list[ClaimOut]:
    """Describe the claims of a version and their history."""
    sight = ClaimSight(principal)
    tallies, last = await history_of(app, principal, version, sight)
    datasets = await app.checks.datasets(version)
    return [
        claim_out(sight, claim, datasets.get(claim.name), tallies.get(claim.name), last.get(claim.name))
        for claim in claims_of(version)
    ]


async def history_of(
    app: Services, principal: Principal, version: Version, sight: ClaimSight
) -> tuple[Mapping[str, Tally], Mapping[str, ClaimCheck]]:
    """Return how everybody's checks ended, and the newest with a number; nothing for who may not know."""
    if not sight.shows_history:
        return {}, {}
    tallies = await app.checks.tallies(principal, version)
    return tallies, await app.checks.last_verdicts(version, tallies)


@router.post("/claims/checks", status_code=202, openapi_extra=CHECK_BODY, responses=_FINISHED)
async def start(request: Request, response: Response, who: Who, app: App, prefer: Prefer = None) -> CheckOut:
    """Have a claim of a version checked; 202 as soon as the wish is stored."""
    app.run_starts.take(f"account:{who.id}")
    async with wish_of(request) as wish:
        version = await app.models.version(who, parse_reference(wish.ref))
        record = await app.checks.start(who, version, wish.claim, wish.own)
    record = await waited(app, who, record, prefer, response)
    return check_out(ClaimSight(who), record, CHECKS, version)


async def waited(
    app: Services, principal: Principal, record: CheckRecord, prefer: str | None, response: Response
) -> CheckRecord:
    """Wait as long as the client prefers; sets the status and the headers of the answer."""
    seconds = wait_seconds(prefer, app.settings.prefer_wait_seconds)
    if seconds:
        response.headers["Preference-Applied"] = f"wait={seconds:.0f}"
        record = await app.checks.follow(principal, record.request.id).wait(seconds)
    response.status_code = 200 if record.final else 202
    return record


@router.get("/claims/checks")
async def checks(
    who: Who, app: App, paging: Pages, version: Annotated[str | None, Query(max_length=200)] = None
) -> Listed[CheckOut]:
    """List the checks of one's versions, or of one version; those by blind links are not among them."""
    only = await app.models.version(who, parse_reference(version)) if version else None
    page = await app.checks.page(who, paging.limit, paging.after, only)
    versions = await app.models.versions_by_ids([item.request.version_id for item in page.items])
    sight = ClaimSight(who)
    items = [check_out(sight, item, CHECKS, versions.get(item.request.version_id)) for item in page.items]
    return Listed(items=items, next=page.next)


@router.get("/claims/checks/{check_id}")
async def check(check_id: str, who: Who, app: App) -> CheckOut:
    """Show a check."""
    return await _shown(app, who, await app.checks.get(who, check_id))


async def _shown(app: Services, who: Principal, record: CheckRecord) -> CheckOut:
    return check_out(ClaimSight(who), record, CHECKS, await version_of(app, record))


async def version_of(app: Services, record: CheckRecord) -> Version | None:
    """Return the version of a check that was looked at already."""
    return (await app.models.versions_by_ids([record.request.version_id])).get(record.request.version_id)


@router.get("/claims/checks/{check_id}/events", response_class=StreamingResponse)
async def events(check_id: str, who: Who, app: App) -> StreamingResponse:
    """Follow a check to its end (server-sent events)."""
    record = await app.checks.get(who, check_id)
    version, sight = await version_of(app, record), ClaimSight(who)
    encode = json_events(partial(check_out, sight, base=CHECKS, version=version))
    texts = sight.shows_texts(record)
    return await event_stream(app.checks.follow(who, check_id), encode if texts else without_news(encode))


@router.get("/claims/checks/{check_id}/receipt", response_class=Response, responses=_DSSE)
async def receipt(check_id: str, who: Who, app: App) -> Response:
    """Return the signed receipt of a check with a verdict."""
    return receipt_response(await receipt_of(app, who, check_id))


async def receipt_of(app: Services, principal: Principal, check_id: str) -> Receipt:
    """Return the receipt of a check for whoever may open it. Raises NotFound, Denied, NoSigningKey."""
    record = await app.checks.get(principal, check_id)
    require(principal, Action.OPEN, record.request)
    found = await app.attesting.checked(check_id) if record.state in VERDICTS else None
    if found is None:
        raise NotFound("there is no receipt: only checks with a verdict get one")
    return found


@router.post("/claims/checks/{check_id}/cancel", status_code=202)
async def cancel(check_id: str, who: Who, app: App) -> CheckOut:
    """Ask for a check to be stopped; the answer shows it as it is now."""
    return await _shown(app, who, await app.checks.cancel(who, check_id))


def base_of(token: str) -> str:
    """Return where the addresses of a link's checks begin."""
    return f"{API}/links/{token}/claims/checks"


@router.get("/links/{token}/claims")
async def claims_by_link(holder: Holder, app: App) -> list[ClaimOut]:
    """List the claims of what a link shares."""
    return await claims_out(app, holder, await app.links.version(holder))


@router.post("/links/{token}/claims/checks", status_code=202, openapi_extra=CHECK_BODY, responses=_FINISHED)
async def start_by_link(  # noqa: PLR0917 - FastAPI passes a route's arguments by name
    token: Token,
    request: Request,
    response: Response,
    app: App,
    secret: VisitorSecret = None,
    passed: Pass = None,
    prefer: Prefer = None,
) -> CheckOut:
    """Have a claim checked; it counts as one run. `visitor` names this visitor from now on."""
    secret = secret or new_secret(128)
    address = address_of(request)
    holder = await app.links.visitor(token, secret, address=address, passed=passed)
    app.run_starts.take(f"link:{holder.link.id}:{address}")
    version = await app.links.version(holder)
    async with wish_of(request) as wish:
        record = await app.checks.start_by_link(holder, version, wish.claim, wish.own)
    record = await waited(app, holder, record, prefer, response)
    described = check_out(ClaimSight(holder), record, base_of(token))
    response.headers[VISITOR_HEADER] = secret
    return described.model_copy(update={"visitor": secret})


@router.get("/links/{token}/claims/checks")
async def checks_by_link(token: Token, holder: Holder, app: App, paging: Pages) -> Listed[CheckOut]:
    """List this visitor's checks."""
    page = await app.checks.page_of_visitor(holder, paging.limit, paging.after)
    sight, base = ClaimSight(holder), base_of(token)
    return Listed(items=[check_out(sight, item, base) for item in page.items], next=page.next)


@router.get("/links/{token}/claims/checks/{check_id}")
async def check_by_link(token: Token, check_id: str, holder: Holder, app: App) -> CheckOut:
    """Show one of this visitor's checks."""
    return check_out(ClaimSight(holder), await app.checks.get(holder, check_id), base_of(token))


@router.get("/links/{token}/claims/checks/{check_id}/events", response_class=StreamingResponse)
async def events_by_link(token: Token, check_id: str, holder: Holder, app: App) -> StreamingResponse:
    """Follow one of this visitor's checks to its end (server-sent events)."""
    record = await app.checks.get(holder, check_id)
    sight = ClaimSight(holder)
    encode = json_events(partial(check_out, sight, base=base_of(token)))
    texts = sight.shows_texts(record)
    return await event_stream(app.checks.follow(holder, check_id), encode if texts else without_news(encode))


@router.get("/links/{token}/claims/checks/{check_id}/receipt", response_class=Response, responses=_DSSE)
async def receipt_by_link(check_id: str, holder: Holder, app: App) -> Response:
    """Return the signed receipt of one of this visitor's checks."""
    return receipt_response(await receipt_of(app, holder, check_id))


@router.post("/links/{token}/claims/checks/{check_id}/cancel", status_code=202)
async def cancel_by_link(token: Token, check_id: str, holder: Holder, app: App) -> CheckOut:
    """Ask for one of this visitor's checks to be stopped."""
    return check_out(ClaimSight(holder), await app.checks.cancel(holder, check_id), base_of(token))
