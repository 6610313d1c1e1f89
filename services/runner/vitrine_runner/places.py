"""Which worker a run gets: a place among others in one that lives, or one without others to itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from vitrine_runner.worker import Need, Worker


class Places:
    """The places in workers.

    Args:
        workers: those that start or live; whoever has the list changes it.
    """

    def __init__(self, workers: list[Worker]) -> None:
        self._workers = workers
        self._lonely: Counter[Need] = Counter()

    @contextmanager
    def wished(self, need: Need, *, alone: bool) -> Iterator[None]:
        """While a run waits for a worker; as long as one wants it to itself, no others get a place."""
        lonely = Counter([need] if alone else [])
        self._lonely += lonely
        try:
            yield
        finally:
            self._lonely -= lonely

    def is_lonely(self, need: Need) -> bool:
        """Whether a run waits that wants a worker of this version to itself."""
        return self._lonely[need] > 0

    def take(self, need: Need, *, alone: bool) -> Worker | None:
        """Take the best place, if there is one: in a ready worker, and of these in the one used last."""
        if self.is_lonely(need) and not alone:
            return None
        free = [worker for worker in self._workers if worker.need == need and worker.has_place]
        fitting = [worker for worker in free if not (alone and worker.users)]
        best = max(fitting, key=lambda worker: (worker.is_ready, worker.idle_since), default=None)
        if best is not None:
            best.users += 1
        return best
