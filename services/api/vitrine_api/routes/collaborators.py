"""Who works on a model beside its owner; roles and quotas by operators."""

from __future__ import annotations

from datetime import datetime

from fastapi import APIRouter
from pydantic import BaseModel, Field

from vitrine_api.dependencies import App, Who
from vitrine_api.descriptions import invite_out
from vitrine_api.durations import parse_lifetime
from vitrine_api.resources import InviteOut, Listed
from vitrine_api.routes.accounts import Short, Strict
from vitrine_common.documents import Collaborator, Role, User

router = APIRouter(prefix="/api/v1", tags=["accounts"])


class CollaboratorOut(BaseModel):
    """Somebody who works on a model."""

    model: str
    name: str
    created_at: datetime


class AskIn(Strict):
    """A wish for a collaborator."""

    email: Short | None = None
    expires: str = Field(default="7d", max_length=20)
    send: bool = False


class CodeIn(Strict):
    """An invite's code."""

    code: Short


class RolesIn(Strict):
    """All roles that an account is to have."""

    roles: list[Role]
    operator: bool | None = None


class QuotasIn(Strict):
    """An account's own quotas; null means the instance's."""

    max_storage_bytes: int | None = Field(default=None, ge=0, le=1 << 60)
    max_runs_per_day: int | None = Field(default=None, ge=0, le=1 << 40)
    max_build_seconds_per_day: int | None = Field(default=None, ge=0, le=1 << 40)


class RolesOut(BaseModel):
    """What an account is on the instance, and its own quotas."""

    name: str
    operator: bool
    roles: list[str]
    max_storage_bytes: int | None
    max_runs_per_day: int | None
    max_build_seconds_per_day: int | None


def collaborator_out(found: Collaborator) -> CollaboratorOut:
    """Describe a collaborator."""
    return CollaboratorOut(model=found.model, name=found.name, created_at=found.created_at)


def _roles_out(user: User) -> RolesOut:
    return RolesOut.model_validate(user.model_dump(include=set(RolesOut.model_fields)))


@router.get("/collaborations")
async def collaborations(who: Who, app: App) -> Listed[CollaboratorOut]:
    """List the models of others that one works on."""
    return Listed(items=[collaborator_out(item) for item in await app.collaborators.works_on(who)])


@router.get("/models/{owner}/{name}/collaborators")
async def collaborators(owner: str, name: str, who: Who, app: App) -> Listed[CollaboratorOut]:
    """List who works on a model."""
    found = await app.models.model(who, owner, name)
    return Listed(items=[collaborator_out(item) for item in await app.collaborators.of(who, found)])


@router.post("/models/{owner}/{name}/collaborators", status_code=201)
async def ask(owner: str, name: str, body: AskIn, who: Who, app: App) -> InviteOut:
    """Invite somebody to work on a model; the code is shown this once, or mailed."""
    found = await app.models.model(who, owner, name)
    lifetime = parse_lifetime(body.expires)
    invite, code = await app.invites.create(who, body.email, lifetime, model=found, send=body.send)
    return invite_out(invite, code, app.invites.url(invite, code))


@router.delete("/models/{owner}/{name}/collaborators/{user}", status_code=204)
async def remove(owner: str, name: str, user: str, who: Who, app: App) -> None:
    """Let a collaborator go; collaborators may go themselves."""
    await app.collaborators.remove(who, await app.models.model(who, owner, name), user)


@router.post("/invites/accept")
async def accept(body: CodeIn, who: Who, app: App) -> InviteOut:
    """Take an invite to a model."""
    return invite_out(await app.invites.accept(who, body.code))


@router.get("/users/{user}/roles")
async def roles(user: str, who: Who, app: App) -> RolesOut:
    """Show an account's roles and quotas (operators)."""
    return _roles_out(await app.roles.user(who, user))


@router.put("/users/{user}/roles")
async def set_roles(user: str, body: RolesIn, who: Who, app: App) -> RolesOut:
    """Give an account exactly these roles (operators)."""
    return _roles_out(await app.roles.set(who, user, body.roles, operator=body.operator))


@router.put("/users/{user}/quotas")
async def set_quotas(user: str, body: QuotasIn, who: Who, app: App) -> RolesOut:
    """Give an account quotas of its own (operators)."""
    return _roles_out(await app.roles.set_quotas(who, user, body.model_dump()))
