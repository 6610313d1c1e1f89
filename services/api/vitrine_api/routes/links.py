"""Share links: for their owners, and for whoever holds a token."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Header, Path, Request, Response
from pydantic import Field
from starlette.responses import StreamingResponse

from vitrine_api.credentials import new_secret
from vitrine_api.dependencies import App, Pages, Prefer, Who, address_of
from vitrine_api.descriptions import (
    link_out,
    link_view,
    run_out,
)
from vitrine_api.durations import parse_lifetime
from vitrine_api.models import parse_reference
from vitrine_api.policy import Visitor
from vitrine_api.resources import (
    API,
    LinkOut,
    LinkView,
    Listed,
    RunOut,
)
from vitrine_api.routes.accounts import Short, Strict
from vitrine_api.routes.runs import RUN_BODY, Index, input_response, output_response, waited
from vitrine_api.run_bodies import run_values
from vitrine_api.streams import event_stream, json_events

router = APIRouter(prefix="/api/v1", tags=["links"])

VISITOR_HEADER = "X-Vitrine-Visitor"
VisitorSecret = Annotated[
    str | None,
    Header(alias=VISITOR_HEADER, pattern=r"^[A-Za-z0-9_-]{16,64}$", description="Names a visitor."),
]
Token = Annotated[str, Path(max_length=64)]


class LinkIn(Strict):
    """A wish for a link to the version that `ref` names now."""

    ref: str = Field(max_length=200)
    access: Literal["public", "link"] = "link"
    expires: str | None = Field(default=None, max_length=20)
    max_runs: int | None = Field(default=None, ge=1, le=1_000_000)
    label: Short = ""


@router.post("/links", status_code=201)
async def create(body: LinkIn, who: Who, app: App) -> LinkOut:
    """Share a version; the link's token is shown this once."""
    link, version, token = await app.links.create(
        who,
        parse_reference(body.ref),
        access=body.access,
        lifetime=parse_lifetime(body.expires) if body.expires else None,
        max_runs=body.max_runs,
        label=body.label,
    )
    return link_out(link, version, token, app.settings.base_url)


@router.get("/links")
async def links(who: Who, app: App, paging: Pages) -> Listed[LinkOut]:
    """List one's links."""
    page = await app.links.page(who, paging.limit, paging.after)
    versions = await app.links.versions_of(page.items)
    return Listed(
        items=[link_out(link, versions.get(link.version_id)) for link in page.items], next=page.next
    )


@router.delete("/links/{link_id}", status_code=204)
async def revoke(link_id: str, who: Who, app: App) -> None:
    """Revoke a link at once; its waiting and working runs are cancelled."""
    await app.links.revoke(who, link_id)


async def holder_of(token: Token, app: App, secret: VisitorSecret = None) -> Visitor:
    """Return whoever holds the link, as the visitor that the header names. Raises NotFound, Gone."""
    return await app.links.visitor(token, secret or new_secret(128))


Holder = Annotated[Visitor, Depends(holder_of)]


def base_of(token: str) -> str:
    """Return where the addresses of a link's runs begin."""
    return f"{API}/links/{token}/runs"


@router.get("/links/{token}")
async def link(holder: Holder, app: App) -> LinkView:
    """Show what a link runs, without its owner."""
    return link_view(holder.link, await app.links.version(holder))


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
    prefer: Prefer = None,
) -> RunOut:
    """Run what a link shares; `visitor` in the answer names this visitor from now on."""
    secret = secret or new_secret(128)
    holder = await app.links.visitor(token, secret)
    app.run_starts.take(f"link:{holder.link.id}:{address_of(request)}")
    version = await app.links.version(holder)
    async with run_values(request, version) as values:
        record = await app.runs.start_by_link(holder, version, values)
    record = await waited(app, holder, record, prefer, response)
    response.headers[VISITOR_HEADER] = secret
    described = run_out(holder, record, base_of(token))
    return described.model_copy(update={"visitor": secret})


@router.get("/links/{token}/runs")
async def runs(token: Token, holder: Holder, app: App, paging: Pages) -> Listed[RunOut]:
    """List this visitor's runs."""
    page = await app.runs.page_of_visitor(holder, paging.limit, paging.after)
    return Listed(items=[run_out(holder, record, base_of(token)) for record in page.items], next=page.next)


@router.get("/links/{token}/runs/{run_id}")
async def run(token: Token, run_id: str, holder: Holder, app: App) -> RunOut:
    """Show one of this visitor's runs."""
    return run_out(holder, await app.runs.get(holder, run_id), base_of(token))


@router.get("/links/{token}/runs/{run_id}/events", response_class=StreamingResponse)
async def events(token: Token, run_id: str, holder: Holder, app: App) -> StreamingResponse:
    """Follow one of this visitor's runs to its end (server-sent events)."""
    encode = json_events(partial(run_out, holder, base=base_of(token)))
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
    return run_out(holder, await app.runs.cancel(holder, run_id), base_of(token))
