"""Texts that come piece by piece, without what would tell whose they are.

A name may be cut in two by the end of a piece. So the end of what came is held back: as much as the longest
word that is looked for, less one character, and on to the beginning of what is not separated by a blank
(a path, an address). What is then passed on can be no part of anything that is still to come.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from vitrine_api.scrubbing import Scrubber
from vitrine_common.states import RunState

MAX_HELD = 1 << 13
"""Most characters without a blank that are held back: patterns are of shorter ones."""
_BLANK = re.compile(r"\s")
_PLAIN = re.compile(r"[^/\\:@~]*")


class TextStream:
    """One text. What is passed on, joined, is what the whole text would have become.

    Args:
        scrub: makes texts harmless; without it every piece is passed on at once.
    """

    def __init__(self, scrub: Scrubber | None) -> None:
        self._scrub = scrub
        self._held = ""
        self._unseen: str | None = None
        """What came since something was lost, as long as it may be the end of a name."""

    def feed(self, piece: str) -> str:
        """Take a piece; return what may be shown now."""
        if self._scrub is None:
            return piece
        self._held += self._whole(piece, self._scrub)
        cut = self._safe_cut(self._scrub)
        shown, self._held = self._held[:cut], self._held[cut:]
        return self._scrub(shown)

    def end(self) -> str:
        """Return what was held back, as nothing more comes."""
        held, self._held = self._held, ""
        return self._scrub(held) if self._scrub is not None else ""

    def lost(self) -> int:
        """Note that pieces are missing here; return how many characters are dropped with them.

        What was held back may be the beginning of a name, and what comes next the end of one.
        """
        dropped, self._held = len(self._held), ""
        self._unseen = "" if self._scrub is not None else None
        return dropped

    def _whole(self, piece: str, scrub: Scrubber) -> str:
        """Return a piece without what may be the end of something that was lost."""
        if self._unseen is None:
            return piece
        text = self._unseen + piece
        begin = _beginning(text, scrub)
        self._unseen = text[-MAX_HELD:] if begin is None else None
        return "" if begin is None else text[begin:]

    def _safe_cut(self, scrub: Scrubber) -> int:
        """Return up to where what is held may be shown."""
        limit = len(self._held) - scrub.longest + 1
        cut = _boundary(self._held, limit)
        while cut > 0 and (word := scrub.straddling(self._held, cut)) is not None:
            cut = _boundary(self._held, word[0])
        if cut <= 0 and len(self._held) > MAX_HELD:
            word = scrub.straddling(self._held, limit)
            return limit if word is None else word[0]
        return max(0, cut)


def _beginning(text: str, scrub: Scrubber) -> int | None:
    """Return from where a text may be shown whose beginning is not known; None where more must come first."""
    blank = _BLANK.search(text, scrub.longest - 1)
    while blank is not None and blank.end() + scrub.longest <= len(text):
        word = scrub.straddling(text, blank.end())
        if word is None:
            return blank.end()
        blank = _BLANK.search(text, word[1])
    return None


def _boundary(text: str, limit: int) -> int:
    """Return the last place up to `limit` that lies inside of no path, address or word."""
    head = text[: max(0, limit)]
    if not head or head[-1].isspace():
        return len(head)
    start = len(head) - len(head.split()[-1])
    # Scripts without blanks: after a character that no address has, unless it stands inside a path.
    plain = _PLAIN.match(head, start)
    letters = enumerate(plain[0] if plain else "", start=1)
    return start + max((index for index, letter in letters if not letter.isascii()), default=0)


@dataclass
class _Output:
    """One streamed output: where the next piece begins as it comes, and as it is told."""

    stream: TextStream
    next: int = 0
    told: int = 0

    def take(self, start: int, text: str) -> Iterator[tuple[int, str]]:
        """Yield what may be told, and behind how many characters."""
        if start > self.next:
            self.told += start - self.next + self.stream.lost()
        self.next = start + len(text)
        yield from self.tell(self.stream.feed(text))

    def tell(self, text: str) -> Iterator[tuple[int, str]]:
        """Yield a text that may be told."""
        if text:
            yield self.told, text
        self.told += len(text)


class ScrubbedNews:
    """News of one run as they may be told. For one follower, from its first change to its last.

    Args:
        scrub: makes texts harmless; without it news are told as they come.
    """

    def __init__(self, scrub: Scrubber | None = None) -> None:
        self._scrub = scrub
        self._log = TextStream(scrub)
        self._outputs: dict[str, _Output] = {}
        self._last: dict[str, Any] = {}
        self._heard = False

    def began(self, state: RunState) -> None:
        """Note where the run stood when it was first looked at: later, its log has begun without us."""
        if not self._heard and state in {RunState.RUNNING, RunState.SAVING}:
            self._log.lost()
        self._heard = True

    def __call__(self, news: Mapping[str, Any]) -> dict[str, Any]:
        """Return one message as it may be told now."""
        if self._scrub is None:
            return dict(news)
        self._last = {**news, "message": "", "fraction": None, "log": "", "outputs": []}
        return {
            **news,
            "message": self._scrub(str(news.get("message") or "")),
            "log": self._log.feed(str(news.get("log") or "")),
            "outputs": [told for piece in news.get("outputs") or () for told in self._taken(piece)],
        }

    def rest(self) -> dict[str, Any] | None:
        """Return what was held back, once the run has ended; None where there is nothing."""
        outputs = [
            {"name": name, "start": start, "text": text}
            for name, output in self._outputs.items()
            for start, text in output.tell(output.stream.end())
        ]
        log = self._log.end()
        return {**self._last, "log": log, "outputs": outputs} if log or outputs else None

    def _taken(self, piece: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        name, start = str(piece["name"]), int(piece["start"])
        output = self._outputs.get(name)
        if output is None or start < output.next:  # another attempt begins anew
            output = self._outputs[name] = _Output(TextStream(self._scrub))
        for told, text in output.take(start, str(piece["text"])):
            yield {"name": name, "start": told, "text": text}
