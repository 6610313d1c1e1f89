"""Pages: who looks, cookies and form tokens, HTML answers, errors as pages.

A browser without a login carries a guest cookie instead of the session's; every form carries a token
bound to whichever of them is there.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import quote, urlsplit

from fastapi import Depends, Request
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, RedirectResponse, Response

from vitrine_api import views
from vitrine_api.credentials import form_token, is_form_token, new_secret
from vitrine_api.dependencies import CSRF_HEADER, SESSION_COOKIE, services_of
from vitrine_api.errors import (
    Forged,
    as_vitrine_error,
    headers_of,
    message_of,
    problem_response,
    problems_of,
    status_of,
)
from vitrine_api.link_states import LinkLocked, LinkPaused
from vitrine_api.policy import Member
from vitrine_api.rendering import embed_policy
from vitrine_api.services import Services
from vitrine_api.views.showcase import LinkEnd
from vitrine_common.clock import utcnow
from vitrine_common.errors import Problem, Unauthenticated, VitrineError
from vitrine_common.telemetry import correlation_id

log = logging.getLogger(__name__)

GUEST_COOKIE = "vitrine_guest"
FORM_FIELD = "csrf_token"
_LINK_API = re.compile(r"/s/[^/]+/v1/")
_GUEST_SECONDS = 30 * 24 * 3600


@dataclass
class Visit:
    """One request for a page."""

    request: Request
    services: Services
    by: Member | None
    cookie: str
    """The secret that form tokens are bound to: the session's, else the guest's."""
    is_new_guest: bool = False
    unread: int = 0
    """Notifications that the account has not read."""

    @property
    def member(self) -> Member:
        """The account that is logged in. Raises Unauthenticated, which leads to the login page."""
        if self.by is None:
            raise Unauthenticated("log in first")
        return self.by

    @property
    def by_script(self) -> bool:
        """Whether htmx asks, and a fragment is the answer."""
        return self.request.headers.get("hx-request") == "true"

    def check_form(self, form: FormData) -> None:
        """Raise Forged unless the form was made by a page of this browser."""
        given = form.get(FORM_FIELD) or self.request.headers.get(CSRF_HEADER)
        if not isinstance(given, str) or not is_form_token(given, self.cookie):
            raise Forged("this form is out of date; reload the page and send it again")

    def render(self, view: views.View, notice: views.Notice | None = None) -> str:
        """Return the HTML of a view for this visit."""
        return views.render(view, self._context(notice))

    def page(self, view: views.View, status: int = 200, notice: views.Notice | None = None) -> HTMLResponse:
        """Return a view as the answer."""
        response = HTMLResponse(self.render(view, notice), status)
        self.keep_guest(response)
        return response

    def keep_guest(self, response: Response) -> None:
        """Hand a new guest their cookie."""
        if self.is_new_guest:
            set_cookie(response, self.services, GUEST_COOKIE, self.cookie, _GUEST_SECONDS)

    def _context(self, notice: views.Notice | None) -> views.RequestContext:
        account = None
        if self.by is not None:
            user = self.by.user
            account = views.Account(name=user.name, email=user.email, is_admin=user.operator)
        return views.RequestContext(
            now=utcnow(),
            csrf_token=form_token(self.cookie),
            account=account,
            path=self.request.url.path,
            notice=notice,
            unread=self.unread,
            signup_open=self.services.settings.signup == "open",
            provider=self.services.provider.name,
        )


async def visit_of(request: Request) -> Visit:
    """Return the visit that a request is. Only cookies count: a page is not for programs with tokens."""
    services = services_of(request)
    session = request.cookies.get(SESSION_COOKIE)
    by = await services.sessions.member(session) if session else None
    if by is not None and session is not None:
        # What answers a script has no header to show it in.
        by_script = request.headers.get("hx-request") == "true"
        unread = 0 if by_script else await services.notices.unread(by)
        return Visit(request, services, by, session, unread=unread)
    guest = request.cookies.get(GUEST_COOKIE)
    return Visit(request, services, None, guest or new_secret(128), is_new_guest=guest is None)


Page = Annotated[Visit, Depends(visit_of)]


def set_cookie(
    response: Response, services: Services, name: str, value: str, seconds: int, *, path: str = "/"
) -> None:
    """Set a cookie that scripts cannot read and other sites cannot send with a form."""
    response.set_cookie(
        name,
        value,
        max_age=seconds,
        path=path,
        httponly=True,
        samesite="lax",
        secure=services.settings.secure_cookies,
    )


def see(url: str) -> RedirectResponse:
    """Return a redirection to `url` by GET."""
    return RedirectResponse(url, 303)


def local_url(url: str) -> str:
    """Return `url` if it leads to a page of this server, else the front page."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "/"
    is_local = (
        url.startswith("/") and not url.startswith(("//", "/\\")) and not parts.netloc and not parts.scheme
    )
    return url if is_local and url.isprintable() else "/"


