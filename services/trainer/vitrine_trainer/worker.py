"""The worker: takes trials whose environment is there, a few at a time, and carries each to its end."""

from __future__ import annotations

import asyncio
import contextlib
import logging

from vitrine_common.blobs import BlobStore
from vitrine_common.bus import Bus
from vitrine_common.clock import utcnow
from vitrine_common.documents import Output, Trial
from vitrine_common.errors import StaleState
from vitrine_common.ids import sibling_id
from vitrine_common.messages import Message, TrialFinished, TrialProgress, VersionRegister
from vitrine_common.states import Reason, TrialState
from vitrine_common.telemetry import span
from vitrine_engine import EngineError
from vitrine_trainer.patience import insisting
from vitrine_trainer.recording import Recorder
from vitrine_trainer.repository import Trials
from vitrine_trainer.training import Training, TrainingFailed, store_version

log = logging.getLogger(__name__)


class Worker:
    """Carries out trials. The database is the queue; a message only wakes the worker.

    Args:
        trials: the documents.
        training: how one trial is carried out.
        slots: trials at a time.
        look_seconds: between two looks for trials that no message told of.
    """

    def __init__(
        self,
        trials: Trials,
        training: Training,
        bus: Bus,
        blobs: BlobStore,
        *,
        slots: int,
        look_seconds: float,
    ) -> None:
        self._trials = trials
        self._training = training
        self._bus = bus
        self._blobs = blobs
        self._slots = slots
        self._look_seconds = look_seconds
        self._wake = asyncio.Event()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._cancelled: set[str] = set()

    def wake(self) -> None:
        """Look for trials now."""
        self._wake.set()

    def cancel(self, trial_id: str) -> None:
        """Stop the trial if it runs here."""
        if (task := self._tasks.get(trial_id)) is not None and trial_id not in self._cancelled:
            self._cancelled.add(trial_id)
            task.cancel()

    async def run(self) -> None:
        """Work until cancelled; trials under way are then given back for another trainer."""
        try:
            while True:
                self._wake.clear()
                try:
                    await self._catch_up()
                    await self._take()
                except Exception:
                    log.exception("looking for trials failed; again in a moment")
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._look_seconds):
                        await self._wake.wait()
        finally:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _catch_up(self) -> None:
        for build in await self._trials.waiting_builds():
            if build.environment_digest:
                await self._trials.environment_ready(build.id, build.environment_digest)
            else:
                await self._trials.environment_failed(build.id)

    async def _take(self) -> None:
        free = self._slots - len(self._tasks)
        for waiting in await self._trials.startable(free) if free > 0 else ():
            trial = await self._trials.queue.claim(waiting.id, TrialState.RUNNING, {"started_at": utcnow()})
            if trial is not None:
                task = asyncio.create_task(self._carry_out(trial), name=trial.id)
                self._tasks[trial.id] = task
                task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.pop(task.get_name(), None)
        self._cancelled.discard(task.get_name())
        self._wake.set()
        if not task.cancelled() and task.exception() is not None:
            log.error("trial %s was left to the reaper", task.get_name(), exc_info=task.exception())

    def _renewed(self, trial: Trial) -> None:
        if trial.cancel_requested:
            self.cancel(trial.id)

    async def _carry_out(self, trial: Trial) -> None:
        recorder = Recorder(trial, self._trials, self._bus)
        request = await self._trials.request(trial.id)
        await self._bus.tell(TrialProgress(trial_id=trial.id, state=TrialState.RUNNING))
        try:
            with span("trial", parent=request.trace, trial=trial.id):
                async with self._trials.queue.held(trial, self._renewed):
                    await self._to_the_end(trial, recorder, register=request.register_version)
        except StaleState:
            log.warning("trial was taken over", extra={"trial": trial.id})
        except asyncio.CancelledError:
            if trial.id not in self._cancelled:
                await self._trials.give_back(trial)
                raise
            await self._end(trial, recorder, TrialState.CANCELLED, Reason.CANCELLED, "cancelled")

    async def _to_the_end(self, trial: Trial, recorder: Recorder, *, register: bool) -> None:
        try:
            outputs = await self._training.carry_out(trial, recorder)
            await self._succeed(trial, recorder, outputs, register=register)
        except TrainingFailed as error:
            await self._end(trial, recorder, TrialState.FAILED, error.reason, error.message)
        except EngineError as error:
            log.exception("the platform failed a trial", extra={"trial": trial.id})
            await self._end(trial, recorder, TrialState.FAILED, Reason.PLATFORM_ERROR, str(error))

    async def _succeed(
        self, trial: Trial, recorder: Recorder, outputs: list[Output], *, register: bool
    ) -> None:
        facts: list[Message] = []
        changes: dict[str, object] = {"outputs": outputs}
        if register:
            digest = await store_version(self._blobs, trial.source_digest, outputs)
            version_id = sibling_id("version", trial.id)
            changes |= {"version_id": version_id, "version_digest": digest}
            facts.append(VersionRegister(version_id=version_id, manifest_digest=digest, trial_id=trial.id))
        await self._end(trial, recorder, TrialState.SUCCEEDED, changes=changes, facts=facts)

    async def _end(
        self,
        trial: Trial,
        recorder: Recorder,
        state: TrialState,
        reason: Reason | None = None,
        message: str = "",
        *,
        changes: dict[str, object] | None = None,
        facts: list[Message] | None = None,
    ) -> None:
        written = {
            "reason": reason,
            "message": message,
            "metrics": recorder.metrics,
            "peak_memory_bytes": recorder.peak_memory_bytes,
            "exit_code": recorder.exit_code,
            "log_tail": recorder.log_tail,
            "log_digest": await insisting(
                lambda: self._blobs.put_bytes(bytes(recorder.printed), "text/plain")
            ),
            **(changes or {}),
        }
        digest = written.get("version_digest")
        finished = TrialFinished(
            trial_id=trial.id, state=state, reason=reason, version_digest=str(digest) if digest else None
        )
        await insisting(lambda: self._trials.finish(trial, state, written, [*(facts or []), finished]))
        await self._bus.tell(TrialProgress(trial_id=trial.id, state=state, message=message))
