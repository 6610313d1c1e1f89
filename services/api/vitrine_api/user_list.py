"""Accounts as operators list them, and the mails of an instance without a mail server."""

from __future__ import annotations

import asyncio
import email
import email.policy
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage

from vitrine_api.mail import FolderMailer, Mailer, StoredMail
from vitrine_api.policy import Action, Member, require
from vitrine_api.quotas import Quotas, QuotaUse
from vitrine_api.repository import Accounts, Page, page_of
from vitrine_common.documents import User
from vitrine_common.errors import NotFound

_MAILS = 50


@dataclass(frozen=True)
class ListedUser:
    """An account with what it uses."""

    user: User
    quotas: Sequence[QuotaUse]


class UserList:
    """Lists accounts; operators only."""

    def __init__(self, accounts: Accounts, quotas: Quotas) -> None:
        self._accounts = accounts
        self._quotas = quotas

    async def page(self, member: Member, limit: int, after: str | None) -> Page[ListedUser]:
        """Return accounts, the newest first."""
        require(member, Action.OPERATE, None)
        page = await page_of(self._accounts.users, {}, limit, after)
        quotas = await asyncio.gather(*(self._quotas.of(user.id) for user in page.items))
        return Page([ListedUser(*pair) for pair in zip(page.items, quotas, strict=True)], page.next)

    async def one(self, member: Member, name: str) -> ListedUser:
        """Return the account of that name. Raises NotFound."""
        require(member, Action.OPERATE, None)
        user = await self._accounts.user_by_login(name)
        if user is None:
            raise NotFound(f"there is no account {name}")
        return ListedUser(user, await self._quotas.of(user.id))


@dataclass(frozen=True)
class FolderMail:
    """A mail of the folder, read."""

    name: str
    to: str
    subject: str
    written_at: datetime
    text: str


async def newest_mails(mailer: Mailer) -> list[FolderMail]:
    """Return the newest mails of the folder; none where mails leave by a mail server."""
    if not isinstance(mailer, FolderMailer):
        return []
    return [_read(mail) for mail in await asyncio.to_thread(mailer.newest, _MAILS)]


def _read(mail: StoredMail) -> FolderMail:
    message = email.message_from_string(mail.text, EmailMessage, policy=email.policy.default)
    body = message.get_body(("plain",))
    return FolderMail(
        name=mail.name,
        to=str(message["To"] or ""),
        subject=str(message["Subject"] or ""),
        written_at=datetime.fromtimestamp(mail.written_at, UTC),
        text=str(body.get_content()) if body is not None else "",
    )
