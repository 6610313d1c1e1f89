"""What Prometheus reads, and that nothing is loaded where it reads nothing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import httpx
import pytest
from pydantic import SecretStr

from servers import free_port
from vitrine_common.errors import Unavailable
from vitrine_common.service import make_platform
from vitrine_common.settings import PlatformSettings, S3Settings
from vitrine_common.telemetry.metrics import METRICS, Metrics


@pytest.fixture
def served() -> Iterator[tuple[Metrics, str]]:
    metrics, port = Metrics(), free_port()
    end = metrics.serve("127.0.0.1", port, "runner")
    yield metrics, f"http://127.0.0.1:{port}/metrics"
    end()


def test_counts_durations_and_gauges_are_read(served: tuple[Metrics, str]) -> None:
    metrics, url = served
    metrics.count("vitrine_runs", state="failed", reason="timeout")
    metrics.count("vitrine_runs", 2, state="succeeded", reason="")
    metrics.observe("vitrine_run_start_seconds", 0.04, start="cold")
    metrics.observe("vitrine_run_compute_seconds", None)
    metrics.follow("vitrine_runner_slots", lambda: 7, of="busy")
    metrics.set("vitrine_runs_waiting", 12, device="gpu")
    text = httpx.get(url).text
    for line in (
        'vitrine_runs_total{reason="timeout",state="failed"} 1.0',
        'vitrine_runs_total{reason="",state="succeeded"} 2.0',
        'vitrine_run_start_seconds_bucket{le="0.02",start="cold"} 0.0',
        'vitrine_run_start_seconds_bucket{le="0.05",start="cold"} 1.0',
        "vitrine_run_compute_seconds_count 0.0",
        'vitrine_runner_slots{of="busy"} 7.0',
        'vitrine_runs_waiting{device="gpu"} 12.0',
        'vitrine_service_info{name="runner"} 1.0',
    ):
        assert line in text.splitlines(), line
    assert "process_resident_memory_bytes" in text


def test_labels_name_nobody() -> None:
    known = {"state", "reason", "start", "of", "device", "method", "status", "outcome"}
    assert {label for metric in METRICS.values() for label in metric.labels} <= known


def test_silent_metrics_take_everything_and_end_can_be_followed_by_another(
    served: tuple[Metrics, str],
) -> None:
    silent = Metrics()
    silent.count("vitrine_runs", state="failed", reason="timeout")
    silent.observe("vitrine_build_seconds", 1.0, outcome="succeeded")
    assert not silent.enabled
    assert served[0].enabled


def test_a_taken_port_is_named_when_the_service_starts(
    served: tuple[Metrics, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VITRINE_METRICS_PORT", str(httpx.URL(served[1]).port))
    platform = make_platform("monitor", PlatformSettings(s3=S3Settings(secret_key=SecretStr("x" * 8))))
    with pytest.raises(Unavailable, match=r"in use.*VITRINE_METRICS_PORT"):
        platform.serve_metrics()


def test_services_without_metrics_do_not_load_the_library() -> None:
    code = "import sys, vitrine_runner.app; sys.exit('prometheus_client' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
