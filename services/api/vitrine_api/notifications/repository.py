"""Database calls of notifications, and of the facts that they tell."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime

from vitrine_common.clock import utcnow
from vitrine_common.documents import (
    ClaimCheck,
    ClaimCheckRequest,
    Notification,
    NotificationWishes,
    Run,
    RunRequest,
    ShareLink,
    Trial,
    User,
    Version,
)
from vitrine_common.errors import Conflict
from vitrine_common.store import Database

_COUNTED = 100


class NotificationRepository:
    """Notifications and wishes to read and write; everything else to read."""

    def __init__(self, database: Database) -> None:
        self.notifications = database.collection(Notification)
        self._wishes = database.collection(NotificationWishes)
        self._users = database.collection(User)
        self._versions = database.collection(Version)
        self._requests = database.collection(RunRequest)
        self._runs = database.collection(Run)
        self._links = database.collection(ShareLink)
        self._checks = database.collection(ClaimCheck)
        self._check_requests = database.collection(ClaimCheckRequest)
        self._trials = database.collection(Trial)

    async def add(self, notification: Notification) -> bool:
        """Store a notification; False when it was told before."""
        if await self.notifications.find_one({"_id": notification.id}) is not None:
            return False
        try:
            await self.notifications.insert(notification)
        except Conflict:
            return False
        return True

    async def unread(self, user_id: str) -> int:
        """Return how many an account has not read, up to a hundred."""
        return len(await self.notifications.find({"user_id": user_id, "unread": 1}, limit=_COUNTED))

    async def mark_read(self, user_id: str, notification_id: str | None = None) -> None:
        """Mark one, or all, as read."""
        where = {"user_id": user_id, "unread": 1}
        if notification_id is not None:
            await self.notifications.update({**where, "_id": notification_id}, {"unread": 0})
            return
        while found := await self.notifications.find(where, limit=_COUNTED):
            for notification in found:
                await self.notifications.update({"_id": notification.id}, {"unread": 0})

    async def due_mails(self, limit: int) -> list[Notification]:
        """Return notifications whose e-mail may be written now, the oldest first."""
        where = {"mailing": "due", "mail_due_at": {"$lte": utcnow()}}
        return await self.notifications.find(where, (("mail_due_at", 1),), limit)

    async def next_mail_at(self) -> datetime | None:
        """Return when the next e-mail may be written; None when none waits."""
        found = await self.notifications.find({"mailing": "due"}, (("mail_due_at", 1),), 1)
        return found[0].mail_due_at if found else None

    async def mailed(self, notifications: Sequence[Notification]) -> None:
        """Note that e-mail of these was written."""
        for notification in notifications:
            await self.notifications.update({"_id": notification.id}, {"mailing": "done"})

    async def wishes(self, user_id: str) -> NotificationWishes:
        """Return what an account wants, made with the defaults if it never said."""
        found = await self._wishes.find_one({"_id": user_id})
        if found is not None:
            return found
        try:
            return await self._wishes.insert(NotificationWishes(id=user_id))
        except Conflict:
            return await self._wishes.get(user_id)

    async def known_wishes(self, user_id: str) -> NotificationWishes | None:
        """Return what an account wants, or None when it never said, or does not exist."""
        return await self._wishes.find_one({"_id": user_id})

    async def set_mail(self, user_id: str, kind_key: str, *, wanted: bool) -> None:
        """Write down whether a kind is wanted by e-mail."""
        await self._wishes.update({"_id": user_id}, {f"mail.{kind_key}": wanted})

    async def take_mail_turn(self, wishes: NotificationWishes, kind_key: str, now_ms: int) -> bool:
        """Say whether this process may write the account's mail of a kind now (compare-and-set)."""
        where = {"_id": wishes.id, "revision": wishes.revision}
        changes = {f"mailed_at.{kind_key}": now_ms}
        return await self._wishes.update(where, changes, increments={"revision": 1}) is not None

    async def user(self, user_id: str) -> User | None:
        """Return the account, or None."""
        return await self._users.find_one({"_id": user_id})

    async def version(self, version_id: str) -> Version | None:
        """Return the version, or None."""
        return await self._versions.find_one({"_id": version_id})

    async def run(self, run_id: str) -> tuple[RunRequest, Run] | None:
        """Return a run and what was asked for, or None."""
        request = await self._requests.find_one({"_id": run_id})
        run = await self._runs.find_one({"_id": run_id})
        return (request, run) if request is not None and run is not None else None

    async def link(self, link_id: str) -> ShareLink | None:
        """Return the link, or None."""
        return await self._links.find_one({"_id": link_id})

    async def check(self, check_id: str) -> tuple[ClaimCheckRequest, ClaimCheck] | None:
        """Return a check of a claim and what was asked for, or None."""
        request = await self._check_requests.find_one({"_id": check_id})
        check = await self._checks.find_one({"_id": check_id})
        return (request, check) if request is not None and check is not None else None

    async def trial(self, trial_id: str) -> Trial | None:
        """Return the trial, or None."""
        return await self._trials.find_one({"_id": trial_id})

    def all_links(self) -> AsyncIterator[ShareLink]:
        """Yield every link."""
        return self._links.each({})

    async def blind_checks(self, since: datetime, until: datetime) -> list[ClaimCheck]:
        """Return checks by blind links that ended in that time and count."""
        where = {"finished_at": {"$gte": since, "$lt": until}}
        found = await self._checks.find(where, (("finished_at", 1),), 5000)
        return [check for check in found if check.blind and check.tally]

    async def sweep(self, before: datetime) -> None:
        """Delete notifications that were made before then."""
        await self.notifications.delete({"created_at": {"$lt": before}})
