"""Inputs and outputs of author code, read from its text."""

from __future__ import annotations

from typing import Any

import pytest

from vitrine_common.signature import Interface, read_interface
from vitrine_common.spec import SpecError


def interface(code: str, target: str = "predict.py:Predictor", **files: str) -> Interface:
    texts = {"predict.py": code, **{f"{name}.py": text for name, text in files.items()}}
    return read_interface(target, texts.get)


def inputs(signature: str, head: str = "") -> dict[str, dict[str, Any]]:
    code = f"{head}\nclass Predictor:\n    def predict(self, {signature}) -> str:\n        ...\n"
    found = interface(code).inputs
    return {item.name: item.model_dump(mode="json", exclude_unset=True) for item in found}


def outputs(hint: str, head: str = "") -> dict[str, tuple[str, bool]]:
    code = f"{head}\ndef predict() -> {hint}:\n    ...\n"
    found = interface(code, "predict.py:predict").outputs
    assert found is not None
    return {item.name: (item.type, item.required) for item in found}


IMPORTS = """
from __future__ import annotations
import enum, io, pathlib, typing as t
from typing import *
from pathlib import Path
from typing import Any, Literal, Optional, Union, List, Dict, Annotated
from PIL import Image
import numpy as np
import pandas as pd
"""


@pytest.mark.parametrize(
    ("signature", "kind", "more"),
    [
        ("x: str", "text", {}),
        ("x: int = 3", "number", {"integer": True, "default": 3, "required": False}),
        ("x: float", "number", {"integer": False}),
        ("x: bool = True", "boolean", {"default": True, "required": False}),
        ("x: 'str'", "text", {}),
        ("x: str | None", "text", {"required": False}),
        ("x: t.Optional[int] = None", "number", {"required": False}),
        ("x: Optional[float]", "number", {"required": False}),
        ("x: Union[int, float]", "number", {"integer": False}),
        ("x: Literal['a', 'b'] = 'b'", "choice", {"choices": ["a", "b"], "default": "b"}),
        ("x: list[str]", "json", {}),
        ("x: Dict[str, Any]", "json", {}),
        ("x: np.ndarray", "json", {}),
        ("x: Path", "file", {}),
        ("x: pathlib.Path", "file", {}),
        ("x: bytes", "file", {}),
        ("image: Path", "image", {}),
        ("x: Image.Image", "image", {}),
        ("x: pd.DataFrame", "file", {"accept": [".csv", ".tsv", "text/csv", "text/tab-separated-values"]}),
        ("voice: Path", "file", {"accept": ["audio/*", ".wav", ".mp3", ".flac", ".ogg", ".m4a"]}),
        ("x: Annotated[int, 'seconds']", "number", {"integer": True}),
    ],
)
def test_hints_become_inputs(signature: str, kind: str, more: dict[str, Any]) -> None:
    found = next(iter(inputs(signature, IMPORTS).values()))
    assert found["type"] == kind
    assert {key: found.get(key) for key in more} == more


def test_what_cog_says_of_an_input() -> None:
    head = """
from cog import BasePredictor, Input, Path
SIZES = ["small", "large"]
MODELS = {"one": object(), "two": object()}
LOW = 1
"""
    found = inputs(
        'photo: Path = Input(description="What to read"), '
        "steps: int = Input(description='How many', default=50, ge=LOW, le=500), "
        'size: str = Input(choices=SIZES, default="small"), '
        "model: str = Input(choices=list(MODELS.keys())), "
        'word: str = Input(default=None, min_length=2, max_length=9, deprecated=True, description="Old.")',
        head,
    )
    assert found["photo"] == {"name": "photo", "type": "image", "description": "What to read"}
    assert found["steps"] == {
        "name": "steps",
        "type": "number",
        "integer": True,
        "min": 1,
        "max": 500,
        "default": 50,
        "required": False,
        "description": "How many",
    }
    assert found["size"]["choices"] == ["small", "large"]
    assert found["model"]["choices"] == ["one", "two"]
    assert found["model"].get("required") is None
    assert (found["word"]["min_length"], found["word"]["max_length"]) == (2, 9)
    assert (found["word"]["required"], found["word"]["description"]) == (False, "Deprecated. Old.")


def test_enumerations_records_and_aliases_are_followed_into_other_files() -> None:
    schema = """
import enum
from dataclasses import dataclass
class Mode(str, enum.Enum):
    FAST = "fast"
    GOOD = "good"
@dataclass
class Box:
    left: int
Choice = Mode
"""
    code = """
from schema import Box, Choice
import schema
class Base:
    def predict(self, mode: Choice, box: Box, other: schema.Mode = "good") -> Box: ...
class Predictor(Base):
    def setup(self): ...
"""
    found = interface(code, schema=schema)
    kinds = {item.name: (item.type, getattr(item, "choices", None)) for item in found.inputs}
    assert kinds == {
        "mode": ("choice", ["fast", "good"]),
        "box": ("json", None),
        "other": ("choice", ["fast", "good"]),
    }
    assert [(item.name, item.type) for item in found.outputs or ()] == [("left", "number")]


