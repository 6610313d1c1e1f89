"""Rate limits by token buckets in this process: with several api processes, each allows the rate."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

from vitrine_api.errors import RateLimited

_MAX_KEYS = 20_000


class RateLimit:
    """A bucket for each key; the longest unused ones are forgotten when there are too many.

    Args:
        what: named in the refusal, in the plural.
        per_minute: rate, and size of a burst.
        clock: seconds; for tests.
    """

    def __init__(self, what: str, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._what = what
        self._size = float(per_minute)
        self._per_second = per_minute / 60
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, *keys: str) -> None:
        """Take one from the bucket of each key. Raises RateLimited, and takes nothing, when one is empty."""
        now = self._clock()
        levels = {key: self._level(key, now) for key in keys}
        lowest = min(levels.values())
        if lowest < 1:
            raise RateLimited(self._what, (1 - lowest) / self._per_second)
        for key, level in levels.items():
            self._buckets[key] = (level - 1, now)
            self._buckets.move_to_end(key)
        while len(self._buckets) > _MAX_KEYS:
            self._buckets.popitem(last=False)

    def check(self, *keys: str) -> None:
        """Raise RateLimited when the bucket of a key is empty; take nothing."""
        now = self._clock()
        lowest = min(self._level(key, now) for key in keys)
        if lowest < 1:
            raise RateLimited(self._what, (1 - lowest) / self._per_second)

    def _level(self, key: str, now: float) -> float:
        level, since = self._buckets.get(key, (self._size, now))
        return min(self._size, level + (now - since) * self._per_second)
