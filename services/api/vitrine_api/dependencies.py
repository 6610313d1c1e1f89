"""What routes take as arguments: the use cases, and who is asking."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Header, Path, Query, Request
from fastapi.security import HTTPBearer

from vitrine_api.credentials import is_form_token
from vitrine_api.errors import Forged
from vitrine_api.models import Reference
from vitrine_api.policy import Anonymous, Member, Principal, member
from vitrine_api.services import Services
from vitrine_common.errors import Unauthenticated

SESSION_COOKIE = "vitrine_session"
CSRF_HEADER = "x-csrf-token"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

_bearer = HTTPBearer(auto_error=False, description="A token of `POST /api/v1/login` or `/api/v1/tokens`.")


def services_of(request: Request) -> Services:
    """Return the process's use cases."""
    services: Services = request.app.state.services
    return services


App = Annotated[Services, Depends(services_of)]


async def principal_of(request: Request, services: App, _: Annotated[object, Depends(_bearer)]) -> Principal:
    """Return who asks: by `Authorization: Bearer`, else by the session's cookie.

    A browser sends cookies along with forged requests, too: what changes something then needs the page's
    token in `X-CSRF-Token`. Raises Unauthenticated for a token that does not exist, Forged.
    """
    scheme, _, secret = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and secret:
        found = await services.tokens.member(secret.strip())
        if found is None:
            raise Unauthenticated("this token does not exist, was revoked, or has expired; log in again")
        return found
    cookie = request.cookies.get(SESSION_COOKIE)
    by_session = await services.sessions.member(cookie) if cookie else None
    if by_session is None:
        return Anonymous()
    if request.method not in SAFE_METHODS and not is_form_token(request.headers.get(CSRF_HEADER), cookie):
        raise Forged("the request lacks the page's token; reload the page and try again")
    return by_session


async def member_of(principal: Annotated[Principal, Depends(principal_of)]) -> Member:
    """Return the account that asks. Raises Unauthenticated."""
    return member(principal)


def reference_of(
    owner: Annotated[str, Path(max_length=64)],
    name: Annotated[str, Path(max_length=64)],
    version: Annotated[str, Path(max_length=80)],
) -> Reference:
    """Return the reference of the path `…/{owner}/{name}/{version}`."""
    return Reference(owner, name, version)


def address_of(request: Request) -> str:
    """Return the address that rate limits count by."""
    return request.client.host if request.client else "unknown"


@dataclass(frozen=True)
class Paging:
    """Which part of a list is wanted."""

    limit: Annotated[int, Query(ge=1, le=200)] = 50
    after: Annotated[str | None, Query(max_length=40, description="`next` of the page before.")] = None


Who = Annotated[Member, Depends(member_of)]
Ref = Annotated[Reference, Depends(reference_of)]
Pages = Annotated[Paging, Depends()]
Prefer = Annotated[str | None, Header(max_length=200, description="`wait=N`: wait up to N seconds.")]


def wait_seconds(prefer: str | None, most: float) -> float:
    """Return how long a client would rather wait than ask again (RFC 7240); 0 without such a wish."""
    for wish in (prefer or "").split(","):
        name, _, value = wish.strip().partition("=")
        value = value.strip()
        if name.strip().lower() == "wait" and value.isascii() and value.isdigit():
            return min(float(value[:6]), most)
    return 0.0
