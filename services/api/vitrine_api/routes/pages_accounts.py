"""Pages: front page, login, sign-up, settings."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from vitrine_api import views
from vitrine_api.credentials import new_secret
from vitrine_api.dependencies import SESSION_COOKIE, address_of
from vitrine_api.durations import parse_lifetime
from vitrine_api.forms import text_of, texts_of
from vitrine_api.login_limits import DEVICE_SECONDS
from vitrine_api.pages import GUEST_COOKIE, Page, Visit, field_problems, local_url, see, set_cookie
from vitrine_api.policy import ALL_SCOPES
from vitrine_api.presenters.accounts import (
    collaboration_row,
    device_label,
    identity_row,
    quota_row,
    session_row,
)
from vitrine_api.presenters.links import exhibits, invite_row, token_row
from vitrine_api.routes.pages_dashboard import dashboard_page
from vitrine_common.clock import utcnow
from vitrine_common.documents import User
from vitrine_common.errors import Conflict, Denied, Gone, Invalid, TooMany, Unauthenticated, VitrineError

router = APIRouter(include_in_schema=False)

DEVICE_COOKIE = "vitrine_device"
Next = Annotated[str, Query(max_length=500)]


@router.get("/")
async def front(visit: Page) -> Response:
    """Show one's models, or what this is."""
    if visit.by:
        return await dashboard_page(visit)
    links = await visit.services.links.listed()
    shown = exhibits(links, await visit.services.links.versions_of(links))
    return visit.page(views.Landing(models=shown))


@router.get("/login")
async def login_form(visit: Page, next: Next = "/") -> Response:  # noqa: A002 - the name of the query's key
    """Show the login form."""
    return see(local_url(next)) if visit.by else visit.page(views.Login(next_url=local_url(next)))


@router.post("/login")
async def login(visit: Page, request: Request) -> Response:
    """Open a session."""
    async with request.form() as form:
        visit.check_form(form)
        email, password, wanted = (text_of(form, name) for name in ("email", "password", "next"))
    try:
        device = request.cookies.get(DEVICE_COOKIE)
        await visit.services.logins.take(address_of(request), email, device)
        user = await visit.services.registry.authenticate(email, password)
    except (Unauthenticated, TooMany) as error:
        view = views.Login(email=email, next_url=local_url(wanted), problem=error.message)
        return visit.page(view, error.status)
    return await logged_in(visit, user, local_url(wanted))


async def logged_in(visit: Visit, user: User, url: str) -> Response:
    """Open a session in this browser and go to `url`."""
    response = see(url)
    label = device_label(visit.request.headers.get("user-agent", ""))
    secret = await visit.services.sessions.open(user, label)
    device = await visit.services.logins.remember(user, visit.request.cookies.get(DEVICE_COOKIE))
    set_cookie(response, visit.services, DEVICE_COOKIE, device, DEVICE_SECONDS, path="/login")
    set_cookie(response, visit.services, SESSION_COOKIE, secret, visit.services.sessions.seconds)
    # What a form token was bound to before the login is worth nothing after it.
    set_cookie(response, visit.services, GUEST_COOKIE, new_secret(128), visit.services.sessions.seconds)
    return response


@router.post("/logout")
async def logout(visit: Page, request: Request) -> Response:
    """End the session."""
    async with request.form() as form:
        visit.check_form(form)
    if visit.by is not None and visit.by.session is not None:
        await visit.services.sessions.end(visit.by.session)
    response = see("/login")
    response.delete_cookie(SESSION_COOKIE, path="/")
    return response


@router.get("/signup")
async def signup_form(visit: Page, invite: Annotated[str, Query(max_length=200)] = "") -> Response:
    """Show the form for an account by an invite."""
    return visit.page(views.Signup(invite=invite))


@router.post("/signup")
async def signup(visit: Page, request: Request) -> Response:
    """Make an account and open its first session."""
    async with request.form() as form:
        visit.check_form(form)
        code, name, email, password = (
            text_of(form, field) for field in ("invite", "name", "email", "password")
        )
    try:
        visit.services.logins.take_address(address_of(request))
        user = await visit.services.registry.sign_up(code, email, name, password)
    except (Invalid, Gone, Conflict, Denied, TooMany) as error:
        problems = field_problems(error.problems) or (views.FieldProblem(field="", message=error.message),)
        view = views.Signup(invite=code, name=name, email=email, problems=problems)
        return visit.page(view, error.status)
    return await logged_in(visit, user, "/")


@router.get("/settings")
async def settings(visit: Page) -> Response:
    """Show tokens and invites."""
    return visit.page(await settings_view(visit))


async def settings_view(
    visit: Visit, token: str | None = None, invite_url: str | None = None, error: VitrineError | None = None
) -> views.Settings:
    """Return the settings page, with what was just made, or what was wrong with a form."""
    who = visit.member
    tokens = await visit.services.tokens.page(who, 100, None)
    services = visit.services
    invites = await services.invites.page(who, 100, None)
    return views.Settings(
        tokens=tuple(token_row(item) for item in tokens.items),
        scopes=ALL_SCOPES,
        new_token=token,
        invites=tuple(invite_row(item) for item in invites.items),
        can_invite=who.user.operator,
        new_invite_url=invite_url,
        sessions=tuple(session_row(item) for item in await services.sessions.of(who)),
        identities=tuple(identity_row(item) for item in await services.identities.of(who)),
        has_password=bool(who.user.password_hash),
        works_on=tuple(collaboration_row(item) for item in await services.collaborators.works_on(who)),
        quotas=tuple(quota_row(item) for item in await services.quotas.of(who.id)),
        roles=tuple(who.user.roles),
        problems=field_problems(error.problems) if error else (),
    )


@router.post("/settings/tokens")
async def create_token(visit: Page, request: Request) -> Response:
    """Make a token and show it this once."""
    who = visit.member
    async with request.form() as form:
        visit.check_form(form)
        label, days, wanted = text_of(form, "name"), text_of(form, "expires_days"), texts_of(form, "scope")
    try:
        expires_at = utcnow() + parse_lifetime(f"{days}d", "expires_days") if days else None
        scopes = [scope for scope in ALL_SCOPES if scope in wanted] or list(ALL_SCOPES)
        _, secret = await visit.services.tokens.create(who, label[:200] or "token", scopes, expires_at)
    except Invalid as error:
        return visit.page(await settings_view(visit, error=error), error.status)
    return visit.page(await settings_view(visit, token=secret), 201)


@router.post("/settings/tokens/{token_id}/revoke")
async def revoke_token(token_id: str, visit: Page, request: Request) -> Response:
    """Revoke a token at once."""
    who = visit.member
    async with request.form() as form:
        visit.check_form(form)
    await visit.services.tokens.revoke(who, token_id)
    return see("/settings")


@router.post("/settings/invites")
async def create_invite(visit: Page, request: Request) -> Response:
    """Make an invite (operators) and show its address this once."""
    who = visit.member
    async with request.form() as form:
        visit.check_form(form)
        email, send = text_of(form, "email").strip(), bool(text_of(form, "send"))
    invites = visit.services.invites
    try:
        invite, code = await invites.create(who, email or None, parse_lifetime("7d"), send=send)
    except Invalid as error:
        return visit.page(await settings_view(visit, error=error), error.status)
    return visit.page(await settings_view(visit, invite_url=invites.url(invite, code)), 201)
