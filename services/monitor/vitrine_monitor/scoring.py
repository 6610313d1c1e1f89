"""From a finished run to its scoring record."""

from __future__ import annotations

import json
from collections.abc import Sequence

from vitrine_common.clock import after, utcnow
from vitrine_common.documents import LONG_AGO, Run, RunRequest, ScoringRecord, Version
from vitrine_common.spec import Spec
from vitrine_common.telemetry import metrics
from vitrine_monitor.repository import ScoringRepository
from vitrine_monitor.summaries import summarise_input, summarise_output, without_guessable


def make_record(run: Run, request: RunRequest, version: Version, retention_seconds: float) -> ScoringRecord:
    """Return the record of a finished run: digests, sizes, latency, outcome, typed summaries.

    Args:
        run: in a final state.
        request: what was asked.
        version: whose declared inputs give the types.
        retention_seconds: how long the input values stay; 0 leaves them out.
    """
    declared = _declared(version)
    values = json.loads(request.inputs)
    inputs = [summarise_input(name, declared.get(name, "json"), value) for name, value in values.items()]
    keep = retention_seconds > 0
    return ScoringRecord(
        id=run.id,
        version_id=run.version_id,
        version_digest=run.version_digest,
        link_id=run.link_id,
        outcome=run.state,
        reason=run.reason,
        cold=run.cold,
        queued_ms=run.timings.queued_ms,
        compute_ms=run.timings.compute_ms,
        total_ms=run.timings.total_ms,
        peak_memory_bytes=run.peak_memory_bytes,
        inputs=inputs if keep else without_guessable(inputs),
        outputs=[summarise_output(output) for output in run.outputs],
        finished_at=run.finished_at or utcnow(),
        raw_inputs=request.inputs if keep else None,
        raw_expires_at=after(retention_seconds) if keep else LONG_AGO,
    )


def _declared(version: Version) -> dict[str, str]:
    return {item.name: item.type for item in Spec.model_validate(version.spec).effective_inputs()}


async def score_calls(
    run_ids: Sequence[str], repository: ScoringRepository, retention_seconds: float
) -> None:
    """Record many synchronous calls, each once, however often they are told."""
    sources = await repository.sources_of_calls(run_ids)
    await repository.add_all([make_record(*source, retention_seconds) for source in sources])
    metrics.count("vitrine_records_scored", len(sources))


async def score(run_id: str, repository: ScoringRepository, retention_seconds: float) -> None:
    """Record a finished run once, however often it is told; raises NotFound for an unknown run."""
    run, request, version = await repository.sources(run_id)
    await repository.add(make_record(run, request, version, retention_seconds))
    metrics.count("vitrine_records_scored")
