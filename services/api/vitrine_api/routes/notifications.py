"""What an account was told, and what of it is mailed."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, Field

from vitrine_api.dependencies import App, Pages, Who
from vitrine_api.resources import Listed
from vitrine_api.routes.accounts import Short, Strict
from vitrine_common.documents import Notification

router = APIRouter(prefix="/api/v1", tags=["notifications"])


class NotificationOut(BaseModel):
    """Something that an account was told; `path` is that of the page that shows more."""

    id: str
    kind: str
    title: str
    text: str
    path: str
    unread: bool
    created_at: datetime


class MailWishes(BaseModel):
    """By kind of news, whether it is mailed."""

    mail: dict[str, bool]


class MailWishesIn(Strict):
    """The kinds of news that shall be mailed; no other is."""

    kinds: Annotated[list[Short], Field(max_length=100)]


def _out(notification: Notification) -> NotificationOut:
    return NotificationOut(
        id=notification.id,
        kind=notification.kind,
        title=notification.title,
        text=notification.text,
        path=notification.path,
        unread=bool(notification.unread),
        created_at=notification.created_at,
    )


@router.get("/notifications")
async def notifications(who: Who, app: App, paging: Pages) -> Listed[NotificationOut]:
    """List what one was told, newest first."""
    page = await app.notices.page(who, paging.limit, paging.after)
    return Listed(items=[_out(item) for item in page.items], next=page.next)


@router.post("/notifications/read", status_code=204)
async def read_all(who: Who, app: App) -> None:
    """Mark all as read."""
    await app.notices.read_all(who)


@router.post("/notifications/{notification_id}/read", status_code=204)
async def read(notification_id: str, who: Who, app: App) -> None:
    """Mark one as read."""
    await app.notices.read(who, notification_id)


@router.get("/notifications/mail")
async def mail_wishes(who: Who, app: App) -> MailWishes:
    """Say what is mailed."""
    return MailWishes(mail=dict(await app.wishes.of(who)))


@router.put("/notifications/mail")
async def choose_mail(body: MailWishesIn, who: Who, app: App) -> MailWishes:
    """Choose what is mailed."""
    await app.wishes.choose(who, body.kinds)
    return MailWishes(mail=dict(await app.wishes.of(who)))
