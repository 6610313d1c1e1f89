"""One worker: a sandbox with one version in it, and the runs that it has places for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import datetime

from vitrine_common.clock import utcnow
from vitrine_common.spec import Limits as SpecLimits
from vitrine_engine import Sandbox
from vitrine_runner.bundles import Bundle
from vitrine_runner.gpus import Grant


@dataclass(frozen=True)
class Need:
    """What a run needs a worker for: one owner's version in one environment."""

    version_digest: str
    environment_digest: str
    owner_id: str


@dataclass(eq=False)
class Worker:
    """One sandbox that serves one version only. `starting` ends when it is ready, or raises RunFault."""

    need: Need
    bundle: Bundle
    limits: SpecLimits
    starting: asyncio.Task[Sandbox]
    holds: AsyncExitStack
    grant: Grant | None = None
    """Its GPUs."""
    is_retired: Callable[[], bool] = lambda: False
    """Whether it may begin no more runs: its version has all its workers elsewhere."""
    ahead: bool = False
    """Whether it was started before anybody asked."""
    users: int = 0
    is_alone: bool = False
    """Whether its one run shall have no company."""
    idle_since: float = field(default=0.0)
    served: int = 0
    """Runs that it was lent for."""
    is_expected: bool = False
    """Whether it was started for a run that had not come yet, and has not served one: that run's start."""
    since: datetime = field(default_factory=utcnow)

    @property
    def is_ready(self) -> bool:
        """Whether the sandbox can take a run now."""
        return self._started and self.starting.result().alive

    @property
    def is_idle(self) -> bool:
        """Whether it is ready, or dead, and nobody uses it."""
        return self._started and not self.users

    @property
    def makes_way(self) -> bool:
        """Whether it may be stopped for others: nobody uses it, nor, while it starts, has asked for it."""
        return self.is_idle or (self.is_expected and not self.users)

    @property
    def has_place(self) -> bool:
        """Whether one more run fits in, now or as soon as it is ready."""
        usable = not self.starting.done() or self.is_ready
        return usable and self.free_places > 0 and not self.is_retired()

    @property
    def free_places(self) -> int:
        """How many more runs fit in."""
        return 0 if self.is_alone else self.bundle.spec.scaling.places - self.users

    @property
    def sandbox(self) -> Sandbox:
        """The sandbox of a worker that has been started."""
        return self.starting.result()

    @property
    def _started(self) -> bool:
        return self.starting.done() and not self.starting.cancelled() and self.starting.exception() is None


@dataclass(frozen=True)
class Lent:
    """A worker's place for one run; `cold` when the run had to wait for the worker's start."""

    worker: Worker
    cold: bool
