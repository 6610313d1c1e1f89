"""Follows one run, so that its address hears of its beginning and of pieces of its outputs while it goes on.

News may be lost, so the database is looked at, too; it may be away, so what could not be told is told later.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

from vitrine_api.progress import News
from vitrine_api.run_hook_messages import MAX_TOLD_CHARACTERS, Piece, RunHookMessages, characters
from vitrine_api.webhooks import WebhookRepository
from vitrine_common.documents import RunHook
from vitrine_common.errors import VitrineError
from vitrine_common.states import RUN, RunState

log = logging.getLogger(__name__)

PIECES_SECONDS = 1.0
"""How long pieces gather, from the first one on: messages are at least so far apart."""
LOOK_SECONDS = 60.0
AGAIN_SECONDS = 5.0
"""Pause after the database failed."""


class Pieces:
    """Pieces of streamed outputs that are to be told: as many as one message takes, from the first one on."""

    def __init__(self) -> None:
        self.kept: list[Piece] = []
        self.left_out = False
        """Whether later ones did not fit."""
        self.due_at = float("inf")
        """On the loop's clock."""
        self._characters = 0

    def add(self, pieces: Iterable[Piece], now: float) -> None:
        """Take pieces that were heard `now`."""
        for piece in pieces:
            self.due_at = min(self.due_at, now + PIECES_SECONDS)
            self._characters += characters(piece)
            # Once one was left out, so are those behind it: what is told has no holes.
            if self._characters > MAX_TOLD_CHARACTERS:
                self.left_out = True
            else:
                self.kept.append(piece)

    def __bool__(self) -> bool:
        return bool(self.kept) or self.left_out


class Following:
    """Tells one address of one run until the run has ended.

    Args:
        repository: what is known of hook and run.
        messages: queues what is told.
        hook: who is told.
        reference: the version, as people name it.
        queue: news of the run, since before it began.
    """

    def __init__(
        self,
        repository: WebhookRepository,
        messages: RunHookMessages,
        hook: RunHook,
        reference: str,
        queue: asyncio.Queue[News | None],
    ) -> None:
        self._repository = repository
        self._messages = messages
        self._hook = hook
        self._reference = reference
        self._queue = queue
        self._pieces = Pieces()
        self._is_begun = self._is_told = self._is_over = False
        self._is_wanted = True
        self._look_at = self._again_at = float("-inf")

    async def follow(self) -> None:
        """Return when the run has ended and its pieces are told, or nobody wants to be told any more."""
        clock = asyncio.get_running_loop().time
        while True:
            if clock() >= self._again_at:
                try:
                    await self._tell(clock())
                except VitrineError as error:
                    log.warning("a run is told of later: %s", error.message, extra={"run": self._hook.id})
                    self._again_at, self._look_at = clock() + AGAIN_SECONDS, float("-inf")
            if not self._is_wanted or (self._is_drained() and not self._pieces):
                return
            await self._hear()

    def _is_drained(self) -> bool:
        return self._is_over and self._queue.empty()

    async def _tell(self, now: float) -> None:
        """Tell what is due."""
        if now >= self._look_at:
            await self._look()
            self._look_at = now + LOOK_SECONDS
        if not self._is_wanted:
            return
        if self._is_begun and not self._is_told:
            await self._messages.started(self._hook, self._reference)
            self._is_told = True
        if self._pieces and (now >= self._pieces.due_at or self._is_drained()):
            pieces = self._pieces
            await self._messages.output(self._hook, self._reference, pieces.kept, left_out=pieces.left_out)
            self._pieces = Pieces()

    async def _look(self) -> None:
        """See what the database says, whatever news came or was lost."""
        hook = await self._repository.run_hooks.find_one({"_id": self._hook.id})
        self._is_wanted = hook is not None and hook.active
        run = await self._repository.run(self._hook.id)
        if run is not None:
            self._is_begun |= run.state in {RunState.RUNNING, RunState.SAVING}
            self._is_over |= RUN.is_final(run.state)

    async def _hear(self) -> None:
        """Take one piece of news, or none when something is due before."""
        due_at = float("-inf") if self._is_over else min(self._look_at, self._pieces.due_at)
        try:
            async with asyncio.timeout_at(max(due_at, self._again_at)):
                news = await self._queue.get()
        except TimeoutError:
            return
        if news is None:  # this process stops
            self._is_over = True
            return
        self._is_begun |= news.payload.get("state") == RunState.RUNNING
        self._is_over |= _is_end(news)
        if "output" in self._hook.events:
            self._pieces.add(news.payload.get("outputs") or [], asyncio.get_running_loop().time())


def _is_end(news: News) -> bool:
    state = news.payload.get("state")
    return ".progress" not in news.type and state in set(RunState) and RUN.is_final(RunState(state))
