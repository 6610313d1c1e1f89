"""Predictors, Cog projects and MLflow models, from push to result, on the whole stack."""

from __future__ import annotations

import csv
import io
import json

import pytest

from stack_desk import EXAMPLES, StackDesk
from vitrine.sse import ServerEvent

pytestmark = pytest.mark.timeout(600)


def outputs(run: dict[str, object]) -> dict[str, object]:
    listed = run["outputs"]
    assert isinstance(listed, list), run
    return {output["name"]: output.get("value") for output in listed}


def test_a_predictor_streams_its_text(stack: StackDesk) -> None:
    version = stack.push(EXAMPLES / "predictor-writer")
    assert version["state"] == "ready", version.get("build_problem")
    assert [item["name"] for item in version["inputs"]] == ["prompt", "length", "pace", "seed"]

    run = stack.run(version["reference"], prompt="Glass is", length=5, seed=3)
    assert run["state"] == "succeeded", run
    again = stack.run(version["reference"], prompt="Glass is", length=5, seed=3)
    assert outputs(run) == outputs(again)
    text = outputs(run)["output"]
    assert isinstance(text, str)
    assert text.startswith("Glass is ")
    assert len(text.split()) == 7
    assert again["cold"] is False

    given = ("-i", "prompt=Glass is", "-i", "length=5", "-i", "seed=3")
    for pace in ("at once", "as typed"):
        said = stack.vitrine("run", version["reference"], *given, "-i", f"pace={pace}")
        assert said.stdout == text + "\n"


def test_whoever_watches_sees_the_text_grow(stack: StackDesk) -> None:
    version = stack.push(EXAMPLES / "predictor-writer")
    with stack.client() as client:
        run = client.submit(version["reference"], {"length": 30, "pace": "as typed"})
        heard: list[ServerEvent] = []
        ended = client.runs_of_account.wait(run.id, heard.append)
    news = [event.json() for event in heard if event.name == "progress"]
    pieces = [piece for one in news for piece in one.get("outputs", [])]
    grown = ""
    for piece in pieces:
        assert (piece["name"], piece["start"]) == ("output", len(grown))
        grown += piece["text"]
    assert len(pieces) > 2
    assert grown == ended.outputs[0].value


def test_a_visitor_sees_the_form_of_the_hints(stack: StackDesk) -> None:
    version = stack.push(EXAMPLES / "predictor-writer")
    link = stack.share(version["reference"])
    with stack.api(None) as api:
        page = api.get(f"{stack.url}/s/{link['token']}").raise_for_status().text
        assert 'name="input.prompt"' in page
        assert "at once" in page
        started = api.post(f"/links/{link['token']}/runs", json={"inputs": {"length": "many"}})
        assert started.status_code == 422
        assert started.json()["errors"][0]["field"] == "inputs.length"


def test_a_cog_project_runs_unchanged(stack: StackDesk) -> None:
    version = stack.push(EXAMPLES / "cog-flowers")
    assert version["state"] == "ready", version.get("build_problem")
    run = stack.run(
        version["reference"], petal_length=1.4, petal_width=0.2, sepal_length=5.0, with_table="true"
    )
    assert run["state"] == "succeeded", run
    found = outputs(run)
    assert found["kind"] == "setosa"
    assert found["shares"] == {"setosa": 1.0, "versicolor": 0.0, "virginica": 0.0}
    with stack.api() as api:
        table = api.get(f"/runs/{run['id']}/outputs/table").raise_for_status().text
    rows = list(csv.reader(io.StringIO(table)))
    assert len(rows) == 10
    assert {row[-1] for row in rows[1:]} == {"setosa"}


def test_a_model_of_mlflow_runs_with_its_own_requirements(stack: StackDesk) -> None:
    with stack.client() as client:
        version = client.built(
            client.push(EXAMPLES / "mlflow-flowers" / "model", model="mlflow-flowers")
        ).document()
    assert version["state"] == "ready", version.get("build_problem")
    rows = [
        dict(
            zip(
                ("sepal length (cm)", "sepal width (cm)", "petal length (cm)", "petal width (cm)"),
                row,
                strict=True,
            )
        )
        for row in ([5.1, 3.5, 1.4, 0.2], [6.3, 3.3, 6, 2.5])
    ]
    run = stack.run(version["reference"], rows=json.dumps(rows))
    assert run["state"] == "succeeded", run
    assert outputs(run) == {"predictions": ["setosa", "virginica"]}
    missing = stack.run(version["reference"], rows='[{"sepal length (cm)": 1}]')
    assert missing["reason"] == "input_invalid"
    assert "`sepal width (cm)` is missing" in missing["message"]
