"""Mail is written down, leaves by a real SMTP server or into a folder, and is tried again."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from api_instance import Instance
from mail_desk import mail_desk, mail_to
from vitrine_api.mail import FolderMailer, Mailer, SmtpMailer, SmtpServer
from vitrine_api.mail_outbox import MailOutbox
from vitrine_api.repository import Mails
from vitrine_common.clock import utcnow
from vitrine_common.errors import Invalid
from vitrine_common.states import MailState


@pytest.fixture
async def mails(api: Instance, monkeypatch: pytest.MonkeyPatch) -> Mails:
    """The collection of this instance, emptied, whose own sender rests meanwhile."""

    async def nothing() -> int:
        return 0

    monkeypatch.setattr(api.services.mail, "send_due", nothing)
    mails = api.services.repository.mails
    await mails.mails.delete({"state": {"$in": list(MailState)}})
    return mails


def outbox(mails: Mails, mailer: Mailer) -> MailOutbox:
    return MailOutbox(mails, mailer, "Vitrine <vitrine@example.org>", "api@test:1")


async def test_mail_leaves_by_smtp_and_its_text_is_deleted(mails: Mails) -> None:
    async with mail_desk() as desk:
        box = outbox(mails, SmtpMailer(desk.url))
        mail = await box.post("eva@example.org", "Größe", "Your code is 1234\n.\n..end\n")
        assert desk.taken == []
        assert await box.send_due() == 1
        assert await box.send_due() == 0
    (message,) = desk.taken
    assert (message["To"], message["Subject"]) == ("eva@example.org", "Größe")
    assert message["From"] == "Vitrine <vitrine@example.org>"
    assert message["Message-ID"] == f"<{mail.id}@example.org>"
    assert message.get_content().replace("\r\n", "\n") == "Your code is 1234\n.\n..end\n"
    stored = await mails.mails.get(mail.id)
    assert (stored.state, stored.text, stored.problem) == (MailState.SENT, "", "")


async def test_a_server_that_is_away_delays_mail_and_one_that_refuses_ends_it(mails: Mails) -> None:
    async with mail_desk() as desk:
        desk.answers = {"busy@example.org": "451 later", "nobody@example.org": "550 no such person"}
        box = outbox(mails, SmtpMailer(desk.url))
        busy = await box.post("busy@example.org", "One", "text")
        nobody = await box.post("nobody@example.org", "Two", "text")
        assert await box.send_due() == 0
        waiting, failed = await mails.mails.get(busy.id), await mails.mails.get(nobody.id)
        assert (waiting.state, waiting.text) == (MailState.WAITING, "text")
        assert waiting.due_at > utcnow()
        assert (failed.state, failed.text) == (MailState.FAILED, "")
        assert "refuses the address" in failed.problem
        desk.answers = {}
        await mails.mails.update({"_id": busy.id}, {"due_at": utcnow()})
        assert await box.send_due() == 1
    dead = outbox(mails, SmtpMailer(desk.url, timeout_seconds=2))
    late = await dead.post("eva@example.org", "Three", "text")
    assert await dead.send_due() == 0
    stored = await mails.mails.get(late.id)
    assert (stored.state, stored.attempt) == (MailState.WAITING, 1)
    assert "cannot be reached" in stored.problem


async def test_mail_that_came_too_late_is_not_sent(mails: Mails, tmp_path: Path) -> None:
    box = outbox(mails, FolderMailer(tmp_path))
    mail = await box.post("eva@example.org", "Code", "123", timedelta(seconds=-1))
    assert await box.send_due() == 0
    assert (await mails.mails.get(mail.id)).state is MailState.FAILED
    assert list(tmp_path.iterdir()) == []


async def test_what_a_dead_sender_held_is_sent_by_another(mails: Mails, tmp_path: Path) -> None:
    box = outbox(mails, FolderMailer(tmp_path))
    mail = await box.post("eva@example.org", "Hello", "text")
    held = {"state": MailState.SENDING, "lease_expires_at": utcnow() - timedelta(seconds=1)}
    await mails.mails.update({"_id": mail.id}, held)
    assert await box.send_due() == 1


async def test_several_senders_send_each_mail_once(mails: Mails) -> None:
    async with mail_desk() as desk:
        boxes = [outbox(mails, SmtpMailer(desk.url)) for _ in range(3)]
        for number in range(8):
            await boxes[0].post(f"p{number}@example.org", "Hello", "text")
        sent = await asyncio.gather(*(box.send_due() for box in boxes))
    assert sum(sent) == 8
    assert sorted(message["To"] for message in desk.taken) == [f"p{n}@example.org" for n in range(8)]


async def test_the_task_sends_into_the_folder_at_once(mails: Mails, tmp_path: Path) -> None:
    place = tmp_path / "mails"
    folder = FolderMailer(place)
    assert folder.newest() == []
    box = outbox(mails, folder)
    task = asyncio.create_task(box.send_forever())
    try:
        await box.post("eva@example.org", "First", "Your code is 1")
        assert await asyncio.wait_for(mail_to(place, "eva@example.org"), 30) == "Your code is 1\n"
        await box.post("eva@example.org", "Second", "Your code is 2")
        assert "2" in await asyncio.wait_for(mail_to(place, "eva@example.org", 1), 30)
    finally:
        task.cancel()
    assert ["Second" in mail.text for mail in folder.newest()] == [True, False]
    assert {file.stat().st_mode & 0o777 for file in place.iterdir()} == {0o600}


async def test_a_header_cannot_be_smuggled_in(mails: Mails, tmp_path: Path) -> None:
    box = outbox(mails, FolderMailer(tmp_path))
    for to, subject in (("a@b.org\nBcc: c@d.org", "Hello"), ("a@b.org", "Hello\r\nBcc: c@d.org")):
        with pytest.raises(Invalid, match="header"):
            await box.post(to, subject, "text")
    assert await mails.mails.find({"state": MailState.WAITING}) == []


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("smtp://mail.example.org", SmtpServer("mail.example.org", 25, False, None, None)),
        ("smtp://me:p%40ss@mail.example.org", SmtpServer("mail.example.org", 587, False, "me", "p@ss")),
        ("smtps://me:x@mail.example.org", SmtpServer("mail.example.org", 465, True, "me", "x")),
        ("smtp://[::1]:2525", SmtpServer("::1", 2525, False, None, None)),
    ],
)
def test_addresses_of_mail_servers(url: str, expected: SmtpServer) -> None:
    assert SmtpServer.parse(url) == expected


def test_an_address_that_is_none_names_the_setting() -> None:
    with pytest.raises(Invalid, match="VITRINE_API_SMTP_URL"):
        SmtpServer.parse("mail.example.org")
