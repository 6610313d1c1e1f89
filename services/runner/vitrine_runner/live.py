"""News of one run while it happens: states at once, printed text a few times a second, in bounds."""

from __future__ import annotations

import asyncio
import codecs
import json
import logging
from typing import Any

from vitrine_common.bus import Bus
from vitrine_common.documents import Run
from vitrine_common.messages import ClaimProgress, Progress, RunProgress, StreamedText
from vitrine_common.states import ClaimState, RunState

log = logging.getLogger(__name__)

PAUSE_SECONDS = 0.1
PIECE_CHARACTERS = 8_000
"""Most text in one message; of a flood, the end is shown."""
TOTAL_CHARACTERS = 400_000
"""Most text that is sent live for one run; the end of the log is kept with the run."""
TAIL_BYTES = 16_000
STREAMED_CHARACTERS = 400_000
"""Most text of streamed outputs that is sent live for one run; the result has all of it."""


def as_text(piece: Any) -> str:
    """Return a piece of a streamed output as text: text as it is, everything else as a line of JSON."""
    return piece if isinstance(piece, str) else json.dumps(piece, ensure_ascii=False) + "\n"


async def tell_state(bus: Bus, run: Run) -> None:
    """Tell whoever watches that a run is over, or waits again; for runs that nobody works on."""
    feed = LiveFeed(bus, run.id)
    await feed.state(run.state, run.message)


class LiveFeed:
    """What whoever watches a run sees.

    Args:
        bus: where news goes; losing some harms nobody.
        run_id: whose news.
    """

    def __init__(self, bus: Bus, run_id: str) -> None:
        self._bus = bus
        self._run_id = run_id
        self._state: RunState | ClaimState = RunState.QUEUED
        self._pending = ""
        self._fraction: float | None = None
        self._message = ""
        self._left = TOTAL_CHARACTERS
        self._streamed: dict[str, int] = {}
        self._pieces: dict[str, str] = {}
        self._streamed_left = STREAMED_CHARACTERS
        self._tail = b""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._timer: asyncio.TimerHandle | None = None
        self._sending: set[asyncio.Task[None]] = set()

    async def state(self, state: RunState | ClaimState, message: str = "") -> None:
        """Tell that the run entered `state`."""
        await self.flush()
        self._state = state
        await self._tell(self._news(message=message))

    async def flush(self) -> None:
        """Tell what has gathered, before it is known otherwise that the run has ended."""
        self._flush()
        await self._settled()

    def printed(self, data: bytes) -> None:
        """Take what the program printed."""
        self._tail = (self._tail + data)[-TAIL_BYTES:]
        if self._left > 0:
            self._pending += self._decoder.decode(data)
            if len(self._pending) > PIECE_CHARACTERS:
                # From a line's beginning, so that no word is cut in two.
                end = self._pending[-PIECE_CHARACTERS:]
                self._pending = end[end.find("\n") + 1 :] or end
            self._schedule()

    def streamed(self, name: str, text: str) -> None:
        """Take text that an output gained."""
        kept = text[: self._streamed_left]
        self._streamed_left -= len(kept)
        if not kept:
            return
        self._pieces[name] = self._pieces.get(name, "") + kept
        if len(self._pieces[name]) >= PIECE_CHARACTERS:
            self._schedule()
            self._flush()
        else:
            self._schedule()

    def progressed(self, fraction: float, message: str) -> None:
        """Take how far the program says that it is."""
        self._fraction, self._message = fraction, message[:500]
        self._schedule()

    @property
    def tail(self) -> str:
        """The end of what was printed."""
        return self._tail.decode(errors="replace").replace("\0", "�")

    def _schedule(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(PAUSE_SECONDS, self._flush)

    def _flush(self) -> None:
        if self._timer is None:
            return
        self._timer.cancel()
        self._timer = None
        text, self._pending = self._pending[: self._left], ""
        self._left -= len(text)
        news = self._news(fraction=self._fraction, message=self._message, log=text)
        if isinstance(news, RunProgress) and self._pieces:
            news = news.model_copy(update={"outputs": self._take_pieces()})
        task = asyncio.create_task(self._tell(news))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    def _take_pieces(self) -> list[StreamedText]:
        taken, self._pieces = self._pieces, {}
        found = []
        for name, text in taken.items():
            start = self._streamed.get(name, 0)
            found.append(StreamedText(name=name, start=start, text=text))
            self._streamed[name] = start + len(text)
        return found

    async def _settled(self) -> None:
        if self._sending:
            await asyncio.gather(*self._sending)

    def _news(self, message: str = "", log: str = "", fraction: float | None = None) -> Progress:
        return RunProgress(
            run_id=self._run_id, state=RunState(self._state), fraction=fraction, message=message, log=log
        )

    async def _tell(self, news: Progress) -> None:
        try:
            await self._bus.tell(news)
        except Exception:
            log.debug("news lost", exc_info=True)


class ClaimFeed(LiveFeed):
    """What whoever watches the check of a claim sees.

    Args:
        bus: where news goes.
        check_id: whose news.
        repeats: how many there will be.
    """

    def __init__(self, bus: Bus, check_id: str, repeats: int) -> None:
        super().__init__(bus, check_id)
        self._check_id = check_id
        self._repeats = repeats
        self._state = ClaimState.QUEUED
        self._repeat = 0

    async def begin(self, repeat: int) -> None:
        """Tell that a repeat begins (counted from 1); the log begins anew."""
        self._repeat = repeat
        self._tail = b""
        await self.state(ClaimState.RUNNING)

    def _news(self, message: str = "", log: str = "", fraction: float | None = None) -> Progress:  # noqa: ARG002 - repeats tell how far it is
        return ClaimProgress(
            check_id=self._check_id,
            state=ClaimState(self._state),
            repeat=self._repeat,
            repeats=self._repeats,
            message=message,
            log=log,
        )
