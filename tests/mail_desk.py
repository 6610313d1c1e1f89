"""A small SMTP server (RFC 5321) for tests: it keeps what it is sent, and refuses what it is told to."""

from __future__ import annotations

import asyncio
import email
import email.policy
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path


@dataclass
class MailDesk:
    """What came; `answers` maps a recipient to the reply that is given instead of taking the mail."""

    port: int = 0
    taken: list[EmailMessage] = field(default_factory=list)
    answers: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """For `VITRINE_API_SMTP_URL`."""
        return f"smtp://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Talk to one client."""

        async def say(text: str) -> None:
            writer.write(text.encode() + b"\r\n")
            await writer.drain()

        await say("220 desk")
        while line := (await reader.readline()).decode().strip():
            verb, _, rest = line.partition(" ")
            match verb.upper():
                case "RCPT":
                    recipient = rest.partition("<")[2].partition(">")[0]
                    await say(self.answers.get(recipient, "250 yes"))
                case "DATA":
                    await say("354 go on")
                    data = (await reader.readuntil(b"\r\n.\r\n"))[:-3].replace(b"\r\n..", b"\r\n.")
                    parsed = email.message_from_bytes(data, policy=email.policy.default)
                    self.taken.append(parsed)
                    await say("250 taken")
                case "QUIT":
                    await say("221 bye")
                    break
                case _:
                    await say("250 desk")
        writer.close()


@asynccontextmanager
async def mail_desk() -> AsyncIterator[MailDesk]:
    """Serve on a free port while the block runs."""
    desk = MailDesk()
    server = await asyncio.start_server(desk.serve, "127.0.0.1", 0)
    desk.port = server.sockets[0].getsockname()[1]
    try:
        yield desk
    finally:
        server.close()
        await server.wait_closed()


async def mail_to(folder: Path, address: str, known: int = 0) -> str:
    """Wait for another mail than the `known` ones to `address` in the folder; return the newest's text."""
    while True:
        found = [
            email.message_from_bytes(file.read_bytes(), policy=email.policy.default)
            for file in sorted(folder.glob("*.eml"))
        ]
        mine = [message for message in found if message["To"] == address]
        if len(mine) > known:
            return str(mine[-1].get_content())
        await asyncio.sleep(0.02)
