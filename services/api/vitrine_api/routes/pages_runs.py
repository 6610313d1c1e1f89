"""Pages: one's runs."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from starlette.responses import HTMLResponse, Response

from vitrine_api import views
from vitrine_api.models import parse_reference
from vitrine_api.pages import Page, Visit, see
from vitrine_api.policy import Action, allows
from vitrine_api.presenters.models import version_url
from vitrine_api.presenters.runs import Reader, run_events, run_row, run_view
from vitrine_api.routes.runs import Index, input_response, output_response, version_of
from vitrine_api.runs import RunRecord
from vitrine_api.streams import event_stream, without_news

router = APIRouter(include_in_schema=False)

_ROWS = 50
Wanted = Annotated[str, Query(max_length=200)]


def reader_of(visit: Visit, record: RunRecord) -> Reader:
    """Return what this account may see of a run."""
    may_open = allows(visit.member, Action.OPEN, record.request)
    return Reader(may_open=may_open, receipts=visit.services.receipts.signer.enabled)


@router.get("/runs")
async def runs(visit: Page, reference: Wanted = "", state: Wanted = "", after: Wanted = "") -> Response:
    """List the runs of one's versions."""
    services, who = visit.services, visit.member
    only = await services.models.version(who, parse_reference(reference)) if reference else None
    page = await services.runs.page(who, _ROWS, after or None, only)
    versions = await services.models.versions_by_ids([item.request.version_id for item in page.items])
    links = await services.repository.links.by_ids(
        item.request.link_id for item in page.items if item.request.link_id
    )
    rows = tuple(
        run_row(
            item,
            versions.get(item.request.version_id),
            reader_of(visit, item),
            source=_source(item, {link_id: link.label for link_id, link in links.items()}),
        )
        for item in page.items
        if not state or item.state.value == state
    )
    older = urlencode({"reference": reference, "state": state, "after": page.next}) if page.next else None
    newer = urlencode({"reference": reference, "state": state}) if after else None
    paging = views.Paging(
        newer_url=f"/runs?{newer}" if newer else None, older_url=f"/runs?{older}" if older else None
    )
    return visit.page(views.RunsPage(runs=rows, state=state, reference=reference, paging=paging))


def _source(record: RunRecord, labels: dict[str, str]) -> str:
    link_id = record.request.link_id
    return (labels.get(link_id) or "link") if link_id else "api"


@router.get("/runs/{run_id}")
async def run(run_id: str, visit: Page) -> Response:
    """Show a run."""
    record = await visit.services.runs.get(visit.member, run_id)
    version = await version_of(visit.services, record)
    return visit.page(
        views.RunPage(
            run=run_view(record, version, reader_of(visit, record)),
            model_title=version.model if version else "",
            reference=version.reference if version else "",
            version_url=version_url(version) if version else "",
        )
    )


@router.get("/runs/{run_id}/events")
async def events(run_id: str, visit: Page) -> Response:
    """Follow a run, as fragments."""
    services, who = visit.services, visit.member
    record = await services.runs.get(who, run_id)
    version = await version_of(services, record)
    reader = reader_of(visit, record)
    encode = run_events(version, reader, visit.render)
    follower = services.runs.follow(who, run_id)
    return await event_stream(follower, encode if reader.may_open else without_news(encode))


@router.get("/runs/{run_id}/outputs/{name}")
async def output(run_id: str, name: str, visit: Page, index: Index = 0) -> Response:
    """Return the bytes of an output."""
    return await output_response(visit.services, visit.member, run_id, name, index)


@router.get("/runs/{run_id}/inputs/{name}")
async def input_file(run_id: str, name: str, visit: Page) -> Response:
    """Return the bytes of an input."""
    return await input_response(visit.services, visit.member, run_id, name)


@router.post("/runs/{run_id}/cancel")
async def cancel(run_id: str, visit: Page, request: Request) -> Response:
    """Ask for a run to be stopped."""
    who = visit.member
    async with request.form() as form:
        visit.check_form(form)
    record = await visit.services.runs.cancel(who, run_id)
    if not visit.by_script:
        return see(f"/runs/{run_id}")
    version = await version_of(visit.services, record)
    shown = run_view(record, version, reader_of(visit, record))
    return HTMLResponse(visit.render(views.RunStatus(run=shown)))
