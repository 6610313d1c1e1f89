"""E-mail that was promised is sent: written down first, sent by a task, tried again until it is no use.

A request never waits for a mail server. Several processes may send from one collection: a lease decides.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from datetime import timedelta
from email.message import EmailMessage

from vitrine_api.mail import Mailer, Undeliverable, compose
from vitrine_api.repository import Mails
from vitrine_common.clock import utcnow
from vitrine_common.documents import Mail
from vitrine_common.errors import Conflict, StaleState, VitrineError
from vitrine_common.ids import new_id
from vitrine_common.leases import WorkQueue
from vitrine_common.states import MAIL, MailState

log = logging.getLogger(__name__)

KEPT = timedelta(days=30)
_LIFE = timedelta(days=3)
_FIRST_PAUSE = 5.0
_LONGEST_PAUSE = 3600.0
_LOOK_SECONDS = 15.0
_LEASE_SECONDS = 120.0


class MailOutbox:
    """Takes e-mail and sees to it that it leaves.

    Args:
        mails: where it is kept until then.
        mailer: how it leaves.
        sender: the address that it comes from.
        holder: names this process in leases.
    """

    def __init__(self, mails: Mails, mailer: Mailer, sender: str, holder: str) -> None:
        self._mails = mails
        self._mailer = mailer
        self._sender = sender
        self._queue = WorkQueue(mails.mails, MAIL, holder, _LEASE_SECONDS)
        self._news = asyncio.Event()

    async def post(
        self,
        to: str,
        subject: str,
        text: str,
        life: timedelta = _LIFE,
        *,
        mail_id: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Mail:
        """Take a mail: it is stored when this returns, and sent soon after.

        Args:
            to: one address.
            subject: one line.
            text: plain text.
            life: after this it is of no use and is not sent any more.
            mail_id: names the mail, so that posting it twice is posting it once.
            headers: headers beside the usual ones.

        Raises Invalid for what cannot stand in a mail's header.
        """
        compose(self._sender, to, subject, text, headers)
        mail = Mail(
            id=mail_id or new_id("mail"),
            to=to,
            subject=subject,
            text=text,
            headers=dict(headers or {}),
            expires_at=utcnow() + life,
        )
        try:
            await self._mails.mails.insert(mail)
        except Conflict:
            if mail_id is None:
                raise
        self._news.set()
        return mail

    async def send_forever(self) -> None:
        """Send what waits, as soon as it is there."""
        while True:
            try:
                await self.send_due()
            except Exception:
                log.exception("mail will be looked for again")
            self._news.clear()
            try:
                async with asyncio.timeout(await self._pause()):
                    await self._news.wait()
            except TimeoutError:
                continue

    async def send_due(self) -> int:
        """Send every mail that is due; return how many were handed over."""
        await self._free_abandoned()
        sent = 0
        while due := await self._mails.due():
            for mail in due:
                claimed = await self._queue.claim(mail.id, MailState.SENDING)
                if claimed is not None:
                    sent += await self._send(claimed)
        return sent

    async def sweep(self) -> None:
        """Delete what was sent, or given up, long ago."""
        await self._mails.delete_ended(utcnow() - KEPT)

    async def _free_abandoned(self) -> None:
        for mail in await self._queue.expired():
            await self._queue.settle(mail.id, MailState.SENDING, MailState.WAITING, {"due_at": utcnow()})

    async def _send(self, mail: Mail) -> bool:
        if mail.expires_at <= utcnow():
            await self._end(mail, MailState.FAILED, mail.problem or "it was not sent in time")
            return False
        try:
            await self._mailer.send(_composed(self._sender, mail), mail.id)
        except Undeliverable as error:
            log.warning("mail cannot be delivered", extra={"mail": mail.id, "error": error.message})
            await self._end(mail, MailState.FAILED, error.message)
            return False
        except VitrineError as error:
            pause = min(_FIRST_PAUSE * 2 ** min(mail.attempt - 1, 20), _LONGEST_PAUSE)
            log.warning("mail will be tried again", extra={"mail": mail.id, "error": error.message})
            later = {"due_at": utcnow() + timedelta(seconds=pause), "problem": error.message}
            await self._queue.advance(mail, MailState.WAITING, later)
            return False
        await self._end(mail, MailState.SENT, "")
        return True

    async def _end(self, mail: Mail, state: MailState, problem: str) -> None:
        try:
            await self._queue.advance(mail, state, {"text": "", "problem": problem})
        except StaleState:  # another process sends it once more: twice is better than never
            log.warning("lost the lease on a mail", extra={"mail": mail.id})

    async def _pause(self) -> float:
        """Return how long nothing is due, at most the pause between two looks for others' mail."""
        due_at = await self._mails.next_due_at()
        if due_at is None:
            return _LOOK_SECONDS
        return min(max(0.05, (due_at - utcnow()).total_seconds()), _LOOK_SECONDS)


def _composed(sender: str, mail: Mail) -> EmailMessage:
    return compose(sender, mail.to, mail.subject, mail.text, mail.headers)
