"""What stands ready on this host, as placement and other hosts want to know it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Literal

from vitrine_common.messages import WarmEnvironment, WarmVersion
from vitrine_engine import Engine
from vitrine_runner.worker import Need, Worker

ZYGOTE_SECONDS = 0.5


class Standing:
    """What is warm.

    Args:
        engine: keeps zygotes.
        workers: the pool's, as they are at any moment.
    """

    def __init__(self, engine: Engine, workers: Sequence[Worker]) -> None:
        self._engine = engine
        self._workers = workers
        self._zygotes: tuple[WarmEnvironment, ...] = ()
        self._zygotes_until = 0.0

    def _of(self, need: Need) -> list[Worker]:
        return [worker for worker in self._workers if worker.need == need]

    def versions(self) -> tuple[WarmVersion, ...]:
        """Return the versions that workers serve here, and how many more runs they could take at once."""
        needs = dict.fromkeys(worker.need for worker in self._workers)
        return tuple(
            WarmVersion(
                version_digest=need.version_digest,
                environment_digest=need.environment_digest,
                owner_id=need.owner_id,
                workers=len(self._of(need)),
                free_places=sum(worker.free_places for worker in self._of(need) if worker.is_ready),
                most=self._of(need)[0].bundle.spec.scaling.max,
            )
            for need in needs
        )

    def environments_in_use(self) -> tuple[WarmEnvironment, ...]:
        """Return the environments that live in a worker here."""
        needs = [worker.need for worker in self._workers]
        found = [
            WarmEnvironment(environment_digest=need.environment_digest, owner_id=need.owner_id)
            for need in needs
        ]
        return tuple(dict.fromkeys(found))

    def environments(self) -> tuple[WarmEnvironment, ...]:
        """Return the environments in which a worker starts quickly here: one lives, or a zygote does.

        Zygotes are looked at every half second at most: their memory is measured each time.
        """
        now = time.monotonic()
        if now >= self._zygotes_until:
            self._zygotes_until = now + ZYGOTE_SECONDS
            self._zygotes = tuple(
                WarmEnvironment(environment_digest=f"sha256:{one.environment.name}", owner_id=one.owner)
                for one in self._engine.figures().zygotes
            )
        return tuple(dict.fromkeys((*self.environments_in_use(), *self._zygotes)))

    def warmth(self, need: Need) -> Literal[0, 1, 2]:
        """Return 2 where a ready worker has a place, 1 where the environment is warm, else 0."""
        if any(worker.is_ready and worker.has_place for worker in self._of(need)):
            return 2
        place = WarmEnvironment(environment_digest=need.environment_digest, owner_id=need.owner_id)
        return 1 if place in self.environments() else 0

    def number_of(self, need: Need) -> int:
        """Return how many workers serve a version here."""
        return len(self._of(need))

    def has_place(self, need: Need) -> bool:
        """Whether one of them has a place, now or once it is ready."""
        return any(worker.has_place for worker in self._of(need))

    def places(self, need: Need) -> int:
        """Return how many runs a worker of a version takes at a time; 1 where there is none here."""
        workers = self._of(need)
        return workers[0].bundle.spec.scaling.places if workers else 1

    def is_full(self, need: Need) -> bool:
        """Whether a version has as many workers as its `scaling.max` allows, and all of them are full."""
        workers = self._of(need)
        most = workers[0].bundle.spec.scaling.max if workers else None
        return most is not None and len(workers) >= most and not self.has_place(need)
