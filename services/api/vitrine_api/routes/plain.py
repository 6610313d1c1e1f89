"""Runs by the short way: one address for a model or link, and the answer in the form that is asked for.

What comes back is the run: at once (202 and its address), when it has ended (`Prefer: wait=N`), or as it goes
on (`Accept: text/event-stream`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Request
from starlette.responses import JSONResponse, Response

from vitrine_api.credentials import new_secret
from vitrine_api.dependencies import App, Prefer, Who, address_of
from vitrine_api.descriptions import run_out
from vitrine_api.models import LATEST, Reference
from vitrine_api.policy import Action, Principal, allows, require
from vitrine_api.resources import RunOut
from vitrine_api.routes.link_holders import VISITOR_HEADER, Pass, Token, VisitorSecret, base_of
from vitrine_api.routes.runs import HOOKED_RUN_BODY, RUN_BODY, waited
from vitrine_api.run_bodies import run_body, run_values
from vitrine_api.runs import RunRecord
from vitrine_api.services import Services
from vitrine_api.streams import EVENT_STREAM, event_stream, json_events, without_news
from vitrine_common.documents import Version

router = APIRouter(tags=["runs"])

WEBHOOK_HEADER = "X-Vitrine-Webhook-Secret"
Describe = Callable[[RunRecord], RunOut]

Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        description="Requests with the same key and content make one run, for a day.",
    ),
]
_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "model": RunOut,
        "description": "Finished within `Prefer: wait=N`; or its events, for `Accept: text/event-stream`.",
    }
}


@router.post(
    "/v1/models/{owner}/{name}/runs", status_code=202, openapi_extra=HOOKED_RUN_BODY, responses=_ANSWERS
)
async def start(  # noqa: PLR0917 - FastAPI passes a route's arguments by name
    owner: Annotated[str, Path(max_length=64)],
    name: Annotated[str, Path(max_length=150, description="`MODEL` or `MODEL@VERSION`.")],
    request: Request,
    who: Who,
    app: App,
    prefer: Prefer = None,
    key: Key = None,
) -> Response:
    """Run a model's newest version, or the one that is named."""
    model, _, version_name = name.partition("@")
    version = await app.models.version(who, Reference(owner, model, version_name or LATEST))
    require(who, Action.RUN, version)
    app.run_starts.take(f"account:{who.id}")
    async with run_body(request, version) as body:
        plain = partial(app.runs.start, who, version, body.values, hooked=body.hook is not None)
        begin = app.run_hooks.with_hook(who, version, body.hook, plain)
        record = await app.idempotency.begin(who, key, version, body.values, begin, hook=body.hook)
        secret = await app.run_hooks.secret(who, record, body.hook)
    describe = partial(run_out, who, version=version)
    if _wants_events(request):
        encode = json_events(describe)
        may_open = allows(who, Action.OPEN, record.request)
        follower = app.runs.follow(who, record.request.id)
        response: Response = await event_stream(follower, encode if may_open else without_news(encode))
    else:
        response = await _told(
            app, who, record, prefer, describe=lambda found: _with_secret(describe(found), secret)
        )
    if secret is not None:
        response.headers[WEBHOOK_HEADER] = secret
    return response


@router.post("/s/{token}/v1/runs", status_code=202, openapi_extra=RUN_BODY, responses=_ANSWERS)
async def start_by_link(  # noqa: PLR0917
    token: Token,
    request: Request,
    app: App,
    secret: VisitorSecret = None,
    passed: Pass = None,
    prefer: Prefer = None,
    key: Key = None,
) -> Response:
    """Run what a link shares. With a key, name the visitor, too: it is what equal requests have in common."""
    secret, address = secret or new_secret(128), address_of(request)
    holder = await app.links.visitor(token, secret, address=address, passed=passed)
    app.run_starts.take(f"link:{holder.link.id}:{address}")
    version: Version = await app.links.version(holder)
    async with run_values(request, version) as values:
        begin = partial(app.runs.start_by_link, holder, version, values)
        record = await app.idempotency.begin(holder, key, version, values, begin)
    sight = await app.sight(holder, version)
    describe = partial(run_out, holder, base=base_of(token), sight=sight)
    if _wants_events(request):
        follower = app.runs.follow(holder, record.request.id)
        response: Response = await event_stream(follower, json_events(describe, sight.news()))
    else:
        response = await _told(
            app, holder, record, prefer, describe=lambda found: _with_visitor(describe(found), secret)
        )
    response.headers[VISITOR_HEADER] = secret
    return response


def _with_secret(described: RunOut, secret: str | None) -> RunOut:
    return described.model_copy(update={"webhook_secret": secret})


def _with_visitor(described: RunOut, secret: str) -> RunOut:
    return described.model_copy(update={"visitor": secret})


def _wants_events(request: Request) -> bool:
    return request.headers.get("accept", "").split(",")[0].split(";")[0].strip().lower() == EVENT_STREAM


async def _told(
    app: Services, principal: Principal, record: RunRecord, prefer: str | None, *, describe: Describe
) -> Response:
    """Return the run as it is after the wait that the client prefers, and where to look again."""
    response = Response()
    record = await waited(app, principal, record, prefer, response)
    described = describe(record)
    headers = {"Location": described.url}
    if applied := response.headers.get("Preference-Applied"):
        headers["Preference-Applied"] = applied
    return JSONResponse(described.model_dump(mode="json", by_alias=True), response.status_code, headers)
