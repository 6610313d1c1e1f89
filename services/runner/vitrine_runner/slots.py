"""How many runs one host works on at a time, and when it takes no more."""

from __future__ import annotations

import asyncio
from contextlib import suppress


class Slots:
    """Counts free slots. After `close`, none is given any more; after `end`, nobody waits any more.

    Args:
        number: how many there are.
    """

    def __init__(self, number: int) -> None:
        self._free = number
        self._closing = False
        self._ended = False
        self._changed = asyncio.Event()

    @property
    def ended(self) -> bool:
        """Whether waiting is in vain."""
        return self._ended

    @property
    def is_free(self) -> bool:
        """Whether one could be taken now."""
        return self._free > 0 and not self._closing

    def take(self) -> bool:
        """Take a slot if one is free; return whether."""
        if not self.is_free:
            return False
        self._free -= 1
        return True

    def release(self) -> None:
        """Give a slot back."""
        self._free += 1
        self._notify()

    def close(self) -> None:
        """Give out no more."""
        self._closing = True

    def end(self) -> None:
        """Let everybody who waits go on."""
        self._closing = self._ended = True
        self._notify()

    async def change(self, seconds: float | None = None) -> None:
        """Return when something changed, or after `seconds`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changed.wait()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
