"""JSON logs, OpenTelemetry traces, metrics, and the ids that connect them across services."""

from vitrine_common.telemetry.logs import configure_logging
from vitrine_common.telemetry.metrics import metrics
from vitrine_common.telemetry.traces import (
    configure_tracing,
    correlation,
    correlation_id,
    inject,
    record_remote_span,
    span,
)

__all__ = [
    "configure_logging",
    "configure_tracing",
    "correlation",
    "correlation_id",
    "inject",
    "metrics",
    "record_remote_span",
    "span",
]
