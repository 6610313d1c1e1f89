"""Pages: forgotten passwords; password, address and sessions on the settings page."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from vitrine_api import views
from vitrine_api.dependencies import address_of
from vitrine_api.forms import text_of
from vitrine_api.pages import Page, Visit, field_problems, see
from vitrine_api.routes.pages_accounts import settings_view
from vitrine_common.errors import Invalid, TooMany

router = APIRouter(include_in_schema=False)


@router.get("/reset")
async def forgotten_form(visit: Page) -> Response:
    """Show the form for a forgotten password."""
    return visit.page(views.Forgotten())


@router.post("/reset")
async def forgotten(visit: Page, request: Request) -> Response:
    """Mail a ticket, if the address has an account; the answer does not tell."""
    async with request.form() as form:
        visit.check_form(form)
        email = text_of(form, "email")
    try:
        visit.services.logins.take_address(address_of(request))
    except TooMany as error:
        return visit.page(views.Forgotten(problem=error.message), error.status)
    await visit.services.credentials.forgot(email)
    return visit.page(views.Forgotten(sent=True))


@router.get("/reset/{ticket}")
async def new_password_form(ticket: str, visit: Page, request: Request) -> Response:
    """Show the form for a new password."""
    visit.services.logins.take_address(address_of(request))
    user = await visit.services.credentials.check_reset(ticket)
    return visit.page(views.NewPassword(ticket=ticket, name=user.name))


@router.post("/reset/{ticket}")
async def new_password(ticket: str, visit: Page, request: Request) -> Response:
    """Set a new password; every session ends."""
    async with request.form() as form:
        visit.check_form(form)
        password, tokens = text_of(form, "password"), text_of(form, "revoke_tokens")
    visit.services.logins.take_address(address_of(request))
    user = await visit.services.credentials.check_reset(ticket)
    try:
        await visit.services.credentials.reset(ticket, password, drop_tokens=bool(tokens))
    except Invalid as error:
        problems = field_problems(error.problems)
        view = views.NewPassword(ticket=ticket, name=user.name, problems=problems)
        return visit.page(view, error.status)
    return see("/login")


@router.post("/settings/password")
async def change_password(visit: Page, request: Request) -> Response:
    """Change the password; every other session ends."""
    who = visit.member
    async with request.form() as form:
        visit.check_form(form)
        current, password = text_of(form, "current"), text_of(form, "password")
    try:
        await visit.services.credentials.change_password(who, current, password)
    except (Invalid, TooMany) as error:
        return await _again(visit, error)
    notice = views.Notice(text="The password is changed, and you are logged out everywhere else.")
    return visit.page(await settings_view(visit), notice=notice)


@router.post("/settings/email")
async def change_email(visit: Page, request: Request) -> Response:
    """Mail a ticket to a new address."""
    who = visit.member
    async with request.form() as form:
        visit.check_form(form)
        email, password = text_of(form, "email"), text_of(form, "password")
    try:
        await visit.services.credentials.ask_email(who, email, password)
    except (Invalid, TooMany) as error:
        return await _again(visit, error)
    notice = views.Notice(text=f"Open the mail that was sent to {email.strip()} to confirm the address.")
    return visit.page(await settings_view(visit), 202, notice=notice)


async def _again(visit: Visit, error: Invalid | TooMany) -> Response:
    problems = error.problems or ()
    notice = None if problems else views.Notice(text=error.message, tone="bad")
    return visit.page(await settings_view(visit, error=error), error.status, notice=notice)


@router.get("/settings/email/{ticket}")
async def confirm_email_form(ticket: str, visit: Page) -> Response:
    """Ask for one press of a button: what only looks at links in mails must not confirm."""
    return visit.page(views.ConfirmEmail(ticket=ticket))


@router.post("/settings/email/{ticket}")
async def confirm_email(ticket: str, visit: Page, request: Request) -> Response:
    """Give the account its new address."""
    async with request.form() as form:
        visit.check_form(form)
    visit.services.logins.take_address(address_of(request))
    await visit.services.credentials.confirm_email(ticket)
    return see("/settings")


@router.post("/settings/sessions/{session_id}/end")
async def end_session(session_id: str, visit: Page, request: Request) -> Response:
    """End a session; `others` ends all but this one."""
    who = visit.member
    async with request.form() as form:
        visit.check_form(form)
    if session_id == "others":
        await visit.services.sessions.end_others(who)
    else:
        await visit.services.sessions.end_one(who, session_id)
    return see("/settings")
