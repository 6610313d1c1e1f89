"""Projects of Cog and MLflow, pushed without a vitrine.yaml."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vitrine_common.scan import Scan, scan_directory
from vitrine_common.spec import ModelKind, SpecError

PREDICT = """
from cog import BasePredictor, Input, Path
class Predictor(BasePredictor):
    def setup(self): ...
    def predict(
        self,
        image: Path = Input(description="What to read"),
        scale: float = Input(default=1.5, ge=1),
    ) -> Path: ...
"""


def cog(directory: Path, text: str, code: str = PREDICT, **files: str) -> Scan:
    (directory / "cog.yaml").write_text(text)
    for name, content in {"predict.py": code, **files}.items():
        (directory / name).write_text(content)
    return scan_directory(directory)


def test_a_cog_project_says_all_that_is_needed(tmp_path: Path) -> None:
    text = """
build:
  gpu: true
  python_version: "3.8"
  system_packages: [ffmpeg, libgl1-mesa-glx]
  python_packages: ["torch==2.1.0", pillow]
  run: ["curl -o x https://example.org"]
image: r8.im/somebody/up-scale
predict: "predict.py:Predictor"
concurrency: {max: 4}
"""
    scan = cog(tmp_path, text)
    spec = scan.spec
    assert (spec.name, spec.kind(), spec.predictor) == (
        "up-scale",
        ModelKind.PREDICTOR,
        "predict.py:Predictor",
    )
    assert [(item.name, item.type) for item in spec.effective_inputs()] == [
        ("image", "image"),
        ("scale", "number"),
    ]
    assert spec.environment_request().requirements == ("torch==2.1.0", "pillow")
    assert spec.environment_request().system == ("ffmpeg", "libgl1-mesa-glx")
    assert (spec.resources.gpu, spec.scaling.concurrency) == (1, 4)
    assert [note.partition(":")[0] for note in scan.notes] == [
        "cog.yaml",
        "cog.yaml asks for Python 3.8; this platform has 3.11, which is used",
    ]
    assert {entry.path for entry in scan.manifest.files} == {"cog.yaml", "predict.py"}


def test_the_newer_names_of_cog_are_known(tmp_path: Path) -> None:
    code = """
from cog import BaseRunner
class Runner(BaseRunner):
    def run(self, prompt: str) -> str: ...
"""
    text = "build:\n  python_version: '3.11'\n  python_requirements: requirements.txt\nrun: run.py:Runner\n"
    scan = cog(tmp_path, text, **{"run.py": code, "requirements.txt": "numpy\n"})
    assert (scan.spec.predictor, scan.notes) == ("run.py:Runner", ())
    assert scan.spec.package.requirements_file == "requirements.txt"
    assert [(item.name, item.type) for item in scan.spec.effective_outputs()] == [("output", "text")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("build: {gpu: false}\n", "does not say what runs"),
        ("predict: predict.Predictor\n", "write `predict.py:Predictor`"),
        ("predict: other.py:Predictor\n", "`other.py` is not in the bundle"),
        ("build: [1]\npredict: predict.py:Predictor\n", "must be a mapping"),
        ("- 1\n", "must be a mapping"),
        ("predict: predict.py:Nobody\n", "has no `Nobody`; it has Predictor"),
    ],
)
def test_a_cog_project_that_cannot_be_taken_is_told_why(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        cog(tmp_path, text)
    assert message in str(caught.value)


def test_a_vitrine_yaml_comes_first_and_refines(tmp_path: Path) -> None:
    text = (
        "name: own\npredictor: predict.py:Predictor\ninputs: {scale: {type: number, max: 3, label: Factor}}\n"
    )
    scan = cog(tmp_path, "predict: other.py:X\n", **{"vitrine.yaml": text})
    image, scale = scan.spec.effective_inputs()
    assert (image.name, scale.label) == ("image", "Factor")
    assert scale.model_dump(exclude_unset=True) == {
        "name": "scale",
        "type": "number",
        "integer": False,
        "min": 1,
        "default": 1.5,
        "required": False,
        "max": 3,
        "label": "Factor",
    }
    (tmp_path / "vitrine.yaml").write_text(text.replace("scale", "scail"))
    with pytest.raises(SpecError, match="`scail` is no parameter of the predictor; it takes image, scale"):
        scan_directory(tmp_path)


def mlflow(directory: Path, **fields: Any) -> Scan:
    document = {
        "flavors": {"python_function": {"loader_module": "mlflow.sklearn", "python_version": "3.11.2"}},
        **fields,
    }
    (directory / "MLmodel").write_text(json.dumps(document))
    (directory / "requirements.txt").write_text("mlflow-skinny\nscikit-learn\n")
    return scan_directory(directory)


def test_an_mlflow_model_takes_rows_of_its_columns(tmp_path: Path) -> None:
    columns = [{"type": "double", "name": "length", "required": True}, {"type": "string", "name": "kind"}]
    (tmp_path / "input_example.json").write_text('{"columns": ["length", "kind"], "data": [[1.5, "a"]]}')
    scan = mlflow(
        tmp_path,
        signature={"inputs": json.dumps(columns), "outputs": json.dumps([{"type": "long", "name": "class"}])},
        saved_input_example_info={"artifact_path": "input_example.json", "type": "dataframe"},
    )
    rows, table = scan.spec.effective_inputs()
    assert (rows.name, rows.type, rows.must_be_given) == ("rows", "json", False)
    assert getattr(rows, "default", None) == [{"length": 1.5, "kind": "a"}]
    assert "length (double), kind (string)" in (rows.description or "")
    assert (table.name, table.type) == ("table", "file")
    assert [(item.name, item.type) for item in scan.spec.effective_outputs()] == [("predictions", "json")]
    assert scan.spec.package.requirements_file == "requirements.txt"


def test_an_mlflow_model_of_tensors_takes_a_nested_list(tmp_path: Path) -> None:
    tensor = [{"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1, 4]}}]
    scan = mlflow(tmp_path, signature={"inputs": json.dumps(tensor)})
    (item,) = scan.spec.effective_inputs()
    assert (item.name, item.type, item.description) == ("tensor", "json", "Nested list of shape any x 4.")


def test_an_mlflow_model_without_a_python_flavour_is_told_why(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="has no `python_function` flavour"):
        mlflow(tmp_path, flavors={"spark": {}})
