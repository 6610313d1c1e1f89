"""Metrics for Prometheus: one table of what is measured, counted in this process, read at its own port.

Without `VITRINE_METRICS_PORT` nothing is counted, and the library that keeps the numbers is not imported. No
label names a person, a model, a link or a run, so that the number of series is fixed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

log = logging.getLogger(__name__)

_SECONDS = (0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 300, 1800)
Kind = Literal["counter", "histogram", "gauge"]


@dataclass(frozen=True, slots=True)
class Metric:
    """One thing that is measured."""

    kind: Kind
    help: str
    labels: tuple[str, ...] = ()


METRICS: Mapping[str, Metric] = {
    "vitrine_runs": Metric("counter", "Runs that ended here.", ("state", "reason")),
    "vitrine_run_wait_seconds": Metric("histogram", "From the request of a run to its beginning."),
    "vitrine_run_start_seconds": Metric(
        "histogram", "From a run's beginning until its model computes.", ("start",)
    ),
    "vitrine_run_compute_seconds": Metric("histogram", "A model's own time for a run."),
    "vitrine_run_output_bytes": Metric("counter", "Bytes of outputs that were stored."),
    "vitrine_runner_slots": Metric(
        "gauge", "Runs that this runner works on at a time, and does now.", ("of",)
    ),
    "vitrine_runner_workers": Metric("gauge", "Workers of this runner.", ("state",)),
    "vitrine_runner_zygotes": Metric("gauge", "Interpreters with their imports done."),
    "vitrine_runner_memory_bytes": Metric(
        "gauge", "Memory that workers may take together, and that is promised to them.", ("of",)
    ),
    "vitrine_runner_gpus": Metric("gauge", "GPUs of this runner, and those that are free.", ("of",)),
    "vitrine_runs_waiting": Metric("gauge", "Runs that wait, at most 1000 (api).", ("device",)),
    "vitrine_http_request_seconds": Metric(
        "histogram", "Requests until their answer begins.", ("method", "status")
    ),
    "vitrine_build_seconds": Metric("histogram", "Builds of environments.", ("outcome",)),
    "vitrine_trials": Metric("counter", "Trials that ended here.", ("state",)),
    "vitrine_records_scored": Metric("counter", "Runs that were recorded for monitoring."),
}


class Metrics:
    """The metrics of this process; silent until `serve`."""

    def __init__(self) -> None:
        self._kept: dict[str, Any] = {}

    @property
    def enabled(self) -> bool:
        """Whether anything is counted."""
        return bool(self._kept)

    def count(self, name: str, by: float = 1.0, **labels: str) -> None:
        """Add to a counter."""
        if self._kept:
            self._child(name, labels).inc(by)

    def observe(self, name: str, seconds: float | None, **labels: str) -> None:
        """Note how long something took; None is left out."""
        if self._kept and seconds is not None:
            self._child(name, labels).observe(seconds)

    def set(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge."""
        if self._kept:
            self._child(name, labels).set(value)

    def follow(self, name: str, read: Callable[[], float], **labels: str) -> None:
        """Let a gauge be read whenever metrics are; `read` is called in another thread."""
        if self._kept:
            self._child(name, labels).set_function(read)

    def serve(self, host: str, port: int, service: str) -> Callable[[], None]:
        """Answer `GET /metrics` at an address of its own, in a thread; return what ends that.

        Raises OSError when the address is taken or not this machine's.
        """
        # Late: a service that serves no metrics need not load it.
        from prometheus_client import CollectorRegistry, Info, start_http_server
        from prometheus_client.process_collector import ProcessCollector

        registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        Info("vitrine_service", "Which service this is.", registry=registry).info({"name": service})
        server, thread = start_http_server(port, host, registry)
        self._kept = {name: _made(name, metric, registry) for name, metric in METRICS.items()}
        log.info("metrics at http://%s:%s/metrics", host, port)

        def end() -> None:
            self._kept = {}
            server.shutdown()
            server.server_close()
            thread.join()

        return end

    def _child(self, name: str, labels: Mapping[str, str]) -> Any:
        kept = self._kept[name]
        return kept.labels(**labels) if labels else kept


def _made(name: str, metric: Metric, registry: Any) -> Any:
    from prometheus_client import Counter, Gauge, Histogram

    if metric.kind == "histogram":
        return Histogram(name, metric.help, metric.labels, registry=registry, buckets=_SECONDS)
    kind = Counter if metric.kind == "counter" else Gauge
    return kind(name, metric.help, metric.labels, registry=registry)


metrics = Metrics()
"""This process's; like the tracer, one for all of it."""
