"""E-mail of notifications: at most one of a kind and hour for an account, whatever happens meanwhile."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from vitrine_api.mail_outbox import MailOutbox
from vitrine_api.notifications.kinds import KINDS, Kind
from vitrine_api.notifications.repository import NotificationRepository
from vitrine_api.notifications.wishes import unsubscribe_token, wants_mail
from vitrine_common.clock import utcnow
from vitrine_common.documents import Notification, NotificationWishes
from vitrine_common.ids import first_id

log = logging.getLogger(__name__)

BETWEEN = timedelta(hours=1)
_AT_ONCE = 500
_LISTED = 20
_LOOK_SECONDS = 60.0


class Mailing:
    """Writes e-mail of notifications.

    Args:
        repository: where notifications are kept.
        outbox: sends what is written.
        base_url: how people reach the platform.
    """

    def __init__(self, repository: NotificationRepository, outbox: MailOutbox, base_url: str) -> None:
        self._repository = repository
        self._outbox = outbox
        self._base_url = base_url
        self._news = asyncio.Event()

    async def wanted(self, user_id: str, kind: Kind) -> bool:
        """Say whether an account has news of a kind by e-mail."""
        return wants_mail(await self._repository.known_wishes(user_id), kind)

    def wake(self) -> None:
        """Look soon."""
        self._news.set()

    async def write_forever(self) -> None:
        """Write what is due, as soon as it is there."""
        while True:
            self._news.clear()
            try:
                await self.write_due()
                pause = await self._pause()
            except Exception:
                log.exception("mail of notifications will be written later")
                pause = _LOOK_SECONDS
            try:
                async with asyncio.timeout(pause):
                    await self._news.wait()
            except TimeoutError:
                continue

    async def write_due(self) -> int:
        """Write the mails that are due; return their number."""
        together: dict[tuple[str, str], list[Notification]] = defaultdict(list)
        for notification in await self._repository.due_mails(_AT_ONCE):
            together[notification.user_id, notification.kind].append(notification)
        written = 0
        for (user_id, name), notifications in together.items():
            written += await self._write(user_id, KINDS.get(name), notifications)
        return written

    async def _pause(self) -> float:
        at = await self._repository.next_mail_at()
        return _LOOK_SECONDS if at is None else min(max(1.0, (at - utcnow()).total_seconds()), _LOOK_SECONDS)

    async def _write(self, user_id: str, kind: Kind | None, notifications: Sequence[Notification]) -> bool:
        user = await self._repository.user(user_id)
        wishes = await self._repository.wishes(user_id)
        if user is None or kind is None or not wants_mail(wishes, kind):
            await self._repository.mailed(notifications)
            return False
        now = utcnow()
        last = datetime.fromtimestamp(wishes.mailed_at.get(kind.key, 0) / 1000, UTC)
        if now < last + BETWEEN:
            for notification in notifications:
                await self._repository.notifications.update(
                    {"_id": notification.id}, {"mail_due_at": last + BETWEEN}
                )
            return False
        # Of several processes one takes the turn. Were it killed now, the mail is written an hour later.
        if not await self._repository.take_mail_turn(wishes, kind.key, round(now.timestamp() * 1000)):
            return False
        ids = "\n".join(sorted(notification.id for notification in notifications))
        await self._outbox.post(
            user.email,
            _subject(notifications),
            self._text(wishes, kind, notifications),
            mail_id=first_id("mail", now) + hashlib.sha256(ids.encode()).hexdigest()[:16],
            headers={
                "List-Unsubscribe": f"<{self._end_url(wishes, kind)}>",
                "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
            },
        )
        await self._repository.mailed(notifications)
        return True

    def _end_url(self, wishes: NotificationWishes, kind: Kind) -> str:
        return f"{self._base_url}/unsubscribe/{unsubscribe_token(wishes, kind)}"

    def _text(self, wishes: NotificationWishes, kind: Kind, notifications: Sequence[Notification]) -> str:
        parts = []
        for notification in notifications[:_LISTED]:
            lines = [f"{notification.title}.", notification.text]
            if notification.path:
                lines.append(f"{self._base_url}{notification.path}")
            parts.append("\n".join(line for line in lines if line))
        if len(notifications) > _LISTED:
            parts.append(f"And {len(notifications) - _LISTED} more: {self._base_url}/notifications")
        foot = f"--\nYou have this since you want mail when: {kind.title.lower()}.\nTo end such mails: "
        return "\n\n".join([*parts, foot + self._end_url(wishes, kind)]) + "\n"


def _subject(notifications: Sequence[Notification]) -> str:
    first = notifications[0].title[:150]
    return first if len(notifications) == 1 else f"{first}, and {len(notifications) - 1} more"
