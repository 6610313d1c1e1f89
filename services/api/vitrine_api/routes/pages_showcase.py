"""Pages for whoever holds a link: the showcase, and this visitor's runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request
from starlette.responses import HTMLResponse, Response

from vitrine_api import views
from vitrine_api.cards import card_of
from vitrine_api.credentials import new_secret
from vitrine_api.dependencies import address_of
from vitrine_api.pages import Page, Visit, see, set_cookie
from vitrine_api.pictures import HEAD, picture_type
from vitrine_api.policy import Visitor
from vitrine_api.presenters.fields import as_text, has_file_examples, run_fields
from vitrine_api.presenters.runs import Reader, run_events, run_row, run_view
from vitrine_api.routes.runs import Index, input_response, output_response
from vitrine_api.run_bodies import form_values
from vitrine_api.run_inputs import SentExample, SentFile
from vitrine_api.runs import RunRecord, check_ready
from vitrine_api.streams import blob_response, event_stream
from vitrine_common.documents import Version
from vitrine_common.errors import Conflict, Invalid, NotFound, Problem
from vitrine_common.spec import Spec

router = APIRouter(prefix="/s/{token}", include_in_schema=False)

VISITOR_COOKIE = "vitrine_visitor"
_VISITOR_SECONDS = 90 * 24 * 3600
_HISTORY = 20


@dataclass
class Showing:
    """One request by a link."""

    visit: Visit
    token: str
    visitor: Visitor
    version: Version
    secret: str
    is_new: bool

    @property
    def reader(self) -> Reader:
        """What this visitor sees of their runs."""
        return Reader(token=self.token)

    def answer(self, response: Response) -> Response:
        """Hand a new visitor their cookie, which goes to this link's pages alone."""
        if self.is_new:
            services = self.visit.services
            path = f"/s/{self.token}"
            set_cookie(response, services, VISITOR_COOKIE, self.secret, _VISITOR_SECONDS, path=path)
        self.visit.keep_guest(response)
        return response

    async def history(self) -> tuple[views.RunRow, ...]:
        """Return this visitor's newest runs."""
        page = await self.visit.services.runs.page_of_visitor(self.visitor, _HISTORY, None)
        return tuple(run_row(record, self.version, self.reader) for record in page.items)


async def showing_of(token: Annotated[str, Path(max_length=64)], request: Request, visit: Page) -> Showing:
    """Return who holds the link. Raises NotFound, Gone."""
    known = request.cookies.get(VISITOR_COOKIE)
    secret = known or new_secret(128)
    visitor = await visit.services.links.visitor(token, secret)
    version = await visit.services.links.version(visitor)
    return Showing(visit, token, visitor, version, secret, is_new=known is None)


Shown = Annotated[Showing, Depends(showing_of)]


@router.get("")
async def showcase(shown: Shown) -> Response:
    """Show the model: form, result, card, this visitor's runs."""
    return shown.answer(shown.visit.page(await _showcase(shown)))


async def _showcase(
    shown: Showing, sent: Mapping[str, Any] | None = None, problems: Sequence[Problem] = (), problem: str = ""
) -> views.Showcase:
    services, version, link = shown.visit.services, shown.version, shown.visitor.link
    spec = Spec.model_validate(version.spec)
    manifest = await services.models.manifest(version) if has_file_examples(spec) else None
    left = None if link.max_runs is None else max(0, link.max_runs - link.runs_used)
    return views.Showcase(
        token=shown.token,
        title=version.model,
        fields=run_fields(spec, manifest, f"/s/{shown.token}/examples", sent, problems),
        description=spec.description or "",
        version=str(version.number),
        digest=version.digest,
        card=await card_of(services, version, manifest),
        history=await shown.history(),
        expires_at=link.expires_at,
        max_runs=link.max_runs,
        runs_left=left,
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
            page = await _showcase(shown, _texts(values), error.problems, error.message)
            return shown.answer(visit.page(page, error.status))
    if not visit.by_script:
        return shown.answer(see(f"/s/{shown.token}/runs/{record.request.id}"))
    return shown.answer(visit.page(await _panel(shown, record)))


def _texts(values: Mapping[str, Any]) -> dict[str, str]:
    kept = {name: value for name, value in values.items() if not isinstance(value, SentFile | SentExample)}
    return {name: as_text(value) for name, value in kept.items()}


async def _panel(shown: Showing, record: RunRecord) -> views.RunPanel:
    link = await shown.visit.services.repository.links.links.get(shown.visitor.link.id)
    return views.RunPanel(
        run=run_view(record, shown.version, shown.reader),
        history=await shown.history(),
        runs_left=None if link.max_runs is None else max(0, link.max_runs - link.runs_used),
    )


@router.get("/runs/{run_id}")
async def run(run_id: str, shown: Shown) -> Response:
    """Show one of this visitor's runs."""
    record = await shown.visit.services.runs.get(shown.visitor, run_id)
    page = views.RunPage(
        run=run_view(record, shown.version, shown.reader),
        model_title=shown.version.model,
        history=await shown.history(),
    )
    return shown.answer(shown.visit.page(page))


@router.get("/runs/{run_id}/events")
async def events(run_id: str, shown: Shown) -> Response:
    """Follow one of this visitor's runs, as fragments; ends when the link is revoked."""
    follower = shown.visit.services.runs.follow(shown.visitor, run_id)
    return await event_stream(follower, run_events(shown.version, shown.reader, shown.visit.render))


@router.get("/runs/{run_id}/outputs/{name}")
async def output(run_id: str, name: str, shown: Shown, index: Index = 0) -> Response:
    """Return the bytes of an output."""
    return await output_response(shown.visit.services, shown.visitor, run_id, name, index)


@router.get("/runs/{run_id}/inputs/{name}")
async def input_file(run_id: str, name: str, shown: Shown) -> Response:
    """Return the bytes of an input."""
    return await input_response(shown.visit.services, shown.visitor, run_id, name)


@router.post("/runs/{run_id}/cancel")
async def cancel(run_id: str, shown: Shown, request: Request) -> Response:
    """Ask for one of this visitor's runs to be stopped."""
    async with request.form() as form:
        shown.visit.check_form(form)
    record = await shown.visit.services.runs.cancel(shown.visitor, run_id)
    if not shown.visit.by_script:
        return shown.answer(see(f"/s/{shown.token}/runs/{run_id}"))
    view = views.RunStatus(run=run_view(record, shown.version, shown.reader))
    return shown.answer(HTMLResponse(shown.visit.render(view)))


@router.get("/examples/{name}/{index}")
async def example(name: str, index: int, shown: Shown) -> Response:
    """Return the bytes of a file that the model offers as an example."""
    spec = Spec.model_validate(shown.version.spec)
    found = next((item for item in spec.effective_inputs() if item.name == name and item.is_file), None)
    examples = list(getattr(found, "examples", []))
    if not 0 <= index < len(examples):
        raise NotFound("there is no such example")
    services = shown.visit.services
    entry = (await services.models.manifest(shown.version)).entry(examples[index])
    if entry is None:
        raise NotFound("there is no such example")
    head = await services.platform.blobs.read_head(entry.digest, HEAD)
    return await blob_response(
        services.platform.blobs, entry.digest, picture_type(head), entry.path.rpartition("/")[2]
    )
