"""Pages for whoever holds a link: the showcase, and this visitor's runs; the same in other sites' frames."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import HTMLResponse, Response

from vitrine_api import blindness, front_matter, views
from vitrine_api.blind_use import runs_left
from vitrine_api.cards import card_of
from vitrine_api.dependencies import address_of
from vitrine_api.markdown import split_front_matter
from vitrine_api.pages import see
from vitrine_api.pictures import HEAD, picture_type
from vitrine_api.presenters.cards import with_samples
from vitrine_api.presenters.fields import as_text, has_file_examples, run_fields, without_names
from vitrine_api.presenters.runs import comparison, run_events, run_view
from vitrine_api.qr import qr_svg
from vitrine_api.routes.pages_claims import holder_table
from vitrine_api.routes.runs import Index, archive_response, input_response, output_response
from vitrine_api.run_bodies import form_values
from vitrine_api.run_inputs import SentExample, SentFile
from vitrine_api.runs import RunRecord, check_ready
from vitrine_api.showings import Showing, Shown
from vitrine_api.specs import spec_of
from vitrine_api.streams import SANDBOX, blob_response, event_stream
from vitrine_common.documents import Version
from vitrine_common.errors import Conflict, Invalid, NotFound, Problem

router = APIRouter(prefix="/s/{token}", include_in_schema=False)
frames = APIRouter(prefix="/e/{token}", include_in_schema=False)
"""The same pages by an address that holds the visitor's secret."""

Chosen = Annotated[Sequence[str], Query(max_length=20)]
_PAIR = 2
DEVICES = "camera=(self), microphone=(self), geolocation=(), payment=(), usb=()"


@router.get("")
@frames.get("")
@frames.get("/{visitor}")
async def showcase(shown: Shown) -> Response:
    """Show the model: form, result, card, this visitor's runs."""
    if shown.is_new:
        await shown.visit.services.links.opened(shown.visitor)
    return shown.answer(_with_devices(shown.visit.page(await _showcase(shown))))


def _with_devices(response: Response) -> Response:
    """Let the form ask for the camera and the microphone; no other page may."""
    response.headers["Permissions-Policy"] = DEVICES
    return response


async def _showcase(
    shown: Showing, sent: Mapping[str, Any] | None = None, problems: Sequence[Problem] = (), problem: str = ""
) -> views.Showcase:
    services, version, link = shown.visit.services, shown.version, shown.visitor.link
    spec = spec_of(version)
    manifest = await services.models.manifest(version) if has_file_examples(spec) else None
    fields = run_fields(spec, manifest, f"{shown.place}/examples", sent, problems)
    matter, card = split_front_matter(await card_of(services, version, manifest))
    facts = front_matter.facts_of(matter)
    fields = with_samples(without_names(fields) if link.blind else fields, facts.samples)
    claims, history = await asyncio.gather(holder_table(shown), shown.history())
    return views.Showcase(
        token=shown.token,
        place=shown.place,
        embedded=shown.embedded,
        title=blindness.title(link, version),
        fields=fields,
        description=spec.description or "",
        version=blindness.number(link, version),
        digest=blindness.digest(link, "bundle", version.digest),
        card=card,
        facts=facts,
        link_url=_link_url(shown),
        claims=claims,
        history=history,
        expires_at=link.expires_at,
        max_runs=link.max_runs,
        runs_left=runs_left(link),
        problem=problem or None,
        unavailable=_unavailable(version),
    )


def _unavailable(version: Version) -> str | None:
    try:
        check_ready(version)
    except Conflict:
        return "It is not ready yet, or its environment could not be made. Come back later."
    return None


@router.post("/runs")
@frames.post("/{visitor}/runs")
async def start(shown: Shown, request: Request) -> Response:
    """Run the model on what the form holds."""
    visit = shown.visit
    async with request.form(max_files=100, max_fields=400, max_part_size=2 << 20) as form:
        visit.check_form(form)
        visit.services.run_starts.take(f"link:{shown.visitor.link.id}:{address_of(request)}")
        values = form_values(form, shown.version)
        try:
            record = await visit.services.runs.start_by_link(shown.visitor, shown.version, values)
        except Invalid as error:
            if visit.by_script:
                raise
            page = await _showcase(shown, _kept(values), error.problems, error.message)
            return shown.answer(_with_devices(visit.page(page, error.status)))
    if not visit.by_script:
        return shown.answer(see(f"{shown.place}/runs/{record.request.id}"))
    return shown.answer(visit.page(await _panel(shown, record)))


