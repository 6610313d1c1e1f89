"""`HEAD`: what `GET` answers, without its body; links that are sent in chats are first looked at so."""

from __future__ import annotations

import anyio
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Heads:
    """Answers `HEAD` with the status and the headers of the same `GET`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return
        with anyio.CancelScope() as answering:

            async def without_body(message: Message) -> None:
                if message["type"] == "http.response.start":
                    await send(message)
                    await send({"type": "http.response.body"})
                elif message.get("more_body"):
                    answering.cancel()  # streams of events would go on for ever

            await self._app({**scope, "method": "GET"}, receive, without_body)
