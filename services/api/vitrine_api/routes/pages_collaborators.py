"""Pages: who works on a model, and taking an invite to one."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from vitrine_api import views
from vitrine_api.durations import parse_lifetime
from vitrine_api.forms import text_of
from vitrine_api.pages import Page, Visit, field_problems, see
from vitrine_api.presenters.accounts import collaboration_row
from vitrine_api.presenters.links import invite_row
from vitrine_common.errors import Invalid, VitrineError

router = APIRouter(include_in_schema=False)

Text = Annotated[str, Path(max_length=64)]


@router.get("/join")
async def join_form(visit: Page, invite: Annotated[str, Query(max_length=200)] = "") -> Response:
    """Show what an invite to a model offers; without a login, the way to one."""
    found = await visit.services.invites.look(invite)
    inviter = await visit.services.repository.accounts.user(found.invited_by)
    view = views.Join(invite=invite, model=found.model, inviter=inviter.name if inviter else "")
    return visit.page(view)


@router.post("/join")
async def join(visit: Page, request: Request) -> Response:
    """Take an invite to a model."""
    who = visit.member
    async with request.form() as form:
        visit.check_form(form)
        code = text_of(form, "invite")
    found = await visit.services.invites.accept(who, code)
    return see(f"/models/{found.model}")


@router.get("/models/{owner}/{name}/collaborators")
async def collaborators(owner: Text, name: Text, visit: Page) -> Response:
    """Show who works on a model."""
    return visit.page(await _view(visit, owner, name))


async def _view(
    visit: Visit, owner: str, name: str, url: str | None = None, error: VitrineError | None = None
) -> views.Collaborators:
    services, who = visit.services, visit.member
    model = await services.models.model(who, owner, name)
    return views.Collaborators(
        owner=owner,
        name=name,
        people=tuple(collaboration_row(item) for item in await services.collaborators.of(who, model)),
        invites=tuple(invite_row(item) for item in await services.invites.of_model(who, model)),
        new_invite_url=url,
        problems=field_problems(error.problems) if error else (),
    )


@router.post("/models/{owner}/{name}/collaborators")
async def ask(owner: Text, name: Text, visit: Page, request: Request) -> Response:
    """Invite somebody; the address is shown this once, or mailed."""
    services, who = visit.services, visit.member
    async with request.form() as form:
        visit.check_form(form)
        email, send = text_of(form, "email").strip() or None, bool(text_of(form, "send"))
    model = await services.models.model(who, owner, name)
    try:
        invite, code = await services.invites.create(who, email, parse_lifetime("7d"), model=model, send=send)
    except Invalid as error:
        return visit.page(await _view(visit, owner, name, error=error), error.status)
    return visit.page(await _view(visit, owner, name, services.invites.url(invite, code)), 201)


@router.post("/models/{owner}/{name}/collaborators/{user}/remove")
async def remove(owner: Text, name: Text, user: Text, visit: Page, request: Request) -> Response:
    """Let a collaborator go."""
    who = visit.member
    async with request.form() as form:
        visit.check_form(form)
    model = await visit.services.models.model(who, owner, name)
    await visit.services.collaborators.remove(who, model, user)
    own = model.owner_id == who.id
    return see(f"/models/{owner}/{name}/collaborators" if own else "/settings")


@router.post("/settings/invites/{invite_id}/withdraw")
async def withdraw(invite_id: str, visit: Page, request: Request) -> Response:
    """Withdraw an invite at once."""
    who = visit.member
    async with request.form() as form:
        visit.check_form(form)
    await visit.services.invites.withdraw(who, invite_id)
    return see("/settings")
