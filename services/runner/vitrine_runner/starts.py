"""How runs start on this host: warm or cold."""

from __future__ import annotations

import time
from collections.abc import Callable

_MINUTES = 60


class Starts:
    """How many runs of the last hour found a warm worker, and how many did not.

    Args:
        clock: seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._minutes: dict[int, list[int]] = {}

    def note(self, *, cold: bool) -> None:
        """Count a run."""
        now = int(self._clock() // 60)
        self._minutes.setdefault(now, [0, 0])[cold] += 1
        self._minutes = {
            minute: counts for minute, counts in self._minutes.items() if minute > now - _MINUTES
        }

    @property
    def of_last_hour(self) -> tuple[int, int]:
        """Cold and warm starts."""
        after = int(self._clock() // 60) - _MINUTES
        counts = [counts for minute, counts in self._minutes.items() if minute > after]
        return sum(cold for _, cold in counts), sum(warm for warm, _ in counts)
