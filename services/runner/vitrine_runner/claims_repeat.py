"""One repeat of a claim's command: a sandbox of its own, and the number that it leaves."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from dataclasses import dataclass, field, replace

from vitrine_common.documents import Conditions, Repeat
from vitrine_common.ids import new_id
from vitrine_common.spec import Claim
from vitrine_common.spec import Limits as SpecLimits
from vitrine_common.spec.claims import STDOUT
from vitrine_common.spec.sections import split_command
from vitrine_common.states import Reason
from vitrine_common.telemetry import inject, span
from vitrine_common.verdicts import METRIC_BYTES, MetricError, read_last_line, read_metric
from vitrine_engine import (
    Engine,
    EngineError,
    Finished,
    LoadError,
    Log,
    Outcome,
    OutputFile,
    OutputSpec,
    RunEvent,
    RunRequest,
    Sandbox,
    SandboxSpec,
    ScriptModel,
)
from vitrine_engine import Reason as EngineReason
from vitrine_runner.claims_view import DataView
from vitrine_runner.conditions import conditions_of
from vitrine_runner.errors import RunFault
from vitrine_runner.live import ClaimFeed

_OURS = frozenset({EngineReason.PLATFORM_ERROR, EngineReason.CANCELLED})
"""Ends that nobody wished: of a cancelled check, nobody waits for the repeat."""
TAIL_CHARACTERS = 4000
"""Most of a repeat's log that is kept."""


@dataclass
class _Found:
    """What a repeat has left so far."""

    printed: bytearray = field(default_factory=bytearray)
    file: bytes | None = None
    too_large: bool = False
    outcome: Outcome | None = None


@dataclass
class Repetition:
    """Runs a claim's command.

    Args:
        engine: makes the sandboxes.
        spec: of each sandbox, but for its id.
        limits: of each sandbox, as the claim asks for them.
        claim: what is run, and where its number is.
        view: what the command sees of its dataset.
    """

    engine: Engine
    spec: SandboxSpec
    limits: SpecLimits
    claim: Claim
    view: DataView
    conditions: Conditions | None = None
    """What the last repeat ran on."""

    async def carry_out(self, index: int, feed: ClaimFeed) -> Repeat:
        """Run the command once more (counted from 1) and read its number; what fails is in the answer.

        Raises RunFault where the platform failed.
        """
        began = time.monotonic()
        found = _Found()
        with span("repeat", repeat=index):
            try:
                sandbox = await self.engine.start(replace(self.spec, id=new_id("claim")))
                self.conditions = conditions_of(sandbox, self.engine.name, self.limits)
                try:
                    await sandbox.load(ScriptModel())
                    await self._follow(sandbox, index, feed, found)
                finally:
                    await asyncio.shield(sandbox.stop())
            except LoadError as error:
                return Repeat(reason=Reason(error.reason.value), message=str(error)[:2000])
            except (EngineError, ValueError) as error:
                message = f"No sandbox could be started on this host: {error}"
                raise RunFault(Reason.PLATFORM_ERROR, message) from error
        return self._judged(found, feed, (time.monotonic() - began) * 1000)

    async def _follow(self, sandbox: Sandbox, index: int, feed: ClaimFeed, found: _Found) -> None:
        async with aclosing(sandbox.run(self._run(index))) as events:
            async for event in events:
                self._take(event, feed, found)

    def _run(self, index: int) -> RunRequest:
        file = self.claim.metric.file
        wanted = () if file == STDOUT else (OutputSpec(pattern=file, name="metric", required=True),)
        return RunRequest(
            id=f"repeat-{index}",
            argv=tuple(split_command(self.claim.command)),
            files=self.view.files,
            env={**self.view.env, "VITRINE_REPEAT": str(index)},
            outputs=wanted,
            traceparent=inject().get("traceparent"),
        )

    def _take(self, event: RunEvent, feed: ClaimFeed, found: _Found) -> None:
        match event:
            case Log():
                feed.printed(event.data)
                if event.stream == "stdout":
                    found.printed += event.data
                    del found.printed[:-METRIC_BYTES]
            case OutputFile() if event.name == self.claim.metric.file:
                found.too_large = event.size > METRIC_BYTES
                found.file = b"" if found.too_large else event.file.read_bytes()
            case Finished():
                found.outcome = event.outcome

    def _judged(self, found: _Found, feed: ClaimFeed, duration_ms: float) -> Repeat:
        outcome = found.outcome
        if outcome is None or outcome.reason in _OURS:
            message = outcome.message if outcome else "The sandbox ended the repeat without saying how."
            raise RunFault(Reason.PLATFORM_ERROR, message)
        repeat = Repeat(
            duration_ms=round(_own_time(outcome) or duration_ms, 3),
            exit_code=outcome.exit_code,
            peak_memory_bytes=outcome.peak_memory_bytes,
            log_tail=feed.tail[-TAIL_CHARACTERS:],
        )
        if outcome.reason is not None:
            told = {"reason": Reason(outcome.reason.value), "message": outcome.message[:2000]}
            return repeat.model_copy(update=told)
        try:
            return repeat.model_copy(update={"value": self._value(found)})
        except MetricError as error:
            return repeat.model_copy(update={"reason": Reason.USER_ERROR, "message": self._fault(error)})

    def _value(self, found: _Found) -> float:
        metric = self.claim.metric
        if metric.file == STDOUT:
            return read_last_line(bytes(found.printed), metric.keys)
        if found.too_large:
            raise MetricError(f"the file is larger than {METRIC_BYTES} bytes")
        if found.file is None:
            raise MetricError("the command wrote no such file")
        return read_metric(found.file, metric.keys)

    def _fault(self, error: MetricError) -> str:
        file = self.claim.metric.file
        source = "what the command printed" if file == STDOUT else f"`{file}`"
        return f"The metric cannot be read from {source}: {error}."


def _own_time(outcome: Outcome) -> float | None:
    """Return how long the command itself ran, where the sandbox says so."""
    started, user = outcome.timings.started, outcome.timings.user
    return None if started is None or user is None else user - started
