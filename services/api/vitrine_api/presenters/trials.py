"""Trials: their live status and rows of lists."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from vitrine_api import formats, views
from vitrine_api.presenters.models import version_url
from vitrine_api.progress import Change
from vitrine_api.training import TrialRecord
from vitrine_common.documents import Checkpoint, MetricPoint, ResourceSample

_LOG_TAIL = 8000


@dataclass(frozen=True)
class TrialParts:
    """What is stored beside a trial."""

    metrics: Sequence[MetricPoint] = ()
    samples: Sequence[ResourceSample] = ()
    checkpoints: Sequence[Checkpoint] = ()


def trial_view(record: TrialRecord, parts: TrialParts) -> views.TrialView:
    """Return a trial as its page shows it."""
    trial, version = record.trial, record.version
    return views.TrialView(
        id=record.request.id,
        state=record.state.value,
        created_at=record.request.created_at,
        finished_at=trial.finished_at if trial else None,
        reason=trial.reason.value if trial and trial.reason else None,
        message=trial.message if trial else "",
        total_ms=_total_ms(record),
        metrics=metric_rows(parts.metrics),
        resources=resource_rows(parts.samples),
        outputs=_outputs(record, parts.checkpoints),
        log_tail=trial.log_tail if trial else "",
        can_cancel=not record.final,
        version_reference=version.reference if version else "",
        version_url=version_url(version) if version else "",
    )


def _total_ms(record: TrialRecord) -> float | None:
    trial = record.trial
    if trial is None or trial.finished_at is None:
        return None
    return (trial.finished_at - (trial.started_at or trial.created_at)).total_seconds() * 1000


def _outputs(record: TrialRecord, checkpoints: Sequence[Checkpoint]) -> tuple[views.TrialOutput, ...]:
    base = f"/api/v1/trials/{record.request.id}/outputs"
    outputs = [
        views.TrialOutput(
            path=output.filename or output.name,
            size=output.size or 0,
            digest=output.digest,
            url=f"{base}/{output.name}",
        )
        for output in (record.trial.outputs if record.trial else [])
        if output.digest
    ]
    kept = [
        views.TrialOutput(path=item.path, size=item.size, digest=item.digest, kind="checkpoint")
        for item in checkpoints
    ]
    return (*outputs, *kept)


def metric_rows(points: Sequence[MetricPoint]) -> tuple[views.MetricRow, ...]:
    """Return each metric's last value and extremes, in the order in which they were first logged."""
    series: dict[str, list[tuple[float, float | None]]] = {}
    for point in points:
        for name, value in point.values.items():
            series.setdefault(name, []).append((value, point.step))
    rows = []
    for name, found in series.items():
        values = [value for value, _ in found]
        last, step = found[-1]
        rows.append(
            views.MetricRow(
                name=name,
                last=last,
                lowest=min(values),
                highest=max(values),
                count=len(values),
                step=None if step is None else int(step),
            )
        )
    return tuple(rows)


def resource_rows(samples: Sequence[ResourceSample]) -> tuple[views.ResourceRow, ...]:
    """Return means and peaks of what was sampled."""
    measured: tuple[tuple[str, list[float], Callable[[float], str]], ...] = (
        ("CPU", [sample.cpu_percent for sample in samples], _percent),
        ("Memory", [float(sample.memory_bytes) for sample in samples], formats.size),
        ("GPU", _known(sample.gpu_utilisation_percent for sample in samples), _percent),
        ("GPU memory", _known(sample.gpu_framebuffer_bytes for sample in samples), formats.size),
    )
    return tuple(
        views.ResourceRow(
            title=title,
            mean=write(sum(values) / len(values)),
            peak=write(max(values)),
            samples=len(values),
        )
        for title, values, write in measured
        if values
    )


def _known(values: Iterable[float | None]) -> list[float]:
    return [float(value) for value in values if value is not None]


def _percent(value: float) -> str:
    return f"{value:.0f} %"


def trial_row(record: TrialRecord) -> views.TrialRow:
    """Return a trial as a row of the list."""
    metrics = record.trial.metrics if record.trial else {}
    name = next(iter(metrics), None)
    return views.TrialRow(
        id=record.request.id,
        title=record.request.model,
        state=record.state.value,
        created_at=record.request.created_at,
        metric=f"{name} {metrics[name]:.4g}" if name else "",
        total_ms=_total_ms(record),
        version_reference=record.version.reference if record.version else "",
    )


def trial_events(
    render: Callable[[views.View], str], parts: TrialParts
) -> Callable[[Change[TrialRecord]], list[tuple[str, str]]]:
    """Return an encoder of a trial's changes as HTML fragments: `status`, `progress`, `done`."""
    shown: views.TrialView | None = None
    logged = list(parts.metrics)

    def encode(change: Change[TrialRecord]) -> list[tuple[str, str]]:
        nonlocal shown
        if change.state is not None:
            shown = trial_view(change.state, replace(parts, metrics=logged))
            return [("done" if change.kind == "end" else "status", render(views.TrialStatus(trial=shown)))]
        if shown is None or change.news is None:
            return []
        news = change.news.payload
        if news.get("metrics"):
            logged.append(_point(shown.id, len(logged), news))
        log = (shown.log_tail + str(news.get("log") or ""))[-_LOG_TAIL:]
        shown = replace(
            shown,
            message=str(news.get("message") or shown.message),
            log_tail=log,
            metrics=metric_rows(logged),
        )
        return [("progress", render(views.TrialStatus(trial=shown)))]

    return encode


def _point(trial_id: str, sequence: int, news: dict[str, object]) -> MetricPoint:
    return MetricPoint.model_validate(
        {
            "id": f"{trial_id}:live:{sequence}",
            "trial_id": trial_id,
            "attempt": 0,
            "sequence": sequence,
            "step": news.get("step"),
            "values": news.get("metrics"),
        }
    )
