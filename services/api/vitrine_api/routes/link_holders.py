"""Share links, for whoever holds a token."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Path, Request, Response
from pydantic import Field
from starlette.responses import StreamingResponse

from vitrine_api.credentials import new_secret
from vitrine_api.dependencies import App, Pages, Prefer, address_of
from vitrine_api.descriptions import link_view, run_out
from vitrine_api.link_states import check_usable
from vitrine_api.policy import Visitor
from vitrine_api.resources import API, LinkView, Listed, PassOut, RunOut
from vitrine_api.routes.accounts import Short, Strict
from vitrine_api.routes.runs import RUN_BODY, Index, input_response, output_response, waited
from vitrine_api.run_bodies import run_values
from vitrine_api.streams import event_stream, json_events

router = APIRouter(prefix="/api/v1", tags=["links"])

VISITOR_HEADER = "X-Vitrine-Visitor"
PASS_HEADER = "X-Vitrine-Pass"  # noqa: S105 - the name of a header
VisitorSecret = Annotated[
    str | None,
    Header(alias=VISITOR_HEADER, pattern=r"^[A-Za-z0-9_-]{16,64}$", description="Names a visitor."),
]
Pass = Annotated[
    str | None, Header(alias=PASS_HEADER, max_length=64, description="Of a restricted link: see `/unlock`.")
]
Token = Annotated[str, Path(max_length=64)]


class AnswerIn(Strict):
    """An answer at a restricted link's door: a passcode, or an address with the code that was sent to it."""

    passcode: Short | None = None
    email: Short | None = None
    code: Annotated[str | None, Field(max_length=20)] = None


class CodeIn(Strict):
    """A wish for a one-time code."""

    email: Short


async def holder_of(
    token: Token, request: Request, app: App, secret: VisitorSecret = None, passed: Pass = None
) -> Visitor:
    """Return whoever holds the link, as the visitor that the header names. Raises NotFound, Gone."""
    address = address_of(request)
    return await app.links.visitor(token, secret or new_secret(128), address=address, passed=passed)


Holder = Annotated[Visitor, Depends(holder_of)]


def base_of(token: str) -> str:
    """Return where the addresses of a link's runs begin."""
    return f"{API}/links/{token}/runs"


@router.get("/links/{token}")
async def link(holder: Holder, app: App) -> LinkView:
    """Show what a link runs, without its owner."""
    return link_view(holder.link, await app.links.version(holder))


@router.post("/links/{token}/codes", status_code=202)
async def send_code(token: Token, body: CodeIn, request: Request, app: App) -> dict[str, str]:
    """Send a one-time code, if the address is on the link's list; the answer is the same if it is not."""
    address = address_of(request)
    held = await app.links.held(token, address)
    check_usable(held)
    await app.doors.send_code(held, body.email, address)
    return {"detail": "if this address is on the list, a code is on its way"}


@router.post("/links/{token}/unlock")
async def unlock(token: Token, body: AnswerIn, request: Request, app: App) -> PassOut:
    """Give a pass for a right answer; send it as `X-Vitrine-Pass` from then on."""
    address = address_of(request)
    held = await app.links.held(token, address)
    check_usable(held)
    if body.passcode is not None:
        opened = await app.doors.open_by_passcode(held, body.passcode, address)
    else:
        opened = await app.doors.open_by_code(held, body.email or "", body.code or "", address)
    return PassOut(secret=opened.secret, expires_at=opened.expires_at)


@router.post(
    "/links/{token}/runs",
    status_code=202,
    openapi_extra=RUN_BODY,
    responses={200: {"model": RunOut, "description": "Finished within `Prefer: wait=N`."}},
)
async def start(  # noqa: PLR0917 - FastAPI passes a route's arguments by name
    token: Token,
    request: Request,
    response: Response,
    app: App,
    secret: VisitorSecret = None,
    passed: Pass = None,
    prefer: Prefer = None,
) -> RunOut:
    """Run what a link shares; `visitor` in the answer names this visitor from now on."""
    secret = secret or new_secret(128)
    address = address_of(request)
    holder = await app.links.visitor(token, secret, address=address, passed=passed)
    app.run_starts.take(f"link:{holder.link.id}:{address}")
    version = await app.links.version(holder)
    async with run_values(request, version) as values:
        record = await app.runs.start_by_link(holder, version, values)
    record = await waited(app, holder, record, prefer, response)
    response.headers[VISITOR_HEADER] = secret
    sight = await app.sight(holder, version)
    described = run_out(holder, record, base_of(token), sight=sight)
    return described.model_copy(update={"visitor": secret})


@router.get("/links/{token}/runs")
async def runs(token: Token, holder: Holder, app: App, paging: Pages) -> Listed[RunOut]:
    """List this visitor's runs."""
    page = await app.runs.page_of_visitor(holder, paging.limit, paging.after)
    sight = await app.sight(holder, await app.links.version(holder))
    items = [run_out(holder, record, base_of(token), sight=sight) for record in page.items]
    return Listed(items=items, next=page.next)


@router.get("/links/{token}/runs/{run_id}")
async def run(token: Token, run_id: str, holder: Holder, app: App) -> RunOut:
    """Show one of this visitor's runs."""
    record = await app.runs.get(holder, run_id)
    sight = await app.sight(holder, await app.links.version(holder))
    return run_out(holder, record, base_of(token), sight=sight)


@router.get("/links/{token}/runs/{run_id}/events", response_class=StreamingResponse)
async def events(token: Token, run_id: str, holder: Holder, app: App) -> StreamingResponse:
    """Follow one of this visitor's runs to its end (server-sent events)."""
    sight = await app.sight(holder, await app.links.version(holder))
    encode = json_events(partial(run_out, holder, base=base_of(token), sight=sight), sight.news())
    return await event_stream(app.runs.follow(holder, run_id), encode)


@router.get("/links/{token}/runs/{run_id}/outputs/{name}")
async def output(run_id: str, name: str, holder: Holder, app: App, index: Index = 0) -> Response:
    """Return the bytes of an output of one of this visitor's runs."""
    return await output_response(app, holder, run_id, name, index)


@router.get("/links/{token}/runs/{run_id}/inputs/{name}")
async def input_file(run_id: str, name: str, holder: Holder, app: App) -> Response:
    """Return the bytes of an input of one of this visitor's runs."""
    return await input_response(app, holder, run_id, name)


@router.post("/links/{token}/runs/{run_id}/cancel", status_code=202)
async def cancel(token: Token, run_id: str, holder: Holder, app: App) -> RunOut:
    """Ask for one of this visitor's runs to be stopped."""
    record = await app.runs.cancel(holder, run_id)
    sight = await app.sight(holder, await app.links.version(holder))
    return run_out(holder, record, base_of(token), sight=sight)
