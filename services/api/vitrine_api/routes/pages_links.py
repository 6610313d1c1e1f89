"""Pages: one's share links."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.datastructures import FormData
from starlette.responses import Response

from vitrine_api import blindness, views
from vitrine_api.durations import parse_lifetime
from vitrine_api.forms import text_of
from vitrine_api.link_wishes import parse_bytes, parse_rate
from vitrine_api.links import NewLink, Wish, ends_at
from vitrine_api.models import parse_reference
from vitrine_api.pages import Page, Visit, field_problems, see
from vitrine_api.presenters.links import link_rows, new_links
from vitrine_api.qr import embed_html, qr_svg
from vitrine_common.documents.link import Access
from vitrine_common.errors import Conflict, Invalid, NotFound, Problem, VitrineError
from vitrine_common.states import VersionState

router = APIRouter(include_in_schema=False)

_LINKS = 200
_MODELS = 50
_VERSIONS = 10
_DEFAULT_DAYS = "14"
Wanted = Annotated[str, Query(max_length=200)]


@router.get("/links")
async def links(
    visit: Page, version: Wanted = "", model: Wanted = "", q: Wanted = "", state: Wanted = ""
) -> Response:
    """List one's links, with the form to make one."""
    form = await _form(visit, version=version or model)
    return visit.page(await _links(visit, form, query=q or version or model, state=state))


async def _links(visit: Visit, form: views.LinkForm, query: str = "", state: str = "") -> views.Links:
    services = visit.services
    found = (await services.links.page(visit.member, _LINKS, None)).items
    rows = link_rows(found, await services.links.versions_of(found), await services.link_use.of(found))
    wanted = tuple(
        row
        for row in rows
        if query.lower() in f"{row.reference} {row.label} {row.recipient}".lower()
        and (not state or row.state == state)
    )
    return views.Links(links=wanted, form=form, query=query, state=state)


async def _form(
    visit: Visit, version: str = "", sent: FormData | None = None, error: VitrineError | None = None
) -> views.LinkForm:
    services, who = visit.services, visit.member
    options: list[views.VersionOption] = []
    for model in (await services.models.page(who, _MODELS, None)).items:
        found = (await services.models.versions(who, model, _VERSIONS, None)).items
        ready = [one.reference for one in found if one.state is VersionState.READY]
        options += [views.VersionOption(value=reference, reference=reference) for reference in ready]
    chosen = next((one.value for one in options if version and one.value.startswith(version)), "")
    if sent is None:
        return views.LinkForm(versions=tuple(options), version=chosen)
    names = ("version", "label", "passcode", "emails", "recipients", "expires_days", "max_runs")
    texts = {name: text_of(sent, name) for name in (*names, "rate", "max_input", "embed")}
    return views.LinkForm(
        versions=tuple(options),
        access=text_of(sent, "access") or "link",
        blind=bool(text_of(sent, "blind")),
        problems=_problems(error),
        **texts,
    )


def _problems(error: VitrineError | None) -> tuple[views.FieldProblem, ...]:
    if error is None:
        return ()
    return field_problems(error.problems) or (views.FieldProblem(field="version", message=error.message),)


@router.post("/links")
async def create(visit: Page, request: Request) -> Response:
    """Share a version and show the link, or links, this once."""
    who = visit.member
    async with request.form() as form:
        visit.check_form(form)
        try:
            reference, wish = parse_reference(text_of(form, "version")), _wish(form)
            made = await visit.services.links.create(who, reference, wish, _lines(form, "recipients"))
        except (Invalid, NotFound) as error:
            return visit.page(await _links(visit, await _form(visit, sent=form, error=error)), error.status)
    return visit.page(await _made(visit, made), 201)


async def _made(visit: Visit, made: list[NewLink]) -> views.Links:
    page = await _links(visit, await _form(visit))
    shown = new_links(made, visit.services.settings.base_url)
    return views.Links(links=page.links, form=page.form, new=shown, warnings=made[0].warnings)


