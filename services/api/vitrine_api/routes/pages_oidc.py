"""Pages: logging in by a provider, and connecting its account with one that is there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import RedirectResponse, Response

from vitrine_api import views
from vitrine_api.dependencies import address_of
from vitrine_api.oidc import ATTEMPT_COOKIE, ATTEMPT_SECONDS, Attempt
from vitrine_api.pages import Page, Visit, local_url, see, set_cookie
from vitrine_api.routes.pages_accounts import logged_in, settings_view
from vitrine_common.errors import Denied, NotFound, VitrineError

router = APIRouter(include_in_schema=False)

_COOKIE_PATH = "/"
"""Read by the callback and by the page that leads to the provider."""
Short = Annotated[str, Query(max_length=500)]


@dataclass(frozen=True)
class Answer:
    """What the provider sent along with the browser (RFC 6749, 4.1.2; RFC 9207)."""

    state: Short = ""
    code: Annotated[str, Query(max_length=4000)] = ""
    iss: Short = ""
    error: Short = ""


def _check_there(visit: Visit) -> None:
    if not visit.services.provider.issuer:
        raise NotFound("nobody logs in by a provider here")


def _keep(visit: Visit, response: Response, attempt: Attempt) -> Response:
    set_cookie(response, visit.services, ATTEMPT_COOKIE, attempt.cookie, ATTEMPT_SECONDS, path=_COOKIE_PATH)
    return response


@router.get("/login/oidc")
async def begin(visit: Page, request: Request, next: Short = "/") -> Response:  # noqa: A002 - the query's key
    """Send the browser to the provider."""
    _check_there(visit)
    attempt = Attempt.begin("login", local_url(next))
    try:
        visit.services.logins.take_address(address_of(request))
        url = await visit.services.provider.authorization_url(attempt)
    except VitrineError as error:
        return visit.page(views.Login(next_url=attempt.next_url, problem=error.message), error.status)
    return _keep(visit, RedirectResponse(url, 303), attempt)


@router.get("/login/oidc/callback")
async def answered(visit: Page, request: Request, answer: Annotated[Answer, Depends()]) -> Response:
    """Take the provider's answer: log in, or connect the account."""
    _check_there(visit)
    attempt = Attempt.read(request.cookies.get(ATTEMPT_COOKIE, ""))
    try:
        visit.services.logins.take_address(address_of(request))
        if attempt is None or not attempt.is_answered_by(answer.state):
            raise Denied("this login was begun in another browser, or too long ago; log in again")
        if answer.error or not answer.code:
            why = answer.error or "no code came"
            raise Denied(f"{visit.services.provider.name} did not log you in: {why}")
        response = await _taken(visit, attempt, answer)
    except VitrineError as refused:
        response = await _refused(visit, attempt, refused)
    response.delete_cookie(ATTEMPT_COOKIE, path=_COOKIE_PATH)
    return response


async def _taken(visit: Visit, attempt: Attempt, answer: Answer) -> Response:
    told = await visit.services.provider.redeem(attempt, answer.code, answer.iss)
    if attempt.purpose == "connect":
        await visit.services.identities.connect(visit.member, told)
        return see("/settings")
    return await logged_in(visit, await visit.services.identities.log_in(told), local_url(attempt.next_url))


async def _refused(visit: Visit, attempt: Attempt | None, error: VitrineError) -> Response:
    if visit.by is not None and attempt is not None and attempt.purpose == "connect":
        notice = views.Notice(text=error.message, tone="bad")
        return visit.page(await settings_view(visit), error.status, notice=notice)
    next_url = local_url(attempt.next_url) if attempt else "/"
    return visit.page(views.Login(next_url=next_url, problem=error.message), error.status)


@router.post("/settings/identities")
async def connect(visit: Page, request: Request) -> Response:
    """Begin to connect the provider's account with this one."""
    _ = visit.member
    async with request.form() as form:
        visit.check_form(form)
    _check_there(visit)
    # Not to the provider at once: a form of these pages may lead to no other site.
    return _keep(visit, see("/settings/identities/go"), Attempt.begin("connect", "/settings"))


@router.get("/settings/identities/go")
async def go_on(visit: Page, request: Request) -> Response:
    """Lead to the provider."""
    _ = visit.member
    _check_there(visit)
    attempt = Attempt.read(request.cookies.get(ATTEMPT_COOKIE, ""))
    if attempt is None or attempt.purpose != "connect":
        return see("/settings")
    return visit.page(views.GoOn(url=await visit.services.provider.authorization_url(attempt)))


@router.post("/settings/identities/{identity_id}/remove")
async def remove(identity_id: str, visit: Page, request: Request) -> Response:
    """Let the provider's account log in no more."""
    who = visit.member
    async with request.form() as form:
        visit.check_form(form)
    await visit.services.identities.remove(who, identity_id)
    return see("/settings")
