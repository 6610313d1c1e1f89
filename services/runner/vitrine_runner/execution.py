"""One run from its claim to its end: get a worker, compute, store, apply only if the lease still holds."""

from __future__ import annotations

import asyncio
import logging
import shutil
import time
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from vitrine_common.blobs import BlobStore
from vitrine_common.bus import Bus
from vitrine_common.clock import milliseconds_between, utcnow
from vitrine_common.documents import Output, Run, RunRequest, Timings
from vitrine_common.errors import StaleState, Unavailable
from vitrine_common.states import RETRIED, Reason, RunState
from vitrine_common.telemetry import inject, metrics, record_remote_span, span
from vitrine_engine import Finished, Log, Outcome, OutputFile, OutputValue, Progress, RunEvent
from vitrine_runner.errors import RunFault, ServedElsewhere, as_fault
from vitrine_runner.inputs import InputReader
from vitrine_runner.live import LiveFeed, as_text
from vitrine_runner.outputs import OutputCollector
from vitrine_runner.repository import Runs
from vitrine_runner.workers import Lent, Need, WorkerPool

log = logging.getLogger(__name__)

UNSEEN_SECONDS = 0.02
"""A run that computes for less than this is not written down as `running`: nobody could have looked."""
AGAIN_SECONDS = 0.2

Wish = Literal["cancel", "give_back"]


@dataclass(frozen=True)
class Desk:
    """What every execution of this process works with."""

    runs: Runs
    pool: WorkerPool
    blobs: BlobStore
    bus: Bus
    folder: Path
    retry_seconds: float


@dataclass
class Ending:
    """How the work ended, before anybody is told."""

    reason: Reason | None = None
    message: str = ""
    outputs: list[Output] = field(default_factory=list)
    outcome: Outcome | None = None