def _wish(form: FormData) -> Wish:
    """Return the wish of a form. Raises Invalid."""
    chosen = text_of(form, "access")
    access: Access = "public" if chosen == "public" else "restricted" if chosen == "restricted" else "link"
    emails, passcode = _lines(form, "emails"), text_of(form, "passcode").strip()
    restricted = access == "restricted"
    days, rate = text_of(form, "expires_days").strip(), text_of(form, "rate").strip()
    runs, seconds = parse_rate(rate) if rate else (None, 3600)
    size = text_of(form, "max_input").strip()
    return Wish(
        access=access,
        # Without addresses there must be a passcode: one is made up when none is given.
        passcode=(passcode or (None if emails else "")) if restricted else None,
        emails=emails if restricted else (),
        lifetime=parse_lifetime(f"{days}d", "expires_days") if days else None,
        max_runs=_max_runs(text_of(form, "max_runs").strip()),
        rate_runs=runs,
        rate_seconds=seconds,
        max_input_bytes=parse_bytes(size) if size else None,
        embed_origins=_lines(form, "embed"),
        blind=bool(text_of(form, "blind")),
        label=text_of(form, "label")[:200],
    )


def _lines(form: FormData, name: str) -> list[str]:
    parts = text_of(form, name).replace(",", "\n").splitlines()
    return [part.strip()[:200] for part in parts if part.strip()]


def _max_runs(text: str) -> int | None:
    if not text:
        return None
    if text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= 1_000_000:
        return int(text)
    message = "take a whole number from 1 to 1,000,000, or nothing for no limit"
    raise Invalid(f"max_runs: {message}", (Problem("max_runs", message),))


@router.get("/links/{link_id}")
async def link(link_id: str, visit: Page) -> Response:
    """Show a link's use, with the form that alters it."""
    return visit.page(await _page(visit, link_id))


async def _page(visit: Visit, link_id: str, error: VitrineError | None = None) -> views.LinkPage:
    services = visit.services
    found = await services.links.get(visit.member, link_id)
    versions = await services.links.versions_of([found])
    rows = link_rows([found], versions, await services.link_use.of([found]))
    if not rows:
        raise NotFound(f"the version of {link_id} is gone")
    base, token = services.settings.base_url, found.public_token
    title = blindness.title(found, versions[found.version_id])
    return views.LinkPage(
        link=rows[0],
        problems=_problems(error),
        url=f"{base}/s/{token}" if token else None,
        qr=qr_svg(f"{base}/s/{token}") if token else None,
        embed=embed_html(f"{base}/e/{token}", title) if token and found.embed_origins else None,
    )


@router.post("/links/{link_id}")
async def edit(link_id: str, visit: Page, request: Request) -> Response:
    """Alter a link."""
    who = visit.member
    async with request.form() as form:
        visit.check_form(form)
        try:
            await visit.services.links.edit(who, link_id, _changes(form))
        except (Invalid, Conflict) as error:
            return visit.page(await _page(visit, link_id, error), error.status)
    return see(f"/links/{link_id}")


def _changes(form: FormData) -> dict[str, Any]:
    days, rate = text_of(form, "expires_days").strip(), text_of(form, "rate").strip()
    runs, seconds = parse_rate(rate) if rate else (None, 3600)
    size = text_of(form, "max_input").strip()
    found: dict[str, Any] = {
        "label": text_of(form, "label")[:200],
        "max_runs": _max_runs(text_of(form, "max_runs").strip()),
        "rate_runs": runs,
        "rate_seconds": seconds,
        "max_input_bytes": parse_bytes(size) if size else None,
        "embed_origins": _lines(form, "embed"),
        "paused": bool(text_of(form, "paused")),
    }
    if days:
        found["expires_at"] = None if days == "0" else ends_at(parse_lifetime(f"{days}d", "expires_days"))
    return found


@router.post("/links/{link_id}/unblind")
async def unblind(link_id: str, visit: Page, request: Request) -> Response:
    """Tell a blind link's holders whose model it is, for good."""
    who = visit.member
    async with request.form() as form:
        visit.check_form(form)
    await visit.services.links.unblind(who, link_id)
    return see(f"/links/{link_id}")


@router.post("/links/{link_id}/revoke")
async def revoke(link_id: str, visit: Page, request: Request) -> Response:
    """Revoke a link at once."""
    who = visit.member
    async with request.form() as form:
        visit.check_form(form)
    await visit.services.links.revoke(who, link_id)
    return see("/links")
