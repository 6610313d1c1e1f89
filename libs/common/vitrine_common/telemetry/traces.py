"""Traces by OpenTelemetry: HTTP → NATS → sandbox is one trace, carried as W3C trace context.

Without `OTEL_EXPORTER_OTLP_ENDPOINT` spans are made (so that ids travel and logs name them) and dropped.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_correlation: ContextVar[str | None] = ContextVar("correlation_id", default=None)
_propagator = TraceContextTextMapPropagator()
_tracer = trace.get_tracer("vitrine")


def configure_tracing(service: str, exporter: SpanExporter | None = None) -> TracerProvider:
    """Make spans of this process belong to `service` and send them where the environment says.

    Args:
        service: `service.name` of every span.
        exporter: instead of the environment's; for tests.
    """
    exported = exporter is not None or bool(os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"))
    provider = TracerProvider(
        # A span that nobody will see still has ids, and costs a fraction of a recorded one.
        sampler=None if exported else ALWAYS_OFF,
        resource=Resource.create({"service.name": f"vitrine-{service}"}),
    )
    if exporter is not None:
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor

        provider.add_span_processor(SimpleSpanProcessor(exporter))
    elif exported:
        # Imported only where it is used: the exporter would cost every idle service some megabytes.
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    return provider


def correlation_id() -> str | None:
    """Return the id of the user's action that the present work follows from."""
    return _correlation.get()


@contextmanager
def correlation(value: str | None) -> Iterator[None]:
    """Let everything inside belong to the action `value`."""
    token = _correlation.set(value)
    try:
        yield
    finally:
        _correlation.reset(token)


def inject() -> dict[str, str]:
    """Return the present trace context as W3C headers; empty outside of any span."""
    carrier: dict[str, str] = {}
    _propagator.inject(carrier)
    return carrier


@contextmanager
def span(
    name: str, *, parent: Mapping[str, str] | None = None, **attributes: str | float | bool
) -> Iterator[trace.Span]:
    """Open a span; an exception that leaves it is recorded.

    Args:
        name: what happens.
        parent: a carrier from `inject`, possibly of another process; else the present span.
        attributes: facts; never anybody's input.
    """
    context = _propagator.extract(parent) if parent else None
    with _tracer.start_as_current_span(name, context=context, attributes=attributes) as opened:
        yield opened


def record_remote_span(
    name: str, start_ns: int, end_ns: int, attributes: Mapping[str, str | float | bool] | None = None
) -> None:
    """Record, under the present span, what a sandbox measured: it has no network to export by itself.

    Args:
        name: what happened there.
        start_ns: nanoseconds since the epoch.
        end_ns: likewise.
        attributes: facts.
    """
    _tracer.start_span(name, start_time=start_ns, attributes=dict(attributes or {})).end(end_ns)
