"""Runs by accounts."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel
from starlette.responses import StreamingResponse

from vitrine_api.dependencies import App, Pages, Prefer, Ref, Who, wait_seconds
from vitrine_api.descriptions import (
    run_out,
)
from vitrine_api.models import parse_reference
from vitrine_api.policy import Action, Principal, allows, require
from vitrine_api.resources import (
    Listed,
    RunOut,
)
from vitrine_api.routes.webhooks import DeliveryOut, delivery_out
from vitrine_api.run_archive import archive, entries_of
from vitrine_api.run_bodies import HOOK_EVENTS, run_body
from vitrine_api.run_inputs import file_values
from vitrine_api.runs import RunRecord
from vitrine_api.services import Services
from vitrine_api.streams import blob_response, event_stream, json_events, without_news
from vitrine_common.documents import Output, Version
from vitrine_common.errors import NotFound
from vitrine_common.states import RunState

router = APIRouter(prefix="/api/v1", tags=["runs"])


def _body(**more: Any) -> dict[str, Any]:
    properties = {"inputs": {"type": "object"}, **more}
    return {
        "requestBody": {
            "description": "Values by input name. In a form: `input.NAME` for values and files.",
            "content": {
                "application/json": {"schema": {"type": "object", "properties": properties}},
                "multipart/form-data": {"schema": {"type": "object"}},
            },
        }
    }


RUN_BODY = _body()
HOOKED_RUN_BODY = _body(
    webhook={
        "type": "string",
        "format": "uri",
        "description": "Is told of the run by signed messages; the secret stands in the answer.",
    },
    webhook_events={
        "type": "array",
        "items": {"type": "string", "enum": list(HOOK_EVENTS)},
        "default": ["finished"],
    },
)
Index = Annotated[int, Query(ge=0, le=10_000, description="Which of several files of that name.")]


class RunHookOut(BaseModel):
    """The address that is told of a run; it is forgotten, with the messages, at `ends_at`."""

    url: str
    events: list[str]
    active: bool
    ends_at: datetime
    deliveries: list[DeliveryOut]


@router.post(
    "/versions/{owner}/{name}/{version}/runs",
    status_code=202,
    openapi_extra=HOOKED_RUN_BODY,
    responses={200: {"model": RunOut, "description": "Finished within `Prefer: wait=N`."}},
)
async def start(  # noqa: PLR0917 - FastAPI passes a route's arguments by name
    reference: Ref, request: Request, response: Response, who: Who, app: App, prefer: Prefer = None
) -> RunOut:
    """Run a version; 202 as soon as the request is stored."""
    version = await app.models.version(who, reference)
    require(who, Action.RUN, version)
    app.run_starts.take(f"account:{who.id}")
    async with run_body(request, version) as body:
        plain = partial(app.runs.start, who, version, body.values, hooked=body.hook is not None)
        record = await app.run_hooks.with_hook(who, version, body.hook, plain)(None)
        secret = await app.run_hooks.secret(who, record, body.hook)
    record = await waited(app, who, record, prefer, response)
    return run_out(who, record, version=version).model_copy(update={"webhook_secret": secret})


async def waited(
    app: Services, principal: Principal, record: RunRecord, prefer: str | None, response: Response
) -> RunRecord:
    """Wait as long as the client prefers; sets the status and the headers of the answer."""
    seconds = wait_seconds(prefer, app.settings.prefer_wait_seconds)
    if seconds:
        response.headers["Preference-Applied"] = f"wait={seconds:.0f}"
        record = await app.runs.follow(principal, record.request.id).wait(seconds)
    response.status_code = 200 if record.final else 202
    return record


@router.get("/runs")
async def runs(
    who: Who,
    app: App,
    paging: Pages,
    *,
    version: Annotated[str | None, Query(max_length=200)] = None,
    link: Annotated[str | None, Query(max_length=80, description="Id of a link of one's own.")] = None,
    state: RunState | None = None,
) -> Listed[RunOut]:
    """List the runs of one's versions, of one version, by one link, in one state, those of visitors bare."""
    only = await app.models.version(who, parse_reference(version)) if version else None
    by = await app.links.get(who, link) if link else None
    page = await app.runs.page(who, paging.limit, paging.after, only, by, state)
    versions = await app.models.versions_by_ids([item.request.version_id for item in page.items])
    items = [run_out(who, item, version=versions.get(item.request.version_id)) for item in page.items]
    return Listed(items=items, next=page.next)


