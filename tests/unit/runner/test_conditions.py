"""What a receipt is told of the machine."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vitrine_common.spec import DEFAULT_LIMITS
from vitrine_runner import conditions
from vitrine_runner.conditions import conditions_of, cpu_model, gpu_models, harness_digest


def test_the_harness_has_one_digest_and_every_byte_of_it_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = harness_digest()
    assert here == harness_digest.__wrapped__()
    package = tmp_path / "vitrine_harness"
    (package / "__pycache__").mkdir(parents=True)
    for name in ("__init__.py", "run.py"):
        (package / name).write_text("x = 1\n")
    (tmp_path / "vitrine_metrics.py").write_text("")
    found = SimpleNamespace(__file__=str(package / "__init__.py"))
    monkeypatch.setattr(conditions, "vitrine_harness", found)
    metrics = SimpleNamespace(__file__=str(tmp_path / "vitrine_metrics.py"))
    monkeypatch.setattr(conditions, "vitrine_metrics", metrics)
    first = harness_digest.__wrapped__()
    assert first != here
    (package / "__pycache__" / "run.pyc").write_bytes(b"compiled")
    assert harness_digest.__wrapped__() == first
    (package / "run.py").write_text("x = 2\n")
    assert harness_digest.__wrapped__() != first


def test_models_of_processors_and_gpus(tmp_path: Path) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text(
        "processor\t: 0\nmodel name\t: Some CPU @ 2.0GHz\n\nprocessor\t: 1\nmodel name\t: Other\n"
    )
    assert cpu_model.__wrapped__(info) == "Some CPU @ 2.0GHz"
    assert cpu_model.__wrapped__(tmp_path / "none") is None
    for number, model in enumerate(("Tesla A", "Tesla B")):
        (tmp_path / "gpus" / str(number)).mkdir(parents=True)
        (tmp_path / "gpus" / str(number) / "information").write_text(
            f"Model: \t\t {model}\nGPU UUID: \t GPU-1\n"
        )
    assert gpu_models.__wrapped__(tmp_path / "gpus") == ["Tesla A", "Tesla B"]


def test_nothing_names_the_host() -> None:
    import platform

    sandbox: Any = SimpleNamespace(image_digest="sha256:" + "0" * 64)
    found = conditions_of(sandbox, "docker", DEFAULT_LIMITS)
    assert found.image == sandbox.image_digest
    assert (found.engine, found.gpus) == ("docker", [])
    assert found.cores
    assert found.memory_bytes
    assert platform.node() not in found.model_dump_json()
