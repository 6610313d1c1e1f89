"""Pages: one's runs."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
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
from vitrine_api.routes.runs import Index, archive_response, input_response, output_response, version_of
from vitrine_api.runs import RunRecord
from vitrine_api.streams import event_stream, without_news
from vitrine_common.states import RunState

router = APIRouter(include_in_schema=False)

_ROWS = 50
Wanted = Annotated[str, Query(max_length=200)]


def reader_of(visit: Visit, record: RunRecord) -> Reader:
    """Return what this account may see of a run."""
    may_open = allows(visit.member, Action.OPEN, record.request)
    services = visit.services
    return Reader(
        may_open=may_open, receipts=services.receipts.signer.enabled, base_url=services.settings.base_url
    )


async def run_rows(visit: Visit, records: Sequence[RunRecord]) -> tuple[views.RunRow, ...]:
    """Return runs of several versions as rows."""
    services = visit.services
    versions, links = await asyncio.gather(
        services.models.versions_by_ids([item.request.version_id for item in records]),
        services.repository.links.by_ids(item.request.link_id for item in records if item.request.link_id),
    )
    labels = {link_id: link.recipient or link.label for link_id, link in links.items()}
    return tuple(
        run_row(
            item, versions.get(item.request.version_id), reader_of(visit, item), source=_source(item, labels)
        )
        for item in records
    )


@router.get("/runs")
async def runs(
    visit: Page, reference: Wanted = "", state: Wanted = "", link: Wanted = "", after: Wanted = ""
) -> Response:
    """List the runs of one's versions."""
    services, who = visit.services, visit.member
    only = await services.models.version(who, parse_reference(reference)) if reference else None
    by = await services.links.get(who, link) if link else None
    wanted = next((known for known in RunState if known.value == state), None)
    page = await services.runs.page(who, _ROWS, after or None, only, by, wanted)
    given = (("reference", reference), ("state", wanted.value if wanted else ""), ("link", link))
    kept = {key: value for key, value in given if value}
    older = f"/runs?{urlencode({**kept, 'after': page.next})}" if page.next else None
    return visit.page(
        views.RunsPage(
            runs=await run_rows(visit, page.items),
            state=kept.get("state", ""),
            reference=reference,
            link=link,
            link_name=(by.recipient or by.label or "one link") if by else "",
            paging=views.Paging(newer_url=f"/runs?{urlencode(kept)}" if after else None, older_url=older),
        )
    )


def _source(record: RunRecord, labels: dict[str, str]) -> str:
    link_id = record.request.link_id
    return (labels.get(link_id) or "link") if link_id else "api"


@router.get("/runs/{run_id}")
async def run(run_id: str, visit: Page) -> Response:
    """Show a run."""
    record = await visit.services.runs.placed(await visit.services.runs.get(visit.member, run_id))
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
    follower = services.runs.follow(who, run_id, with_place=True)
    return await event_stream(follower, encode if reader.may_open else without_news(encode))


@router.get("/runs/{run_id}/outputs/{name}")
async def output(run_id: str, name: str, visit: Page, index: Index = 0) -> Response:
    """Return the bytes of an output."""
    return await output_response(visit.services, visit.member, run_id, name, index)


@router.get("/runs/{run_id}/inputs/{name}")
async def input_file(run_id: str, name: str, visit: Page) -> Response:
    """Return the bytes of an input."""
    return await input_response(visit.services, visit.member, run_id, name)


@router.get("/runs/{run_id}/archive")
async def archive(run_id: str, visit: Page) -> Response:
    """Return a run's inputs and outputs in one file."""
    return await archive_response(visit.services, visit.member, run_id)


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
