"""Ways for e-mail to leave: SMTP, or files in a folder where there is no mail server."""

from __future__ import annotations

import asyncio
import email.policy
import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import formatdate
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

import aiosmtplib

from vitrine_common.errors import Invalid, Unavailable, VitrineError

_NAME = re.compile(r"[a-z0-9_]{1,64}\.eml")
_LONGEST = 1 << 20
_EVERY = 1_000_000
_LONGEST_LINE = 990


class Undeliverable(VitrineError):
    """The mail server will never take this mail: an address that it does not know, say."""


class Mailer(Protocol):
    """A way for e-mail to leave."""

    async def send(self, message: EmailMessage, mail_id: str) -> None:
        """Hand `message` over; `mail_id` names it, so that a second copy can be told to be one.

        Raises Unavailable when it is worth another try, Undeliverable when it is not.
        """


@dataclass(frozen=True)
class SmtpServer:
    """Where mail is handed over; `smtp://` takes STARTTLS where it is offered, `smtps://` is TLS at once."""

    host: str
    port: int
    tls: bool
    user: str | None
    password: str | None

    @classmethod
    def parse(cls, url: str) -> SmtpServer:
        """Read `smtp[s]://[user:password@]host[:port]`. Raises Invalid."""
        parts = urlsplit(url)
        if parts.scheme not in {"smtp", "smtps"} or not parts.hostname:
            raise Invalid("VITRINE_API_SMTP_URL: write `smtp://user:password@host:587` or `smtps://…:465`")
        tls = parts.scheme == "smtps"
        return cls(
            parts.hostname,
            parts.port or (465 if tls else 25 if parts.username is None else 587),
            tls,
            unquote(parts.username) if parts.username else None,
            unquote(parts.password) if parts.password else None,
        )


class SmtpMailer:
    """Hands mail to an SMTP server, one connection for each. Credentials never travel in the clear."""

    def __init__(self, url: str, *, timeout_seconds: float = 30.0) -> None:
        self._server = SmtpServer.parse(url)
        self._timeout = timeout_seconds

    async def send(self, message: EmailMessage, mail_id: str) -> None:
        """See `Mailer.send`."""
        server = self._server
        message["Message-ID"] = f"<{mail_id}@{message['From'].addresses[0].domain or 'vitrine.local'}>"
        try:
            await aiosmtplib.send(
                message,
                hostname=server.host,
                port=server.port,
                username=server.user,
                password=server.password,
                use_tls=server.tls,
                start_tls=None if server.user is None else not server.tls,
                timeout=self._timeout,
            )
        except aiosmtplib.SMTPRecipientsRefused as error:
            codes = [refused.code for refused in error.recipients]
            raise _failure(max(codes, default=550), "the mail server refuses the address") from error
        except aiosmtplib.SMTPResponseException as error:
            raise _failure(error.code, f"the mail server says: {error.message[:200]}") from error
        except (aiosmtplib.SMTPException, OSError) as error:
            raise Unavailable(f"the mail server cannot be reached: {error}") from error


def _failure(code: int, message: str) -> VitrineError:
    # A wrong password is the operator's to repair, and the mail is worth keeping until then.
    for_good = 500 <= code < 600 and code not in {530, 534, 535, 538}
    return Undeliverable(message) if for_good else Unavailable(message)


@dataclass(frozen=True)
class StoredMail:
    """A mail in the folder."""

    name: str
    written_at: float
    """Seconds since the epoch."""
    text: str


class FolderMailer:
    """Writes mails to `ID.eml` files, for an instance without a mail server: its operator reads them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def send(self, message: EmailMessage, mail_id: str) -> None:
        """See `Mailer.send`."""
        try:
            await asyncio.to_thread(self._write, message, mail_id)
        except OSError as error:
            raise Unavailable(f"{self._folder} cannot be written: {error.strerror}") from error

    def _write(self, message: EmailMessage, mail_id: str) -> None:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        partial = self._folder / f"{mail_id}.part"
        partial.write_bytes(bytes(message))
        partial.chmod(0o600)
        partial.replace(self._folder / f"{mail_id}.eml")

    def forget(self, address: str) -> None:
        """Remove every mail to an address."""
        for stored in self.newest(_EVERY):
            if f"To: {address}\n" in stored.text.replace("\r\n", "\n"):
                (self._folder / stored.name).unlink(missing_ok=True)

    def newest(self, limit: int = 50) -> list[StoredMail]:
        """Return the newest mails, for the operator's page."""
        try:
            found = [entry for entry in self._folder.iterdir() if _NAME.fullmatch(entry.name)]
        except OSError:
            return []
        # Ids sort by time, so that only the mails that are shown are opened.
        newest = sorted(found, key=lambda entry: entry.name, reverse=True)[:limit]
        return [_stored(entry) for entry in newest]


def _stored(file: Path) -> StoredMail:
    text = file.read_bytes()[:_LONGEST].decode(errors="replace")
    return StoredMail(file.name, file.stat().st_mtime, text)


def compose(
    sender: str, to: str, subject: str, text: str, headers: Mapping[str, str] | None = None
) -> EmailMessage:
    """Return a plain-text mail. Raises Invalid for an address or subject that is no header."""
    # Addresses in headers stay in one piece: a mail program must be able to read them.
    message = EmailMessage(policy=email.policy.default.clone(max_line_length=_LONGEST_LINE))
    try:
        message["From"], message["To"], message["Subject"] = sender, to, subject
        for name, value in (headers or {}).items():
            message[name] = value
    except ValueError as error:
        raise Invalid(f"this cannot be a mail's header: {error}") from None
    message["Date"] = formatdate(usegmt=True)
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(text)
    return message
