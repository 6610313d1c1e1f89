"""One check of a claim: every repeat, then the verdict, applied only if the lease still holds."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from vitrine_common.bus import Bus
from vitrine_common.documents import ClaimCheck, ClaimCheckRequest, Conditions, Repeat
from vitrine_common.errors import StaleState, Unavailable
from vitrine_common.spec import Claim
from vitrine_common.spec import Limits as SpecLimits
from vitrine_common.states import RETRIED, ClaimState, Reason
from vitrine_common.telemetry import span
from vitrine_common.verdicts import METRIC_BYTES, judge
from vitrine_engine import Engine, SandboxSpec
from vitrine_runner.bundles import Bundle, Bundles
from vitrine_runner.claims_repeat import Repetition
from vitrine_runner.claims_view import DataView, Viewer
from vitrine_runner.errors import as_fault
from vitrine_runner.execution import Wish
from vitrine_runner.gpus import Grant
from vitrine_runner.live import ClaimFeed
from vitrine_runner.repository import Checks
from vitrine_runner.sandboxes import sandbox_spec
from vitrine_runner.settings import RunnerSettings
from vitrine_runner.workers import Need, WorkerPool

log = logging.getLogger(__name__)

AGAIN_SECONDS = 0.2


@dataclass(frozen=True)
class ClaimDesk:
    """What every check of this process works with."""

    checks: Checks
    engine: Engine
    pool: WorkerPool
    bundles: Bundles
    viewer: Viewer
    bus: Bus
    folder: Path
    settings: RunnerSettings


@dataclass
class _Ending:
    """How the work ended, before anybody is told."""

    repeats: list[Repeat] = field(default_factory=list)
    reason: Reason | None = None
    message: str = ""


class CheckExecution:
    """One attempt at one check. `carry_out` never raises.

    Args:
        desk: what to work with.
        request: what was asked for.
        check: the claimed document.
    """

    def __init__(self, desk: ClaimDesk, request: ClaimCheckRequest, check: ClaimCheck) -> None:
        self._desk = desk
        self._request = request
        self._check = check
        self._claim = Claim.model_validate(TypeAdapter(dict[str, Any]).validate_json(request.claim))
        self._folder = desk.folder / f"{check.id}-{check.attempt}"
        self._feed = ClaimFeed(desk.bus, check.id, self._claim.repeats)
        self._repeats: list[Repeat] = []
        self._conditions: Conditions | None = None
        self._work: asyncio.Task[_Ending] | None = None
        self._wish: Wish | None = "cancel" if check.cancel_requested else None

    def cancel(self) -> None:
        """End the check as cancelled; too late once its verdict is being written down."""
        self._interrupt("cancel")

    def give_back(self) -> None:
        """Stop the work and put the check back into the queue as if it had not been begun."""
        self._interrupt("give_back")

    def _interrupt(self, wish: Wish) -> None:
        if self._wish is None:
            self._wish = wish
            if self._work is not None:
                self._work.cancel()

    async def carry_out(self) -> None:
        """Work on the check and write its end down; a lost lease drops everything."""
        with span("claim check", parent=self._request.trace, check_id=self._check.id):
            try:
                async with self._desk.checks.queue.held(self._check, self._heard):
                    await self._apply(await self._worked())
            except StaleState:
                log.warning("the lease was lost; the result is dropped", extra={"check": self._check.id})
            except Exception:
                log.exception("the check is left to the reaper", extra={"check": self._check.id})
            finally:
                await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)

    def _heard(self, check: ClaimCheck) -> None:
        """Notice a cancellation whose message was lost."""
        if check.cancel_requested:
            self.cancel()

    async def _worked(self) -> _Ending:
        self._work = asyncio.create_task(self._repeat_all(), name=f"check {self._check.id}")
        if self._wish is not None:
            self._work.cancel()
        try:
            return await self._work
        except asyncio.CancelledError:
            owner = asyncio.current_task()
            if self._wish is None or (owner is not None and owner.cancelling()):
                raise
            return _Ending(self._repeats, Reason.CANCELLED, "The check was cancelled.")
        except StaleState:
            raise
        except Exception as error:
            fault = as_fault(error)
            if fault is not error:
                log.exception("the platform failed a check", extra={"check": self._check.id})
            return _Ending(self._repeats, fault.reason, fault.message)

    async def _repeat_all(self) -> _Ending:
        desk, request = self._desk, self._request
        async with (
            desk.bundles.held(request.version_digest) as bundle,
            desk.viewer.shown(self._claim, request, self._folder) as view,
            desk.pool.shelf.held(request.environment_digest),
        ):
            settings = desk.settings
            limits = bundle.spec.claim_limits(self._claim, settings.defaults, settings.ceiling)
            async with desk.pool.room(limits) as grant:
                spec = self._sandbox(bundle, limits, view, grant)
                repetition = Repetition(desk.engine, spec, limits, self._claim, view)
                for index in range(1, self._claim.repeats + 1):
                    await self._feed.begin(index)
                    self._repeats.append(await repetition.carry_out(index, self._feed))
                    self._conditions = repetition.conditions
                    await self._noted()
                    if self._repeats[-1].reason is not None:
                        break  # what is left could not change the verdict
        last = self._repeats[-1]
        return _Ending(self._repeats, last.reason, last.message)

    async def _noted(self) -> None:
        try:
            await self._desk.checks.note_repeats(self._check, self._repeats)
        except Unavailable:
            log.warning("a repeat was not written down", extra={"check": self._check.id})

    def _sandbox(
        self, bundle: Bundle, limits: SpecLimits, view: DataView, grant: Grant | None
    ) -> SandboxSpec:
        """Return a sandbox as runs have it, which sees the dataset and may leave a number, not more."""
        request = self._request
        need = Need(request.version_digest, request.environment_digest, request.owner_id)
        spec = sandbox_spec(self._desk.pool.shelf, self._desk.settings, need, bundle, limits, grant)
        return replace(
            spec,
            owner=None,  # sealed: it shares nothing, not even an interpreter
            limits=replace(spec.limits, output_bytes=2 * METRIC_BYTES),
            binds=(*spec.binds, *view.binds),
            max_runs=1,
        )

    async def _apply(self, ending: _Ending) -> None:
        checks = self._desk.checks
        if self._wish == "give_back" and ending.reason is Reason.CANCELLED:
            await self._insist_give_back(counted=False)
        elif ending.reason in RETRIED and checks.may_retry(self._check):
            log.warning("will be tried again: %s", ending.message, extra={"check": self._check.id})
            await asyncio.sleep(self._desk.settings.retry_seconds)
            await self._insist_give_back(counted=True)
        else:
            await self._finish(ending)

    async def _insist_give_back(self, *, counted: bool) -> None:
        while True:
            try:
                await self._desk.checks.give_back(self._check, counted=counted)
            except Unavailable:
                await asyncio.sleep(AGAIN_SECONDS)
            else:
                return await self._feed.state(ClaimState.QUEUED)

    async def _finish(self, ending: _Ending) -> None:
        judgement = judge(self._claim, [repeat.value for repeat in ending.repeats])
        state = ClaimState(judgement.verdict)
        if ending.reason is Reason.CANCELLED:
            state = ClaimState.CANCELLED
        else:
            await self._show_saving()
        changes = {
            **self._facts(ending),
            "expected": judgement.expected,
            "tolerance": judgement.tolerance,
            "measured": judgement.measured,
            "spread": judgement.spread,
        }
        while True:
            try:
                await self._desk.checks.finish(self._check, state, changes)
            except Unavailable:
                await asyncio.sleep(AGAIN_SECONDS)  # the heartbeat ends this when the lease is gone
            else:
                break
        await self._feed.state(state)
        log.info("check ended", extra={"check": self._check.id, "state": state.value})

    async def _show_saving(self) -> None:
        try:
            self._check = await self._desk.checks.note_saving(self._check)
        except Unavailable:
            return
        await self._feed.state(ClaimState.SAVING)

    def _facts(self, ending: _Ending) -> Mapping[str, Any]:
        peaks = [r.peak_memory_bytes for r in ending.repeats if r.peak_memory_bytes is not None]
        return {
            "reason": ending.reason,
            "message": ending.message[:2000],
            "repeats": ending.repeats,
            "conditions": self._conditions,
            "peak_memory_bytes": max(peaks, default=None),
        }
