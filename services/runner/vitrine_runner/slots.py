"""How many runs one host works on at a time, and when it takes no more."""

from __future__ import annotations

import asyncio


class Slots:
    """Counts free slots. After `close`, none is given any more.

    Args:
        number: how many there are.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self._free = number
        self._closing = False
        self._changed = asyncio.Event()

    @property
    def is_free(self) -> bool:
        """Whether one could be taken now."""
        return self._free > 0 and not self._closing

    @property
    def closed(self) -> bool:
        """Whether none is given out any more."""
        return self._closing

    @property
    def busy(self) -> int:
        """How many are taken."""
        return self.number - self._free

    def take(self) -> bool:
        """Take a slot if one is free; return whether."""
        if not self.is_free:
            return False
        self._free -= 1
        self._notify()
        return True

    def release(self) -> None:
        """Give a slot back."""
        self._free += 1
        self._notify()

    def close(self) -> None:
        """Give out no more."""
        self._closing = True

    async def change(self) -> None:
        """Return when a slot was taken or given back."""
        await self._changed.wait()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
