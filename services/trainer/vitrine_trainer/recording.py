"""What a running trial says and uses, written down while it runs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from vitrine_common.bus import Bus
from vitrine_common.documents import ResourceSample, Trial
from vitrine_common.errors import Unavailable
from vitrine_common.messages import TrialProgress
from vitrine_common.states import TrialState
from vitrine_engine import Log, Metric, Progress, Sandbox
from vitrine_trainer.gpus import Gpus
from vitrine_trainer.patience import insisting
from vitrine_trainer.repository import Trials

log = logging.getLogger(__name__)

TAIL_BYTES = 16 * 1024
MAX_NAMES = 1000
"""Most metrics whose last value stands with the trial; every point is kept whatever its names."""
_NEWS_SECONDS = 0.1


@dataclass
class Recorder:
    """Takes a trial's metrics, progress and log.

    `metrics` are the last value of each name; `log_tail` is the end of what was printed.
    """

    trial: Trial
    trials: Trials
    bus: Bus
    metrics: dict[str, float] = field(default_factory=dict)
    exit_code: int | None = None
    peak_memory_bytes: int | None = None
    printed: bytearray = field(default_factory=bytearray)
    _points: int = 0
    _unsent: bytearray = field(default_factory=bytearray)
    _told_at: float = 0.0

    async def metric(self, event: Metric) -> None:
        """Store the numbers and tell whoever looks."""
        values = dict(event.values)
        for name, value in values.items():
            if name in self.metrics or len(self.metrics) < MAX_NAMES:
                self.metrics[name] = value
        await insisting(lambda: self.trials.add_point(self.trial, self._points, event.step, values))
        self._points += 1
        await self._tell(step=event.step, metrics=values)

    async def progress(self, event: Progress) -> None:
        """Tell whoever looks."""
        await self._tell(message=event.message or f"{event.fraction:.0%}")

    async def log(self, event: Log) -> None:
        """Keep what was printed; tell of it a few times a second at most."""
        self.printed += event.data
        self._unsent += event.data
        if time.monotonic() - self._told_at > _NEWS_SECONDS:
            await self._tell()

    async def _tell(
        self, *, message: str = "", step: float | None = None, metrics: dict[str, float] | None = None
    ) -> None:
        log, self._unsent = bytes(self._unsent[-TAIL_BYTES:]).decode(errors="replace"), bytearray()
        self._told_at = time.monotonic()
        await self.bus.tell(
            TrialProgress(
                trial_id=self.trial.id,
                state=TrialState.RUNNING,
                message=message,
                log=log,
                step=step,
                metrics=metrics or {},
            )
        )

    @property
    def log_tail(self) -> str:
        """The end of what was printed, as text."""
        return bytes(self.printed[-TAIL_BYTES:]).decode(errors="replace")


@asynccontextmanager
async def sampling(
    trial: Trial, trials: Trials, sandbox: Sandbox, gpus: Gpus, seconds: float
) -> AsyncIterator[None]:
    """Store a resource sample every `seconds` while the block runs."""

    async def sample_forever() -> None:
        sequence = 0
        before = time.monotonic(), (await sandbox.usage()).cpu_seconds
        while True:
            await asyncio.sleep(seconds)
            usage, now = await sandbox.usage(), time.monotonic()
            gpu = gpus.sample()
            used = max(0.0, usage.cpu_seconds - before[1]) / (now - before[0])
            before = now, usage.cpu_seconds
            sample = ResourceSample(
                id=f"{trial.id}:{trial.attempt}:{sequence:08d}",
                trial_id=trial.id,
                attempt=trial.attempt,
                sequence=sequence,
                cpu_percent=round(used * 100, 1),
                memory_bytes=usage.memory_bytes,
                gpu_utilisation_percent=gpu.utilisation_percent if gpu else None,
                gpu_memory_utilisation_percent=gpu.memory_utilisation_percent if gpu else None,
                gpu_framebuffer_bytes=gpu.framebuffer_bytes if gpu else None,
            )
            with contextlib.suppress(Unavailable):  # one sample less harms nobody
                await trials.add_sample(sample)
            sequence += 1

    task = asyncio.create_task(sample_forever())
    try:
        yield
    finally:
        task.cancel()
        (ended,) = await asyncio.gather(task, return_exceptions=True)
        if ended is not None and not isinstance(ended, asyncio.CancelledError):
            # How the training ends must not depend on whether it could be watched.
            log.warning("sampling ended early", exc_info=ended, extra={"trial": trial.id})
