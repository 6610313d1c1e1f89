"""Telling an account something: on its page, by e-mail when it wants that, and to its webhooks."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from vitrine_api.notifications.kinds import KINDS, Kind
from vitrine_api.notifications.mailing import Mailing
from vitrine_api.notifications.repository import NotificationRepository
from vitrine_api.policy import Action, Member, require
from vitrine_api.repository import Page, page_of
from vitrine_api.webhooks.delivering import Delivering, message_body
from vitrine_api.webhooks.repository import WebhookRepository
from vitrine_common.clock import utcnow
from vitrine_common.documents import Notification, Webhook

KEPT = timedelta(days=90)


@dataclass(frozen=True, kw_only=True)
class News:
    """Something to tell an account.

    Attributes:
        user_id: whom.
        kind: a name of `KINDS`.
        key: what it is about; the same news under the same key are told once, ever.
        title: one sentence, without a full stop.
        text: what else there is to say, plain text.
        path: of the page that shows more.
        data: what webhooks receive beside the title: ids, references and numbers.
    """

    user_id: str
    kind: str
    key: str
    title: str
    text: str = ""
    path: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)


class Notices:
    """Tells accounts, and shows them what they were told.

    Args:
        repository: where notifications are kept.
        mailing: writes the e-mail.
        hooks: the webhooks that listen.
        delivering: sends to them.
        base_url: how people reach the platform.
    """

    def __init__(
        self,
        repository: NotificationRepository,
        mailing: Mailing,
        hooks: WebhookRepository,
        delivering: Delivering,
        base_url: str,
    ) -> None:
        self.repository = repository
        self._mailing = mailing
        self._hooks = hooks
        self._delivering = delivering
        self._base_url = base_url

    async def tell(self, news: News) -> None:
        """Tell an account something. Calling it again changes nothing, so a handler may be repeated."""
        kind = KINDS[news.kind]
        digest = hashlib.sha256(f"{news.user_id}\n{news.kind}\n{news.key}".encode()).hexdigest()[:32]
        # First the webhooks: were this cut short after the notification, they would never be told.
        await self._tell_webhooks(news, digest)
        if not kind.page:
            return
        wanted = await self._mailing.wanted(news.user_id, kind)
        added = await self.repository.add(
            Notification(
                id=f"news_{digest}",
                user_id=news.user_id,
                kind=news.kind,
                title=news.title,
                text=news.text,
                path=news.path,
                mailing="due" if wanted else "none",
                mail_due_at=utcnow(),
            )
        )
        if added and wanted:
            self._mailing.wake()

    async def _tell_webhooks(self, news: News, digest: str) -> None:
        listening = await self._hooks.listening(news.user_id, news.kind)
        if not listening:
            return
        url = f"{self._base_url}{news.path}" if news.path else None
        body = message_body(news.kind, utcnow(), {"title": news.title, "url": url, **news.data})
        for hook in listening:
            await self._delivering.queue(hook, news.kind, body, f"delivery_{digest}{hook.id[-16:]}")

    async def page(self, member: Member, limit: int, after: str | None) -> Page[Notification]:
        """Return what the account was told, newest first."""
        require(member, Action.SEE, None)
        return await page_of(self.repository.notifications, {"user_id": member.id}, limit, after)

    async def unread(self, member: Member) -> int:
        """Return how many the account has not read, up to a hundred."""
        return await self.repository.unread(member.id)

    async def read(self, member: Member, notification_id: str) -> Notification:
        """Mark one as read and return it. Raises NotFound."""
        notification = await self.repository.notifications.get(notification_id)
        require(member, Action.SEE, notification)
        await self.repository.mark_read(member.id, notification_id)
        return notification

    async def read_all(self, member: Member) -> None:
        """Mark all as read."""
        require(member, Action.SEE, None)
        await self.repository.mark_read(member.id)

    async def webhook_switched_off(self, hook: Webhook) -> None:
        """Tell an account that a webhook of its is told no more."""
        await self.tell(
            News(
                user_id=hook.user_id,
                kind="webhook.switched_off",
                key=f"{hook.id}:{utcnow():%Y-%m-%d}",
                title=f"The webhook {hook.url[:200]} was switched off",
                text="It took no message for a day. Repair it, switch it on and send again what it missed.",
                path=f"/settings/webhooks/{hook.id}",
                data={"webhook_id": hook.id},
            )
        )

    async def sweep(self) -> None:
        """Delete what was told long ago."""
        await self.repository.sweep(utcnow() - KEPT)


def kinds_by_mail() -> list[Kind]:
    """Return the kinds that an account may have by e-mail."""
    return [kind for kind in KINDS.values() if kind.page]
