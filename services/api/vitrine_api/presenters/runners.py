"""The operator's page of runners."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from vitrine_api import formats, views
from vitrine_api.runners import FleetState, RunnerState, WaitingRuns
from vitrine_common.messages import GpuState
from vitrine_common.runner_report import RunnerReport, WorkerReport, ZygoteReport

_TONES = {"starting": "busy", "busy": "busy", "free": "good"}
_DEVICES = {"cpu": "Runs that wait", "gpu": "Runs that wait for a GPU"}


def fleet_view(state: FleetState) -> views.Runners:
    """Return the runners, those that answer first."""
    runners = sorted(state.runners, key=lambda one: (not one.answers, one.holder))
    reports = [one.report for one in runners if one.answers and one.report]
    facts = [_waiting(one) for one in state.waiting if one.number or one.device == "cpu"]
    slots, busy = sum(one.slots for one in reports), sum(one.busy for one in reports)
    cold, warm = sum(one.cold_starts for one in reports), sum(one.warm_starts for one in reports)
    facts += [
        views.Fact(title="Places", value=f"{busy} of {slots} busy"),
        views.Fact(
            title="Starts in the last hour",
            value=f"{formats.number(warm)} warm, {formats.number(cold)} cold",
        ),
    ]
    cards = tuple(_card(one, state.references) for one in runners)
    return views.Runners(runners=cards, facts=tuple(facts))


def _waiting(one: WaitingRuns) -> views.Fact:
    more = "more than " * one.more
    since = f", the first for {formats.duration(one.longest_seconds * 1000)}" if one.longest_seconds else ""
    return views.Fact(title=_DEVICES[one.device], value=f"{more}{formats.number(one.number)}{since}")


def _card(one: RunnerState, references: Mapping[str, str]) -> views.RunnerCard:
    draining = one.report is not None and one.report.draining
    state, tone = ("Answers", "good") if not draining else ("Ends its work", "warn")
    card = views.RunnerCard(
        holder=one.holder.partition("@")[2],
        version=one.version,
        state=state if one.answers else "Silent",
        tone=tone if one.answers else "bad",
        heard_at=one.heard_at,
        told=one.report is not None,
    )
    return card if one.report is None else _with_report(card, one.report, references)


def _with_report(
    card: views.RunnerCard, report: RunnerReport, references: Mapping[str, str]
) -> views.RunnerCard:
    used, budget = formats.size(report.memory_used), formats.size(report.memory_bytes)
    return replace(
        card,
        busy=report.busy,
        slots=report.slots,
        busy_share=_share(report.busy, report.slots) or 0.0,
        memory=f"{used} used, {formats.size(report.memory_promised)} promised of {budget}",
        memory_share=_share(report.memory_promised, report.memory_bytes) or 0.0,
        cold_starts=report.cold_starts,
        warm_starts=report.warm_starts,
        workers=tuple(_worker(worker, references) for worker in report.workers),
        zygotes=tuple(_zygote(zygote) for zygote in report.zygotes),
        gpus=tuple(_gpu(gpu) for gpu in report.gpus),
    )


def _worker(worker: WorkerReport, references: Mapping[str, str]) -> views.WorkerRow:
    limit = formats.size(worker.memory_limit)
    known = worker.memory_bytes is not None
    several = f", {worker.users} of {worker.places} places" if worker.places > 1 else ""
    return views.WorkerRow(
        name=references.get(worker.version_digest) or formats.digest(worker.version_digest),
        state=f"{worker.state}{several}",
        tone=_TONES[worker.state],
        since=worker.since,
        served=worker.served,
        memory=f"{formats.size(worker.memory_bytes)} of {limit}" if known else f"up to {limit}",
        share=_share(worker.memory_bytes, worker.memory_limit),
    )


def _zygote(zygote: ZygoteReport) -> views.ZygoteRow:
    return views.ZygoteRow(
        environment=formats.digest(zygote.environment_digest),
        owner=zygote.owner_id,
        pid=zygote.pid,
        memory=formats.size(zygote.memory_bytes),
        modules=zygote.modules,
        sandboxes=zygote.sandboxes,
    )


def _gpu(gpu: GpuState) -> views.GpuRow:
    used = gpu.memory_bytes - gpu.free_bytes
    return views.GpuRow(
        name=gpu.name,
        memory=f"{formats.size(used)} of {formats.size(gpu.memory_bytes)}" if gpu.memory_bytes else "unknown",
        share=_share(used, gpu.memory_bytes),
        users=gpu.users,
    )


def _share(part: int | None, whole: int) -> float | None:
    return round(min(100.0, part / whole * 100), 1) if part is not None and whole else None
