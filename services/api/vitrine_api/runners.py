"""The runners, for operators: what each has at work, and what waits for them."""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import datetime

from pydantic import BaseModel, ValidationError

from vitrine_api.instance import Instance, ProcessReport
from vitrine_api.policy import Member
from vitrine_api.repository import Repository
from vitrine_common.run_queue import Device
from vitrine_common.runner_report import RunnerReport
from vitrine_common.telemetry import metrics

log = logging.getLogger(__name__)

MOST_WAITING = 1000
MEASURE_SECONDS = 5.0
_MOST_NAMED = 200
_DEVICES: tuple[Device, ...] = ("cpu", "gpu")


class RunnerState(BaseModel):
    """A runner. `report` is what it told last; None from one of another release."""

    holder: str
    version: str
    started_at: datetime
    heard_at: datetime | None
    answers: bool
    report: RunnerReport | None = None


class WaitingRuns(BaseModel):
    """The runs that wait for one device; `more` where there are more than were counted."""

    device: Device
    number: int
    more: bool
    longest_seconds: float | None


class FleetState(BaseModel):
    """All runners and what waits. `references` name the versions that workers serve, by digest."""

    runners: list[RunnerState]
    waiting: list[WaitingRuns]
    references: dict[str, str] = {}


class Runners:
    """Looks at the runners; operators only.

    Args:
        instance: asks processes how they are.
        repository: what waits, and what versions are called.
    """

    def __init__(self, instance: Instance, repository: Repository) -> None:
        self._instance = instance
        self._repository = repository

    async def state(self, member: Member) -> FleetState:
        """Ask every runner how it is."""
        health = await self._instance.health(member)
        runners = [_runner(one) for one in health.processes if one.service == "runner"]
        waiting, references = await asyncio.gather(
            asyncio.gather(*(self._waiting(device) for device in _DEVICES)), self._references(runners)
        )
        return FleetState(runners=runners, waiting=list(waiting), references=references)

    async def measure_forever(self) -> None:
        """Keep the metrics of what waits up to date, until cancelled; does nothing where none are read."""
        while metrics.enabled:
            try:
                for device in _DEVICES:
                    waiting = await self._waiting(device)
                    metrics.set("vitrine_runs_waiting", waiting.number, device=device)
            except Exception:
                log.exception("what waits will be measured again")
            await asyncio.sleep(MEASURE_SECONDS)

    async def _waiting(self, device: Device) -> WaitingRuns:
        number, since = await self._repository.runs.queue.length(device, MOST_WAITING + 1)
        return WaitingRuns(
            device=device,
            number=min(number, MOST_WAITING),
            more=number > MOST_WAITING,
            longest_seconds=max(0.0, time.time() - since / 1000) if since is not None else None,
        )

    async def _references(self, runners: list[RunnerState]) -> dict[str, str]:
        served = {
            (worker.version_digest, worker.owner_id)
            for runner in runners
            if runner.report
            for worker in runner.report.workers
        }
        bundles = self._repository.bundles
        named = sorted(served)[:_MOST_NAMED]
        found = await asyncio.gather(*(bundles.version(digest=one, owner_id=owner) for one, owner in named))
        return {version.digest: version.reference for version in found if version is not None}


def _runner(process: ProcessReport) -> RunnerState:
    try:
        report = RunnerReport.model_validate(process.report.get("runner"))
    except ValidationError:
        report = None
    known = process.model_dump(include={"holder", "version", "started_at", "heard_at", "answers"})
    return RunnerState(**known, report=report)