def field_problems(problems: tuple[Problem, ...] | list[Problem]) -> tuple[views.FieldProblem, ...]:
    """Return problems as views take them."""
    return tuple(views.FieldProblem(field=item.field, message=item.message) for item in problems)


def wants_page(request: Request) -> bool:
    """Tell whether a person looks, rather than a program."""
    path = request.url.path
    return not path.startswith(("/api/", "/v1/", "/healthz")) and not _LINK_API.match(path)


async def error_response(request: Request, error: Exception) -> Response:
    """Return `error` as problem details to programs, as a page or a fragment to people."""
    if not wants_page(request):
        return problem_response(error)
    known = as_vitrine_error(error)
    visit = await _visit_or_stranger(request)
    if isinstance(known, Unauthenticated) and request.method == "GET" and not visit.by_script:
        return see(f"/login?next={quote(request.url.path)}")
    status = status_of(known)
    if request.url.path.startswith(("/s/", "/e/")) and not visit.by_script:
        if isinstance(known, LinkLocked):
            token, embedded = request.url.path.split("/")[2], request.url.path.startswith("/e/")
            gate = views.LinkGate(token=token, ways=known.ways, embedded=embedded)
            return framed(request, visit.page(gate, status))
        if request.method == "GET" and (status in {404, 410} or isinstance(known, LinkPaused)):
            return framed(request, visit.page(views.LinkUnavailable(end=_end_of(known)), status))
    kind = views.ErrorNotice if visit.by_script else views.ErrorPage
    headers = headers_of(known)
    after = headers.get("Retry-After")
    view = kind(
        status=status,
        message=message_of(known),
        problems=field_problems(tuple(problems_of(known))),
        back_url=_back(request),
        request_id=correlation_id() or "",
        retry_after=float(after) if after else None,
    )
    response = visit.page(view, status)
    response.headers.update(headers)
    return framed(request, response)


async def _visit_or_stranger(request: Request) -> Visit:
    if request.url.path.startswith("/e/"):  # no account counts in a frame, and no cookie is set
        return Visit(request, services_of(request), None, new_secret(128))
    try:
        return await visit_of(request)
    except VitrineError:  # the database is away: the error page must not need it
        return Visit(request, services_of(request), None, new_secret(128))


def framed(request: Request, response: Response, origins: Sequence[str] = ("*",)) -> Response:
    """Let pages of `origins` frame an answer below `/e/`; without them any: for answers that show nothing."""
    if request.url.path.startswith("/e/"):
        response.headers["Content-Security-Policy"] = embed_policy(origins)
    return response


def _end_of(error: VitrineError | HTTPException) -> LinkEnd:
    if status_of(error) == 404:
        return "unknown"
    if isinstance(error, LinkPaused):
        return "paused"
    return "revoked" if "revoked" in message_of(error) else "expired"


def _back(request: Request) -> str:
    parts = request.url.path.split("/")
    if len(parts) > 3 and parts[1] == "e":
        return "/".join(parts[:4])
    return f"/s/{parts[2]}" if len(parts) > 2 and parts[1] == "s" else "/"
