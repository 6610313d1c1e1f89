"""Scoring records say what a run was like and never what a person typed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from vitrine_common.clock import after
from vitrine_common.documents import Output, Run, RunRequest, Timings, Version
from vitrine_common.states import RunState
from vitrine_monitor.scoring import make_record
from vitrine_monitor.summaries import summarise_input, summarise_output

SPEC: dict[str, Any] = {
    "name": "m",
    "model": {"command": "python p.py", "input": {"type": "flag"}},
    "inputs": [
        {"name": "prompt", "type": "text"},
        {"name": "age", "type": "number"},
        {"name": "style", "type": "choice", "choices": ["oil", "ink"]},
    ],
    "outputs": [{"name": "text", "type": "text"}],
}


def record(retention: float) -> Any:
    inputs = json.dumps({"prompt": "my secret diagnosis", "age": 47, "style": "oil"})
    request = RunRequest(
        id="run_1",
        version_id="v",
        version_digest="sha256:0",
        environment_digest="sha256:1",
        owner_id="u",
        inputs=inputs,
        expires_at=after(60),
    )
    run = Run(
        id="run_1",
        version_id="v",
        version_digest="sha256:0",
        owner_id="u",
        state=RunState.SUCCEEDED,
        outputs=[Output(name="text", type="text", value='"an answer"')],
        timings=Timings(total_ms=12.5),
        finished_at=after(0),
    )
    version = Version(
        id="v",
        model_id="m",
        owner_id="u",
        owner="o",
        model="m",
        number=1,
        digest="sha256:0",
        spec=SPEC,
        file_count=1,
        total_bytes=1,
    )
    return make_record(run, request, version, retention)


def test_nothing_typed_is_kept_without_retention() -> None:
    # Times may hold any two digits.
    kept = record(0).model_dump_json(exclude={"created_at", "finished_at", "raw_expires_at"})
    assert "diagnosis" not in kept
    assert "47" not in kept
    assert all(not item.digest for item in record(0).inputs), "a short value could be guessed from its digest"


def test_raw_values_stay_for_the_retention_only() -> None:
    kept = record(60)
    assert "diagnosis" in kept.raw_inputs
    assert kept.raw_expires_at > after(50)


def test_types_decide_what_is_told() -> None:
    facts = {item.name: item.facts for item in record(0).inputs}
    assert facts == {
        "prompt": {"characters": 19, "words": 3},
        "age": {"magnitude": "1e1"},
        "style": {"choice": "oil"},
    }


@pytest.mark.parametrize(
    ("kind", "value", "prediction", "facts"),
    [
        ("label", {"label": "7", "score": 0.9, "index": 7}, "7", {"score": 0.9}),
        ("labels", [{"label": "3", "score": 0.6}, {"label": "8", "score": 0.4}], "3", {"score": 0.6}),
        ("number", 4.5, None, {"value": 4.5}),
        ("number", 10**30, None, {"value": 1e30}),
        ("label", "x" * 1000, "x" * 200, {}),
        ("text", "two words", None, {"characters": 9, "words": 2}),
        ("json", {"a": 1}, None, {"kind": "dict", "items": 1}),
    ],
)
def test_predictions_are_read_from_outputs(kind: str, value: Any, prediction: str | None, facts: Any) -> None:
    summary = summarise_output(Output(name="o", type=kind, value=json.dumps(value)))
    assert (summary.prediction, summary.facts) == (prediction, facts)


def test_files_are_told_by_digest_and_size() -> None:
    value = {"digest": "sha256:ab", "size": 10, "media_type": "image/png", "filename": "me.png"}
    summary = summarise_input("photo", "image", value)
    assert (summary.digest, summary.size, summary.facts) == ("sha256:ab", 10, {"media_type": "image/png"})
    assert "me.png" not in summary.model_dump_json()


def test_a_json_value_that_looks_like_a_file_is_none() -> None:
    value = {"digest": ["sha256:ab"], "size": "many", "media_type": "image/png"}
    assert summarise_input("data", "json", value).facts == {"kind": "dict", "items": 3}


@pytest.mark.parametrize(("number", "magnitude"), [(0, "0"), (-250, "-1e2"), (0.004, "1e-3")])
def test_numbers_are_told_by_magnitude(number: float, magnitude: str) -> None:
    assert summarise_input("n", "number", number).facts == {"magnitude": magnitude}
