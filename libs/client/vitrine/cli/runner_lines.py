"""Runners in the terminal: what each has at work, and what waits for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from vitrine.cli import formats
from vitrine.operator import Fleet, Runner, Waiting


def worker_rows(fleet: Fleet) -> list[list[str]]:
    """Return a row for each worker, and one for each runner without any."""
    return [row for runner in fleet.runners for row in _rows(runner, fleet.references)]


def _rows(runner: Runner, references: Mapping[str, str]) -> Iterator[list[str]]:
    name = runner.holder.partition("@")[2]
    state = "" if runner.answers else "silent"
    workers = (runner.report or {}).get("workers", [])
    for worker in workers:
        digest = str(worker["version_digest"])
        yield [
            name,
            references.get(digest) or formats.short_digest(digest),
            state or str(worker["state"]),
            str(worker["served"]),
            _memory(worker),
        ]
    if not workers:
        yield [name, "", state or "no workers", "", ""]


def _memory(worker: Mapping[str, Any]) -> str:
    limit = formats.size(worker["memory_limit"])
    return (
        f"{formats.size(worker.get('memory_bytes'))} of {limit}"
        if worker.get("memory_bytes")
        else f"of {limit}"
    )


def fleet_lines(fleet: Fleet) -> list[str]:
    """Return what waits, and a line or two for each runner."""
    waiting = [_waiting(one) for one in fleet.waiting if one.number or one.device == "cpu"]
    return [*waiting, *(line for runner in fleet.runners for line in runner_lines(runner))]


def _waiting(one: Waiting) -> str:
    what = "runs wait" if one.device == "cpu" else "runs wait for a GPU"
    since = f", the first for {formats.seconds(one.longest_seconds)}" if one.longest_seconds else ""
    return f"{'more than ' * one.more}{one.number} {what}{since}"


def runner_lines(runner: Runner) -> Iterator[str]:
    """Yield how busy a runner is, and its GPUs."""
    name, report = runner.holder.partition("@")[2], runner.report
    if not runner.answers or report is None:
        yield f"{name}: {'tells nothing of its work' if runner.answers else 'silent'}"
        return
    zygotes = report.get("zygotes") or []
    yield (
        f"{name}: {report['busy']} of {report['slots']} places busy, {len(report['workers'])} workers, "
        f"{len(zygotes)} interpreters ready, {formats.size(report['memory_used'])} of "
        f"{formats.size(report['memory_bytes'])} used; last hour {report['warm_starts']} warm and "
        f"{report['cold_starts']} cold starts"
    )
    for gpu in report.get("gpus") or []:
        free = formats.size(gpu["free_bytes"]) if gpu["memory_bytes"] else "unknown"
        yield f"{name}: GPU {formats.harmless(gpu['name'])}, {free} free, {gpu['users']} workers"