@router.get("/runs/{run_id}")
async def run(run_id: str, who: Who, app: App) -> RunOut:
    """Show a run."""
    record = await app.runs.get(who, run_id)
    return run_out(who, record, version=await version_of(app, record))


@router.get("/runs/{run_id}/events", response_class=StreamingResponse)
async def events(run_id: str, who: Who, app: App) -> StreamingResponse:
    """Follow a run to its end (server-sent events)."""
    record = await app.runs.get(who, run_id)
    version = await version_of(app, record)
    encode = json_events(partial(run_out, who, version=version))
    may_open = allows(who, Action.OPEN, record.request)
    return await event_stream(app.runs.follow(who, run_id), encode if may_open else without_news(encode))


@router.get("/runs/{run_id}/outputs/{name}")
async def output(run_id: str, name: str, who: Who, app: App, index: Index = 0) -> Response:
    """Return the bytes of an output that is a file."""
    return await output_response(app, who, run_id, name, index)


@router.get("/runs/{run_id}/webhook")
async def webhook(run_id: str, who: Who, app: App) -> RunHookOut:
    """Show the address that is told of a run that one began, and what was sent to it."""
    hook, deliveries = await app.run_hooks.of(who, run_id)
    return RunHookOut(
        url=hook.url,
        events=hook.events,
        active=hook.active,
        ends_at=hook.ends_at,
        deliveries=[delivery_out(delivery) for delivery in deliveries],
    )


@router.get("/runs/{run_id}/inputs/{name}")
async def input_file(run_id: str, name: str, who: Who, app: App) -> Response:
    """Return the bytes of an input that is a file."""
    return await input_response(app, who, run_id, name)


@router.post("/runs/{run_id}/cancel", status_code=202)
async def cancel(run_id: str, who: Who, app: App) -> RunOut:
    """Ask for a run to be stopped; the answer shows it as it is now."""
    record = await app.runs.cancel(who, run_id)
    return run_out(who, record, version=await version_of(app, record))


async def version_of(app: Services, record: RunRecord) -> Version | None:
    """Return the version of a run that was checked already."""
    return (await app.models.versions_by_ids([record.request.version_id])).get(record.request.version_id)


async def output_response(
    app: Services, principal: Principal, run_id: str, name: str, index: int, *, download: bool = False
) -> Response:
    """Return the bytes of a run's output. Raises NotFound, Denied."""
    record = await app.runs.get(principal, run_id)
    require(principal, Action.OPEN, record.request)
    outputs = record.run.outputs if record.run else []
    found = find_output(outputs, name, index)
    seen = await app.sight(principal, await version_of(app, record))
    digest, filename = found.digest or "", seen.output_name(found.name, found.filename)
    tag = seen.digest("output", digest)
    return await blob_response(
        app.platform.blobs, digest, found.media_type, filename, download=download, tag=tag
    )


async def archive_response(app: Services, principal: Principal, run_id: str) -> Response:
    """Return a run's inputs and outputs as a zip file. Raises NotFound, Denied."""
    record = await app.runs.get(principal, run_id)
    require(principal, Action.OPEN, record.request)
    version = await version_of(app, record)
    entries = entries_of(record, version, await app.sight(principal, version))
    headers = {"Content-Disposition": f'attachment; filename="{run_id}.zip"'}
    content = archive(entries, record.request.created_at, app.platform.blobs)
    return StreamingResponse(content, media_type="application/zip", headers=headers)


def find_output(outputs: list[Output], name: str, index: int) -> Output:
    """Return the file among `outputs`. Raises NotFound."""
    named = [output for output in outputs if output.name == name]
    if index >= len(named) or named[index].digest is None:
        raise NotFound(f"there is no file output `{name[:80]}` (or not yet)")
    return named[index]


async def input_response(app: Services, principal: Principal, run_id: str, name: str) -> Response:
    """Return the bytes of a run's input. Raises NotFound, Denied."""
    record = await app.runs.get(principal, run_id)
    require(principal, Action.OPEN, record.request)
    version = await version_of(app, record)
    value = file_values(version, record.request.inputs).get(name)
    if value is None:
        raise NotFound(f"there is no file input `{name[:80]}`")
    seen = await app.sight(principal, version)
    filename, tag = seen.text(value.filename), seen.digest("input", value.digest)
    return await blob_response(app.platform.blobs, value.digest, value.media_type, filename, tag=tag)