@pytest.mark.parametrize(
    ("hint", "expected"),
    [
        ("str", {"output": ("text", True)}),
        ("int", {"output": ("number", True)}),
        ("Optional[str]", {"output": ("text", False)}),
        ("dict", {"output": ("json", True)}),
        ("list[float]", {"output": ("json", True)}),
        ("Path", {"output": ("file", True)}),
        ("list[Path]", {"output": ("file", True)}),
        ("Image.Image", {"output": ("image", True)}),
        ("t.Iterator[str]", {"output": ("text", False)}),
        ("t.AsyncGenerator[str, None]", {"output": ("text", False)}),
        ("t.Iterator[Path]", {"output": ("file", False)}),
        ("tuple[str, Path]", {"output1": ("text", True), "output2": ("file", True)}),
        ("None", {}),
    ],
)
def test_the_result_becomes_outputs(hint: str, expected: dict[str, Any]) -> None:
    assert outputs(hint, IMPORTS) == expected


def test_pieces_are_a_list_in_projects_of_cog_unless_they_are_to_be_joined() -> None:
    head = "from cog import ConcatenateIterator\nfrom typing import Iterator\n"
    assert outputs("Iterator[str]", head) == {"output": ("json", False)}
    assert outputs("ConcatenateIterator[str]", head) == {"output": ("text", False)}
    record = "from cog import BaseModel, Path\nclass Output(BaseModel):\n    file: Path\n    note: str = ''\n"
    assert outputs("Output", record) == {"file": ("file", True), "note": ("text", False)}


@pytest.mark.parametrize(
    ("code", "line", "message"),
    [
        ("class Predictor:\n    def predict(self, x) -> str: ...", 2, "parameter `x` has no type hint"),
        ("class Predictor:\n    def predict(self, x: Foo) -> str: ...", 2, "has the type `Foo`"),
        ("class Predictor:\n    def predict(self) -> Tensor: ...", 2, "the result has the type `Tensor`"),
        ("class Predictor:\n    pass", 1, "has no method `predict`"),
        ("class Model:\n    pass", 1, "has no `Predictor`; it has Model"),
        ("def f(:", 1, "is not Python"),
        (
            "from typing import Literal\ndef Predictor(x: Literal['a'] = 'b') -> str: ...",
            2,
            "`b` is not one of the choices",
        ),
        (
            "from pathlib import Path\nclass Predictor:\n    def predict(self, x: list[Path]) -> str: ...",
            3,
            "takes several files",
        ),
        ("from cog import Secret\ndef Predictor(key: Secret) -> str: ...", 2, "is a Secret"),
    ],
)
def test_what_cannot_be_understood_is_named_with_its_line(code: str, line: int, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        interface(code)
    (problem,) = caught.value.problems
    assert (problem.file, problem.line) == ("predict.py", line)  # type: ignore[attr-defined]
    assert message in problem.message


def test_a_secret_with_a_default_is_no_input() -> None:
    assert inputs(
        "key: Secret = Input(default=None), x: str = 'a'", "from cog import Input, Secret"
    ).keys() == {"x"}


def test_batches_are_lists_of_what_a_run_takes() -> None:
    code = "def predict(text: list[str], size: list[int] = [1]) -> list[float]: ..."
    found = read_interface("predict.py:predict", {"predict.py": code}.get, in_batches=True)
    assert [(item.name, item.type) for item in found.inputs] == [("text", "text"), ("size", "number")]
    assert [item.type for item in found.outputs or ()] == ["number"]
    with pytest.raises(SpecError, match="must be a list"):
        read_interface(
            "predict.py:predict", {"predict.py": "def predict(x: str) -> str: ..."}.get, in_batches=True
        )


@pytest.mark.parametrize("depth", [50, 5000])
def test_hostile_code_is_refused_and_never_run(depth: int) -> None:
    code = f"A = {'(' * depth}1{')' * depth}\ndef predict(x: {'list[' * depth}int{']' * depth}) -> str: ..."
    with pytest.raises(SpecError):
        interface(code, "predict.py:predict")


def test_definitions_that_name_themselves_end() -> None:
    with pytest.raises(SpecError, match="has the type"):
        interface("A = B\nB = A\ndef Predictor(x: A) -> str: ...")
    with pytest.raises(SpecError):
        interface("class Predictor(Predictor): pass")
