"""Settings of the runner, as an operator writes them."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from vitrine_engine import Bind
from vitrine_runner.settings import RunnerSettings


def test_binds_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VITRINE_RUNNER_BINDS", "/srv/data:/data, /srv/out:/out:rw")
    assert RunnerSettings().binds == (
        Bind(source=Path("/srv/data"), target="/data"),
        Bind(source=Path("/srv/out"), target="/out", writable=True),
    )


@pytest.mark.parametrize("text", ["/srv/data", "data:/data", "/srv/data:data", "/srv/data:/data:write"])
def test_a_wrong_bind_is_refused_with_the_form_to_write(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("VITRINE_RUNNER_BINDS", text)
    with pytest.raises(ValidationError, match="/host/folder:/sandbox/folder"):
        RunnerSettings()


def test_nothing_exceeds_what_the_host_has() -> None:
    settings = RunnerSettings(memory_bytes=1 << 28, max_cpus=0.5, max_run_seconds=5)
    assert (settings.defaults.memory, settings.defaults.cpu, settings.defaults.timeout) == (1 << 28, 0.5, 5)
    assert settings.ceiling.memory == 1 << 28


def test_runs_for_gpus_are_taken_where_the_operator_says() -> None:
    assert RunnerSettings(gpu="on").takes_gpu_runs
    assert not RunnerSettings(gpu="off").takes_gpu_runs
