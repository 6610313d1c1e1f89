"""How many runs one host works on at a time, and when it takes no more."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from vitrine_runner.worker import Need


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
        self.notify()
        return True

    def release(self) -> None:
        """Give a slot back."""
        self._free += 1
        self.notify()

    def close(self) -> None:
        """Give out no more."""
        self._closing = True

    def change(self) -> Awaitable[object]:
        """Return what ends when a slot is taken or given back, from this call on, whoever awaits it when."""
        return self._changed.wait()

    def notify(self) -> None:
        """Wake whoever waits for a change."""
        self._changed.set()
        self._changed = asyncio.Event()


@dataclass
class _Share:
    """What the runs of one version have."""

    runs: int = 0
    slots: int = 0


class Shares:
    """Slots by version: runs that one worker takes at a time share one.

    Args:
        slots: what is shared out.
        places: how many runs a worker of a version here takes at a time; 1 where there is none.
        has_place: whether a worker of a version here could take one more run.
    """

    def __init__(
        self, slots: Slots, places: Callable[[Need], int], has_place: Callable[[Need], bool]
    ) -> None:
        self._slots = slots
        self._places = places
        self._has_place = has_place
        self._shares: dict[Need, _Share] = {}

    @property
    def is_free(self) -> bool:
        """Whether some run could be begun now."""
        return self._slots.is_free or (not self._slots.closed and any(map(self._has_spare, self._shares)))

    def take(self, need: Need) -> bool:
        """Let a run of a version begin if there is a slot for it, or one to share; return whether."""
        if self._slots.closed:
            return False
        if not self._has_spare(need):
            if not self._slots.take():
                return False
            self._shares.setdefault(need, _Share()).slots += 1
        self._shares[need].runs += 1
        return True

    def release(self, need: Need) -> None:
        """Note that a run has ended; a slot that no other run needs is given back."""
        share = self._shares[need]
        share.runs -= 1
        while share.slots and (share.slots - 1) * self._places(need) >= share.runs:
            share.slots -= 1
            self._slots.release()
        if not share.runs:
            del self._shares[need]
        self._slots.notify()

    def _has_spare(self, need: Need) -> bool:
        share = self._shares.get(need)
        return share is not None and share.runs < share.slots * self._places(need) and self._has_place(need)