def _kept(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a form that was refused shows again: all but files, which no page can fill in."""
    return {
        name: value if isinstance(value, SentExample) else as_text(value)
        for name, value in values.items()
        if not isinstance(value, SentFile)
    }


async def _panel(shown: Showing, record: RunRecord) -> views.RunPanel:
    link = await shown.visit.services.repository.links.links.get(shown.visitor.link.id)
    return views.RunPanel(
        run=run_view(await shown.visit.services.runs.placed(record), shown.version, shown.reader),
        history=await shown.history(),
        runs_left=runs_left(link),
    )


@router.get("/runs/{run_id}")
@frames.get("/{visitor}/runs/{run_id}")
async def run(run_id: str, shown: Shown) -> Response:
    """Show one of this visitor's runs."""
    runs = shown.visit.services.runs
    record = await runs.placed(await runs.get(shown.visitor, run_id))
    page = views.RunPage(
        run=run_view(record, shown.version, shown.reader),
        model_title=blindness.title(shown.visitor.link, shown.version),
        history=await shown.history(),
        embedded=shown.embedded,
    )
    return shown.answer(shown.visit.page(page))


@router.get("/runs/{run_id}/events")
@frames.get("/{visitor}/runs/{run_id}/events")
async def events(run_id: str, shown: Shown) -> Response:
    """Follow one of this visitor's runs, as fragments; ends when the link is revoked."""
    follower = shown.visit.services.runs.follow(shown.visitor, run_id, with_place=True)
    return await event_stream(follower, run_events(shown.version, shown.reader, shown.visit.render))


@router.get("/runs/{run_id}/outputs/{name}")
@frames.get("/{visitor}/runs/{run_id}/outputs/{name}")
async def output(run_id: str, name: str, shown: Shown, index: Index = 0) -> Response:
    """Return the bytes of an output."""
    return await output_response(shown.visit.services, shown.visitor, run_id, name, index)


@router.get("/runs/{run_id}/inputs/{name}")
@frames.get("/{visitor}/runs/{run_id}/inputs/{name}")
async def input_file(run_id: str, name: str, shown: Shown) -> Response:
    """Return the bytes of an input."""
    return await input_response(shown.visit.services, shown.visitor, run_id, name)


@router.get("/runs/{run_id}/archive")
@frames.get("/{visitor}/runs/{run_id}/archive")
async def archive(run_id: str, shown: Shown) -> Response:
    """Return the inputs and outputs of one of this visitor's runs in one file."""
    return await archive_response(shown.visit.services, shown.visitor, run_id)


@router.get("/compare")
@frames.get("/{visitor}/compare")
async def compare(shown: Shown, run: Chosen = ()) -> Response:
    """Put two of this visitor's runs next to each other, the older on the left."""
    chosen = list(dict.fromkeys(run))
    if len(chosen) != _PAIR:
        problem = Problem("run", f"{len(chosen)} runs are chosen; tick two of your runs to compare them")
        raise Invalid(problem.message, (problem,))
    records = [await shown.visit.services.runs.get(shown.visitor, run_id) for run_id in chosen]
    records.sort(key=lambda record: record.request.created_at)
    left, right = (run_view(record, shown.version, shown.reader) for record in records)
    title = blindness.title(shown.visitor.link, shown.version)
    return shown.answer(shown.visit.page(comparison(left, right, title, embedded=shown.embedded)))


@router.get("/qr.svg")
@frames.get("/{visitor}/qr.svg")
async def qr(shown: Shown) -> Response:
    """Return the link's address as a picture for phones."""
    picture = qr_svg(_link_url(shown)).replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
    headers = {"Content-Security-Policy": SANDBOX, "Cache-Control": "private, max-age=3600"}
    return Response(str(picture), media_type="image/svg+xml", headers=headers)


def _link_url(shown: Showing) -> str:
    return f"{shown.visit.services.settings.base_url}/s/{shown.token}"


@router.post("/runs/{run_id}/cancel")
@frames.post("/{visitor}/runs/{run_id}/cancel")
async def cancel(run_id: str, shown: Shown, request: Request) -> Response:
    """Ask for one of this visitor's runs to be stopped."""
    async with request.form() as form:
        shown.visit.check_form(form)
    record = await shown.visit.services.runs.cancel(shown.visitor, run_id)
    if not shown.visit.by_script:
        return shown.answer(see(f"{shown.place}/runs/{run_id}"))
    view = views.RunStatus(run=run_view(record, shown.version, shown.reader))
    return shown.answer(HTMLResponse(shown.visit.render(view)))


@router.get("/examples/{name}/{index}")
@frames.get("/{visitor}/examples/{name}/{index}")
async def example(name: str, index: int, shown: Shown) -> Response:
    """Return the bytes of a file that the model offers as an example."""
    spec = spec_of(shown.version)
    found = next((item for item in spec.effective_inputs() if item.name == name and item.is_file), None)
    examples = list(getattr(found, "examples", []))
    if not 0 <= index < len(examples):
        raise NotFound("there is no such example")
    services, link = shown.visit.services, shown.visitor.link
    entry = (await services.models.manifest(shown.version)).entry(examples[index])
    if entry is None:
        raise NotFound("there is no such example")
    head = await services.platform.blobs.read_head(entry.digest, HEAD)
    filename = entry.path.rpartition("/")[2]
    return await blob_response(
        services.platform.blobs,
        entry.digest,
        picture_type(head),
        blindness.example_name(index, filename) if link.blind else filename,
        tag=blindness.digest(link, "input", entry.digest),
    )
