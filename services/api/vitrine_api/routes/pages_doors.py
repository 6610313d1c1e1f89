"""Pages: a restricted link's door, and what tells an open page that its link has ended."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.datastructures import FormData
from starlette.responses import Response

from vitrine_api import views
from vitrine_api.dependencies import address_of
from vitrine_api.errors import RateLimited, headers_of
from vitrine_api.forms import text_of
from vitrine_api.link_doors import WrongAnswer
from vitrine_api.link_states import check_usable, link_state, ways_of
from vitrine_api.pages import Page, Visit, see, set_cookie
from vitrine_api.progress import Change
from vitrine_api.showings import PASS_COOKIE, Shown
from vitrine_api.streams import event_stream
from vitrine_api.views.showcase import LinkEnd
from vitrine_common.clock import utcnow
from vitrine_common.documents import ShareLink

router = APIRouter(include_in_schema=False)


@router.post("/s/{token}/unlock")
async def unlock(token: str, visit: Page, request: Request) -> Response:
    """Take a passcode; or an address, to which a code goes; or both of them with the code."""
    link = await visit.services.links.held(token[:64], address_of(request))
    check_usable(link)
    async with request.form() as form:
        visit.check_form(form)
        email = text_of(form, "email")[:200]
        gate = views.LinkGate(token=token, ways=ways_of(link), email=email)
        try:
            return await _answered(visit, link, gate, form)
        except (WrongAnswer, RateLimited) as error:
            page = views.LinkGate(token=token, ways=gate.ways, email=email, problem=error.message)
            response = visit.page(page, error.status)
            response.headers.update(headers_of(error))
            return response


async def _answered(visit: Visit, link: ShareLink, gate: views.LinkGate, form: FormData) -> Response:
    doors, address = visit.services.doors, address_of(visit.request)
    passcode, code = text_of(form, "passcode")[:200], text_of(form, "code")[:20]
    if not passcode and not code:
        await doors.send_code(link, gate.email, address)
        return visit.page(gate, 202)
    if passcode:
        opened = await doors.open_by_passcode(link, passcode, address)
    else:
        opened = await doors.open_by_code(link, gate.email, code, address)
    place = f"/s/{gate.token}"
    response = see(place)
    seconds = max(1, round((opened.expires_at - utcnow()).total_seconds()))
    set_cookie(response, visit.services, PASS_COOKIE, opened.secret, seconds, path=place)
    return response


@router.get("/s/{token}/watch")
@router.get("/e/{token}/{visitor}/watch")
async def watch(shown: Shown) -> Response:
    """Tell an open page when its link has ended: the event `ended`, with what to show instead."""

    def encode(change: Change[ShareLink]) -> list[tuple[str, str]]:
        if change.kind != "end" or change.state is None:
            return []
        return [("ended", shown.visit.render(_ended(change.state)))]

    return await event_stream(shown.visit.services.links.watch(shown.visitor), encode)


def _ended(link: ShareLink) -> views.LinkEnded:
    ends: dict[str, LinkEnd] = {"revoked": "revoked", "expired": "expired", "paused": "paused"}
    return views.LinkEnded(end=ends.get(link_state(link), "expired"))
