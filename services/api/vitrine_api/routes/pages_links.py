"""Pages: one's share links."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.datastructures import FormData
from starlette.responses import Response

from vitrine_api import views
from vitrine_api.durations import parse_lifetime
from vitrine_api.forms import text_of
from vitrine_api.models import parse_reference
from vitrine_api.pages import Page, Visit, field_problems, see
from vitrine_api.presenters.links import link_rows
from vitrine_common.errors import Invalid, NotFound, Problem, VitrineError
from vitrine_common.states import VersionState

router = APIRouter(include_in_schema=False)

_LINKS = 200
_MODELS = 50
_VERSIONS = 10


@router.get("/links")
async def links(
    visit: Page,
    version: Annotated[str, Query(max_length=200)] = "",
    model: Annotated[str, Query(max_length=200)] = "",
) -> Response:
    """List one's links, with the form to make one."""
    form = await _form(visit, version=version or model)
    return visit.page(await _links(visit, form, only=version or model))


async def _links(
    visit: Visit, form: views.LinkForm, new_url: str | None = None, only: str = ""
) -> views.Links:
    found = (await visit.services.links.page(visit.member, _LINKS, None)).items
    rows = link_rows(found, await visit.services.links.versions_of(found))
    wanted = tuple(row for row in rows if row.reference.startswith(only)) if only else rows
    return views.Links(links=wanted, form=form, new_url=new_url)


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
    return views.LinkForm(
        versions=tuple(options),
        version=text_of(sent, "version"),
        label=text_of(sent, "label"),
        access=text_of(sent, "access") or "link",
        expires_days=text_of(sent, "expires_days"),
        max_runs=text_of(sent, "max_runs"),
        problems=_problems(error),
    )


def _problems(error: VitrineError | None) -> tuple[views.FieldProblem, ...]:
    if error is None:
        return ()
    return field_problems(error.problems) or (views.FieldProblem(field="version", message=error.message),)


@router.post("/links")
async def create(visit: Page, request: Request) -> Response:
    """Share a version and show the link this once."""
    who = visit.member
    async with request.form() as form:
        visit.check_form(form)
        days = text_of(form, "expires_days").strip()
        try:
            _, _, token = await visit.services.links.create(
                who,
                parse_reference(text_of(form, "version")),
                access="public" if text_of(form, "access") == "public" else "link",
                lifetime=parse_lifetime(f"{days}d", "expires_days") if days else None,
                max_runs=_max_runs(text_of(form, "max_runs").strip()),
                label=text_of(form, "label")[:200],
            )
        except (Invalid, NotFound) as error:
            return visit.page(await _links(visit, await _form(visit, sent=form, error=error)), error.status)
    url = f"{visit.services.settings.base_url}/s/{token}"
    return visit.page(await _links(visit, await _form(visit), new_url=url), 201)


def _max_runs(text: str) -> int | None:
    if not text:
        return None
    if text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= 1_000_000:
        return int(text)
    message = "take a whole number from 1 to 1,000,000, or nothing for no limit"
    raise Invalid(f"max_runs: {message}", (Problem("max_runs", message),))


@router.post("/links/{link_id}/revoke")
async def revoke(link_id: str, visit: Page, request: Request) -> Response:
    """Revoke a link at once."""
    who = visit.member
    async with request.form() as form:
        visit.check_form(form)
    await visit.services.links.revoke(who, link_id)
    return see("/links")