class Execution:
    """One attempt at one run. `carry_out` never raises.

    Args:
        desk: what to work with.
        request: what was asked for.
        run: the claimed document.
    """

    def __init__(self, desk: Desk, request: RunRequest, run: Run) -> None:
        self._desk = desk
        self._request = request
        self._run = run
        self._claimed_at = utcnow()
        self._folder = desk.folder / run.id
        self._feed = LiveFeed(desk.bus, run.id)
        self._work: asyncio.Task[Ending] | None = None
        self._wish: Wish | None = "cancel" if run.cancel_requested else None
        self._noting: asyncio.Task[Run] | None = None
        self._lent: Lent | None = None
        self._began: float | None = None
        self._computed: float | None = None

    @property
    def run_id(self) -> str:
        """The run's id."""
        return self._run.id

    @property
    def request(self) -> RunRequest:
        """What was asked for."""
        return self._request

    def cancel(self) -> None:
        """End the run as cancelled; too late once its result is being written down."""
        self._interrupt("cancel")

    def give_back(self) -> None:
        """Stop the work and put the run back into the queue as if it had not been begun."""
        self._interrupt("give_back")

    def _interrupt(self, wish: Wish) -> None:
        if self._wish is None:
            self._wish = wish
            if self._work is not None:
                self._work.cancel()

    async def carry_out(self) -> None:
        """Work on the run and write its end down; a lost lease drops everything."""
        with span("run", parent=self._request.trace, run_id=self.run_id, attempt=self._run.attempt):
            try:
                async with self._desk.runs.queue.held(self._run, self._heard):
                    await self._feed.state(RunState.STARTING)
                    ending = await self._worked()
                    await self._apply(ending)
            except StaleState:
                log.warning(
                    "the lease was lost; this attempt's result is dropped", extra={"run": self.run_id}
                )
            except Exception:
                log.exception("the run is left to the reaper", extra={"run": self.run_id})
            finally:
                if self._folder.exists():
                    await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)

    def _heard(self, run: Run) -> None:
        """Notice a cancellation whose message was lost."""
        if run.cancel_requested:
            self.cancel()

    async def _worked(self) -> Ending:
        self._work = asyncio.create_task(self._compute_and_store(), name=f"work on {self.run_id}")
        if self._wish is not None:
            self._work.cancel()
        try:
            return await self._work
        except asyncio.CancelledError:
            owner = asyncio.current_task()
            if self._wish is None or (owner is not None and owner.cancelling()):
                raise
            return Ending(Reason.CANCELLED, "The run was cancelled.")
        except StaleState:
            raise
        except ServedElsewhere as error:
            self._wish = self._wish or "give_back"
            await asyncio.sleep(self._desk.retry_seconds)  # until the others' beats say so here as well
            return Ending(Reason.CANCELLED, error.message)
        except Exception as error:
            fault = as_fault(error)
            if fault is not error:
                log.exception("the platform failed a run", extra={"run": self.run_id})
            self._feed.printed(fault.log.encode())
            return Ending(fault.reason, fault.message)
        finally:
            await self._noted()

    async def _compute_and_store(self) -> Ending:
        request = self._request
        need = Need(request.version_digest, request.environment_digest, request.owner_id)
        # Of several runs nobody knows which one ended their worker: begun again, each has one to itself, and
        # the one that ends that is known.
        again = self._run.attempt > 1
        async with self._desk.pool.lent(need, may_leave=True, alone=again) as lent:
            self._lent = lent
            collector = OutputCollector(lent.worker.bundle, self._folder)
            outcome = await self._compute(lent, collector)
        if outcome.reason is not None:
            reason = Reason(outcome.reason.value)
            if reason is Reason.CANCELLED:  # nobody wished it, or this task would not have come here
                reason = Reason.PLATFORM_ERROR
            return Ending(reason, outcome.message, outcome=outcome)
        with span("save"):
            if collector.needs_storing:
                await self._show_saving()
            try:
                outputs = await collector.store(self._desk.blobs, log_truncated=outcome.log_truncated)
            except RunFault as fault:
                return Ending(fault.reason, fault.message, outcome=outcome)
            return Ending(outputs=outputs, outcome=outcome)

    async def _compute(self, lent: Lent, collector: OutputCollector) -> Outcome:
        with span("compute", cold=lent.cold):
            reader = InputReader(self.run_id, self._desk.blobs, self._folder, inject().get("traceparent"))
            request = await reader.request(lent.worker.bundle, self._request.inputs)
            await self._feed.state(RunState.RUNNING)
            timer = asyncio.get_running_loop().call_later(UNSEEN_SECONDS, self._note_running)
            self._began = time.time()
            try:
                async with aclosing(lent.worker.sandbox.run(request)) as events:
                    async for event in events:
                        if isinstance(event, Finished):
                            self._record_remote(event.outcome)
                            return event.outcome
                        self._take(event, collector)
            except ValueError as error:
                raise RunFault(Reason.INPUT_INVALID, f"The inputs cannot be run: {error}") from error
            finally:
                timer.cancel()
                self._computed = time.time()
        raise RunFault(Reason.PLATFORM_ERROR, "The sandbox ended the run without saying how.")

    def _take(self, event: RunEvent, collector: OutputCollector) -> None:
        match event:
            case Log():
                self._feed.printed(event.data)
                if event.stream == "stdout":
                    collector.printed(event.data)
            case Progress():
                self._feed.progressed(event.fraction, event.message)
            case OutputFile():
                collector.file(event)
            case OutputValue():
                collector.value(event)
                if event.partial:
                    self._feed.streamed(event.name, as_text(event.value))

    def _note_running(self) -> None:
        self._noting = asyncio.create_task(self._desk.runs.note_running(self._run), name="note running")

    async def _noted(self) -> None:
        """Wait until the document is as this process believes; a lost lease ends the work."""
        noting, self._noting = self._noting, None
        if noting is not None:
            try:
                self._run = await noting
            except Unavailable:
                log.warning("running was not written down", extra={"run": self.run_id})

    async def _show_saving(self) -> None:
        await self._noted()
        self._run = await self._desk.runs.note_saving(self._run)
        await self._feed.state(RunState.SAVING)

    def _record_remote(self, outcome: Outcome) -> None:
        """Put what the sandbox measured into the trace."""
        started, user = outcome.timings.started, outcome.timings.user
        if self._began is None or started is None or user is None:
            return
        start, end = (int((self._began + point / 1000) * 1e9) for point in (started, user))
        record_remote_span("sandbox", start, end, {"exit_code": outcome.exit_code or 0})

    async def _apply(self, ending: Ending) -> None:
        if self._wish == "give_back" and ending.reason is Reason.CANCELLED:
            await self._insist_give_back(counted=False)
        elif ending.reason in RETRIED and self._desk.runs.may_retry(self._run):
            log.warning("will be tried again: %s", ending.message, extra={"run": self.run_id})
            await asyncio.sleep(self._desk.retry_seconds)
            await self._insist_give_back(counted=True)
        else:
            await self._finish(ending)

    async def _insist_give_back(self, *, counted: bool) -> None:
        while True:
            try:
                run = await self._desk.runs.give_back(self._run, self._request, counted=counted)
            except Unavailable:
                await asyncio.sleep(AGAIN_SECONDS)
            else:
                return await self._feed.state(RunState.QUEUED, run.message)

    async def _finish(self, ending: Ending) -> None:
        state = _STATES.get(ending.reason, RunState.FAILED)
        changes = self._changes(ending)
        await self._feed.flush()
        while True:
            try:
                await self._desk.runs.finish(self._run, state, changes)
            except Unavailable:
                await asyncio.sleep(AGAIN_SECONDS)  # the heartbeat ends this when the lease is gone
            else:
                break
        self._measure(state, ending, changes["timings"])
        await self._feed.state(state, ending.message)
        log.info("run ended", extra={"run": self.run_id, "state": state.value, "reason": ending.reason})

    def _measure(self, state: RunState, ending: Ending, timings: Timings) -> None:
        metrics.count("vitrine_runs", state=state.value, reason=ending.reason.value if ending.reason else "")
        metrics.observe("vitrine_run_wait_seconds", _seconds(timings.queued_ms))
        start = "cold" if self._lent is None or self._lent.cold else "warm"
        metrics.observe("vitrine_run_start_seconds", _seconds(timings.start_ms), start=start)
        metrics.observe("vitrine_run_compute_seconds", _seconds(timings.compute_ms))
        metrics.count("vitrine_run_output_bytes", sum(output.size or 0 for output in ending.outputs))

    def _changes(self, ending: Ending) -> Mapping[str, Any]:
        outcome = ending.outcome
        return {
            "reason": ending.reason,
            "message": ending.message[:2000],
            "outputs": ending.outputs,
            "cold": self._lent.cold if self._lent else None,
            "timings": self._timings(outcome),
            "exit_code": outcome.exit_code if outcome else None,
            "peak_memory_bytes": outcome.peak_memory_bytes if outcome else None,
            "log_tail": self._feed.tail,
            "conditions": self._desk.pool.conditions(self._lent) if self._lent else None,
        }

    def _timings(self, outcome: Outcome | None) -> Timings:
        asked, now = self._request.created_at, time.time()
        claimed = self._claimed_at.timestamp()
        began, computed = self._began, self._computed
        if outcome is not None and began is not None and outcome.timings.started is not None:
            # From when the program had its inputs, and to when it ended, where the sandbox says so.
            end = outcome.timings.user
            computed = began + end / 1000 if end is not None else computed
            began += outcome.timings.started / 1000
        return Timings(
            queued_ms=_positive(milliseconds_between(asked, self._claimed_at)),
            start_ms=_positive((began - claimed) * 1000) if began is not None else None,
            compute_ms=_positive((computed - began) * 1000) if began and computed else None,
            save_ms=_positive((now - computed) * 1000) if computed is not None else None,
            total_ms=_positive((now - asked.timestamp()) * 1000),
        )


_STATES: Mapping[Reason | None, RunState] = {None: RunState.SUCCEEDED, Reason.CANCELLED: RunState.CANCELLED}


def _seconds(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000


def _positive(milliseconds: float) -> float:
    """Return a duration; clocks of two hosts may disagree by a little."""
    return round(max(0.0, milliseconds), 3)
