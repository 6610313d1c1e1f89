"""Logging in, tokens, invites, sign-up."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from vitrine_api.dependencies import App, Pages, Who, address_of
from vitrine_api.descriptions import (
    invite_out,
    quota_out,
    token_out,
)
from vitrine_api.durations import parse_lifetime
from vitrine_api.policy import ALL_SCOPES
from vitrine_api.resources import (
    AccountOut,
    InviteOut,
    Listed,
    TokenOut,
)
from vitrine_common.clock import after, utcnow
from vitrine_common.documents import Role, Scope

router = APIRouter(prefix="/api/v1", tags=["accounts"])

DEVICE_HEADER = "x-vitrine-device"
Short = Annotated[str, Field(max_length=200)]


class Strict(BaseModel):
    """A body without unknown keys."""

    model_config = ConfigDict(extra="forbid")


class LoginIn(Strict):
    """Credentials."""

    email: Short
    password: Short
    label: Short = "command line"


class LoginOut(BaseModel):
    """A new token."""

    token: str
    token_id: str
    email: str
    name: str
    operator: bool
    expires_at: str | None


class TokenIn(Strict):
    """A wish for a token."""

    label: Short
    scopes: list[Scope] = Field(default=list(ALL_SCOPES), min_length=1)
    expires: str | None = Field(default="90d", max_length=20)


class InviteIn(Strict):
    """A wish for an invite."""

    email: Short | None = None
    expires: str = Field(default="7d", max_length=20)
    roles: list[Role] = []
    send: bool = False


class SignupIn(Strict):
    """A wish for an account; `code` may be empty where sign-up is open."""

    code: Short = ""
    email: Short
    name: Short
    password: str = Field(max_length=1000)


class SignupOut(BaseModel):
    """A new account with a token."""

    id: str
    email: str
    name: str
    token: str


@router.post("/login")
async def login(body: LoginIn, request: Request, app: App) -> LoginOut:
    """Exchange e-mail address (or name) and password for a token."""
    await app.logins.take(address_of(request), body.email, request.headers.get(DEVICE_HEADER))
    user = await app.registry.authenticate(body.email, body.password)
    expires_at = after(app.settings.token_seconds)
    token, secret = await app.tokens.issue(user, body.label, ALL_SCOPES, expires_at)
    return LoginOut(
        token=secret,
        token_id=token.id,
        email=user.email,
        name=user.name,
        operator=user.operator,
        expires_at=expires_at.isoformat(),
    )


@router.post("/logout", status_code=204)
async def logout(who: Who, app: App) -> None:
    """Revoke the token, or end the session, that this request comes with."""
    if who.token_id is not None:
        await app.tokens.drop(who, who.token_id)
    elif who.session is not None:
        await app.sessions.end(who.session)


@router.get("/whoami")
async def whoami(who: Who, app: App) -> AccountOut:
    """Say who asks."""
    user = who.user
    return AccountOut(
        quotas=[quota_out(item) for item in await app.quotas.of(user.id)],
        id=user.id,
        email=user.email,
        name=user.name,
        operator=user.operator,
        roles=list(user.roles),
        scopes=sorted(who.scopes),
    )


@router.get("/tokens")
async def tokens(who: Who, app: App, paging: Pages) -> Listed[TokenOut]:
    """List one's tokens, without their secrets."""
    page = await app.tokens.page(who, paging.limit, paging.after)
    return Listed(items=[token_out(token) for token in page.items], next=page.next)


@router.post("/tokens", status_code=201)
async def create_token(body: TokenIn, who: Who, app: App) -> TokenOut:
    """Make a token; its secret is shown this once."""
    expires_at = utcnow() + parse_lifetime(body.expires) if body.expires else None
    token, secret = await app.tokens.create(who, body.label, body.scopes, expires_at)
    return token_out(token, secret)


@router.delete("/tokens/{token_id}", status_code=204)
async def revoke_token(token_id: str, who: Who, app: App) -> None:
    """Revoke a token at once."""
    await app.tokens.revoke(who, token_id)


@router.get("/invites")
async def invites(who: Who, app: App, paging: Pages) -> Listed[InviteOut]:
    """List one's invites; to an operator, everybody's."""
    page = await app.invites.page(who, paging.limit, paging.after)
    return Listed(items=[invite_out(invite) for invite in page.items], next=page.next)


@router.post("/invites", status_code=201)
async def create_invite(body: InviteIn, who: Who, app: App) -> InviteOut:
    """Make an invite to the instance (operators); its code is shown this once."""
    lifetime = parse_lifetime(body.expires)
    invite, code = await app.invites.create(who, body.email, lifetime, roles=body.roles, send=body.send)
    return invite_out(invite, code, app.invites.url(invite, code))


@router.delete("/invites/{invite_id}", status_code=204)
async def withdraw_invite(invite_id: str, who: Who, app: App) -> None:
    """Withdraw an invite."""
    await app.invites.withdraw(who, invite_id)


@router.post("/accounts", status_code=201)
async def sign_up(body: SignupIn, request: Request, app: App) -> SignupOut:
    """Make an account, by an invite unless sign-up is open."""
    app.logins.take_address(address_of(request))
    user = await app.registry.sign_up(body.code, body.email, body.name, body.password)
    expires_at = after(app.settings.token_seconds)
    _, secret = await app.tokens.issue(user, "first login", ALL_SCOPES, expires_at)
    return SignupOut(id=user.id, email=user.email, name=user.name, token=secret)
