"""The instance, for operators and their programs."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path
from pydantic import BaseModel

from vitrine_api.dead_letters import DeadLetter
from vitrine_api.dependencies import App, Pages, Who
from vitrine_api.instance import InstanceHealth, Queue, SettingInEffect, StorageUse
from vitrine_api.policy import Action, require
from vitrine_api.resources import Listed
from vitrine_api.runners import FleetState

router = APIRouter(prefix="/api/v1/operator", tags=["operator"])

Number = Annotated[int, Path(ge=1, lt=2**63, description="Number of a dead letter.")]


class DeadLetterOut(BaseModel):
    """A message that nobody could handle; `about` are the ids and digests in it."""

    number: int
    subject: str
    reason: str
    at: datetime
    size: int
    message_id: str
    kind: str
    correlation_id: str
    about: dict[str, str]


class UserOut(BaseModel):
    """An account, as operators see it."""

    id: str
    name: str
    email: str
    operator: bool
    roles: list[str]
    created_at: datetime
    quotas: dict[str, dict[str, Any]]


class MailOut(BaseModel):
    """A mail in the folder of an instance without a mail server."""

    name: str
    to: str
    subject: str
    written_at: datetime
    text: str


def letter_out(letter: DeadLetter) -> DeadLetterOut:
    """Describe a dead letter."""
    return DeadLetterOut.model_validate(letter, from_attributes=True)


@router.get("/health")
async def health(who: Who, app: App) -> InstanceHealth:
    """Say which processes and servers answer, and what keeps sandboxes apart."""
    return await app.instance.health(who)


@router.get("/runners")
async def runners(who: Who, app: App) -> FleetState:
    """Say what every runner has at work, and what waits for them."""
    return await app.runners.state(who)


@router.get("/queues")
async def queues(who: Who, app: App) -> list[Queue]:
    """Say what waits."""
    return await app.instance.queues(who)


@router.get("/storage")
async def storage(who: Who, app: App) -> StorageUse:
    """Say what is stored; counted anew at most once a minute."""
    return await app.instance.storage(who)


@router.get("/settings")
async def settings(who: Who, app: App) -> list[SettingInEffect]:
    """List the settings in effect, secrets masked."""
    return app.instance.settings(who)


@router.get("/users")
async def users(who: Who, app: App, paging: Pages) -> Listed[UserOut]:
    """List accounts with their roles and quotas, the newest first."""
    page = await app.user_list.page(who, min(paging.limit, 50), paging.after)
    items = [
        UserOut(
            id=one.user.id,
            name=one.user.name,
            email=one.user.email,
            operator=one.user.operator,
            roles=list(one.user.roles),
            created_at=one.user.created_at,
            quotas={use.name: {"used": use.used, "limit": use.limit, "unit": use.unit} for use in one.quotas},
        )
        for one in page.items
    ]
    return Listed(items=items, next=page.next)


@router.get("/mails")
async def mails(who: Who, app: App) -> list[MailOut]:
    """List the newest mails of the folder; none where there is a mail server."""
    require(who, Action.OPERATE, None)
    return [MailOut.model_validate(mail, from_attributes=True) for mail in await app.folder_mails()]


@router.get("/dead-letters")
async def dead_letters(who: Who, app: App, paging: Pages) -> Listed[DeadLetterOut]:
    """List messages that nobody could handle, the oldest first."""
    page = await app.dead_letters.page(who, paging.limit, paging.after)
    return Listed(items=[letter_out(letter) for letter in page.items], next=page.next)


@router.get("/dead-letters/{number}")
async def dead_letter(number: Number, who: Who, app: App) -> DeadLetterOut:
    """Show a dead letter."""
    return letter_out(await app.dead_letters.get(who, number))


@router.post("/dead-letters/{number}/replay")
async def replay(number: Number, who: Who, app: App) -> DeadLetterOut:
    """Send a dead letter's message again, once."""
    return letter_out(await app.dead_letters.replay(who, number))


@router.delete("/dead-letters/{number}", status_code=204)
async def drop(number: Number, who: Who, app: App) -> None:
    """Forget a dead letter for good."""
    await app.dead_letters.drop(who, number)
