"""What an account logs in with: forgotten passwords, changes, sessions."""

from __future__ import annotations

from datetime import datetime

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from vitrine_api.dependencies import App, Who, address_of
from vitrine_api.resources import Listed
from vitrine_api.routes.accounts import Short, Strict
from vitrine_api.sessions import OpenSession

router = APIRouter(prefix="/api/v1", tags=["accounts"])


class ForgottenIn(Strict):
    """Whose password is forgotten."""

    email: Short


class ResetIn(Strict):
    """A new password."""

    password: str = Field(max_length=1000)
    revoke_tokens: bool = False


class PasswordIn(Strict):
    """A new password, and the present one."""

    current: str = Field(max_length=1000)
    password: str = Field(max_length=1000)


class EmailIn(Strict):
    """A new address, and the present password."""

    email: Short
    password: str = Field(max_length=1000)


class SessionOut(BaseModel):
    """A web login; the id opens nothing."""

    id: str
    label: str
    created_at: datetime
    expires_at: datetime
    current: bool


def session_out(session: OpenSession) -> SessionOut:
    """Describe a web login."""
    return SessionOut.model_validate(session, from_attributes=True)


@router.post("/password-resets", status_code=202)
async def forgot(body: ForgottenIn, request: Request, app: App) -> None:
    """Mail a ticket for a new password; the answer is the same whether the address has an account."""
    app.logins.take_address(address_of(request))
    await app.credentials.forgot(body.email)


@router.post("/password-resets/{ticket}", status_code=204)
async def reset(ticket: str, body: ResetIn, request: Request, app: App) -> None:
    """Set a new password by a mailed ticket, once; every session ends."""
    app.logins.take_address(address_of(request))
    await app.credentials.reset(ticket, body.password, drop_tokens=body.revoke_tokens)


@router.put("/account/password", status_code=204)
async def change_password(body: PasswordIn, who: Who, app: App) -> None:
    """Change the password; every session but this one ends."""
    await app.credentials.change_password(who, body.current, body.password)


@router.post("/account/email", status_code=202)
async def change_email(body: EmailIn, who: Who, app: App) -> None:
    """Mail a ticket to a new address, which the account has as soon as the ticket is used."""
    await app.credentials.ask_email(who, body.email, body.password)


@router.get("/account/sessions")
async def sessions(who: Who, app: App) -> Listed[SessionOut]:
    """List where one is logged in by a browser."""
    return Listed(items=[session_out(item) for item in await app.sessions.of(who)])


@router.delete("/account/sessions/{session_id}", status_code=204)
async def end_session(session_id: str, who: Who, app: App) -> None:
    """End a web login at once."""
    await app.sessions.end_one(who, session_id)
