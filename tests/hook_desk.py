"""A receiver of webhooks on a real port, for tests: it keeps what it is sent and answers as it is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass
class Received:
    """One request."""

    path: str
    headers: dict[str, str]
    body: str


@dataclass
class HookDesk:
    """What came; `answers` are given one after the other, the last one for ever."""

    port: int = 0
    taken: list[Received] = field(default_factory=list)
    answers: list[str] = field(default_factory=lambda: ["204 No Content"])
    endless: bool = False
    """Whether an answer's body never ends."""
    held: asyncio.Event | None = None
    """While there is one that is not set, nobody is answered."""
    _open: dict[asyncio.Task[None], asyncio.StreamWriter] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}/hook?from=test"

    def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Begin to serve a connection, in a task of which this desk knows."""
        task = asyncio.create_task(self._serve(reader, writer))
        self._open[task] = writer
        task.add_done_callback(lambda done: self._open.pop(done, None))

    async def end(self) -> None:
        """Hang up on whoever is there still; every connection is gone when it returns."""
        if self.held is not None:
            self.held.set()
        serving = dict(self._open)
        for writer in serving.values():
            writer.transport.abort()
        await asyncio.gather(*serving)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take one request."""
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = {
                name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)
            }
            body = (await reader.readexactly(int(headers["content-length"]))).decode()
            self.taken.append(Received(head[0].split(" ")[1], headers, body))
            if self.held is not None:
                await self.held.wait()
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            if self.endless:
                writer.write(f"HTTP/1.1 {answer}\r\ntransfer-encoding: chunked\r\n\r\n".encode())
                while True:
                    writer.write(b"1000\r\n" + b"x" * 4096 + b"\r\n")
                    await writer.drain()
            rest = "location: /elsewhere\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            writer.write(f"HTTP/1.1 {answer}\r\n{rest}".encode())
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass  # whoever asked has hung up
        finally:
            writer.close()


@asynccontextmanager
async def hook_desk() -> AsyncIterator[HookDesk]:
    """Listen on a free port while the block runs."""
    desk = HookDesk()
    server = await asyncio.start_server(desk.connected, "127.0.0.1", 0)
    desk.port = server.sockets[0].getsockname()[1]
    try:
        yield desk
    finally:
        server.close()
        await desk.end()
