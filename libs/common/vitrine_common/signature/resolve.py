"""A spec with the inputs and outputs that the model itself tells: a predictor's hints, a file's signature."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

from vitrine_common.projects import mlflow
from vitrine_common.signature import onnx
from vitrine_common.signature.modules import ReadText
from vitrine_common.signature.predictors import Interface, read_interface
from vitrine_common.spec.document import read_document
from vitrine_common.spec.errors import SpecError, SpecProblem
from vitrine_common.spec.inputs import Input
from vitrine_common.spec.model import Spec
from vitrine_common.spec.outputs import Output

Find = Callable[[str], Path | None]
"""Returns where a file of the bundle lies, by its path in it, or None where there is none."""
MAX_TEXT_BYTES = 4_000_000


def resolved(spec: Spec, find: Find, filename: str = "vitrine.yaml") -> Spec:
    """Return `spec` with complete `inputs` and `outputs`.

    What the spec says itself comes before what its model tells: an input of the same name and type keeps
    what the spec does not mention. The files are read as text and never run. Raises SpecError naming file
    and line of what cannot be understood.
    """
    if spec.predictor is not None:
        return _of_predictor(spec, spec.predictor, find, filename)
    if spec.mlflow is not None:
        return _of_mlflow(spec, spec.mlflow, find)
    if spec.onnx is not None:
        return _of_onnx(spec, spec.onnx, find, filename)
    return spec


def _of_onnx(spec: Spec, path: str, find: Find, filename: str) -> Spec:
    """Add the tensors of an ONNX file where the spec says nothing of them."""
    file = find(path)
    if file is None or file.stat().st_size == 0:
        return spec  # `check_runnable` names it; a training may make it
    try:
        signature = onnx.read_signature(file)
    except (onnx.NotOnnx, OSError) as error:
        message = f"`{path}` cannot be read as an ONNX model: {error}"
        raise SpecError([SpecProblem("onnx", message, filename)]) from error
    for name in signature.external:
        beside = str(PurePosixPath(path).parent / name)
        if find(beside) is None:
            message = (
                f"`{path}` keeps weights in `{name}`, which is not in the bundle; put it beside the model"
            )
            raise SpecError([SpecProblem("onnx", message, filename)])
    told = onnx.interface(signature)
    if told is None:
        return spec
    return Spec.model_validate({"inputs": told[0], "outputs": told[1], **spec.plain()})


def _of_predictor(spec: Spec, target: str, find: Find, filename: str) -> Spec:
    own = {item.name: item for item in spec.inputs or ()}
    found = read_interface(
        target,
        _reader(find),
        in_batches=spec.scaling.batching is not None,
        known=frozenset(own),
    )
    return _with(spec, _inputs(own, found, filename), _outputs(spec, found))


def _of_mlflow(spec: Spec, directory: str, find: Find) -> Spec:
    """Add the signature of an MLflow model and, where the spec names no packages, those of the model."""
    below = "" if directory == "." else f"{directory}/"
    read = _reader(find)
    text = read(f"{below}MLmodel")
    if text is None:
        return spec  # `check_spec_files` names the file that is missing
    data = read_document(text, f"{below}MLmodel").data
    data = data if isinstance(data, dict) else {}
    saved = data.get("saved_input_example_info") or {}
    example = read(below + str(saved.get("artifact_path"))) if isinstance(saved, dict) else None
    inputs, outputs = mlflow.interface(data, _json(example))
    plain = spec.plain()
    if "package" not in plain:
        lists = {"requirements.txt": "pip", "conda.yaml": "conda"}
        kind = next((name for name in lists if read(below + name) is not None), None)
        plain |= {"package": {"type": lists[kind], "requirements_file": below + kind}} if kind else {}
    return Spec.model_validate({"inputs": inputs, "outputs": outputs, **plain})


def _json(text: str | None) -> Any:
    try:
        return json.loads(text) if text else None
    except (ValueError, RecursionError):
        return None


def _reader(find: Find) -> ReadText:
    texts: dict[str, str | None] = {}

    def read(path: str) -> str | None:
        if path not in texts:
            texts[path] = _text(find(path))
        return texts[path]

    return read


def _text(file: Path | None) -> str | None:
    try:
        if file is None or not file.is_file() or file.stat().st_size > MAX_TEXT_BYTES:
            return None
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return None


def _inputs(own: dict[str, Input], found: Interface, filename: str) -> list[dict[str, Any]]:
    unknown = [name for name in own if name not in found.parameters]
    if unknown and not found.takes_any:
        takes = ", ".join(found.parameters) or "nothing"
        message = f"`{unknown[0]}` is no parameter of the predictor; it takes {takes}"
        raise SpecError([SpecProblem(f"inputs.{unknown[0]}", message, filename)])
    told = {item.name: item for item in found.inputs}
    names = [*(name for name in found.parameters if name in told or name in own), *unknown]
    return [_merged(told.get(name), own.get(name)) for name in names]


def _merged(told: Input | None, own: Input | None) -> dict[str, Any]:
    base = _plain(told) if told is not None else {}
    said = _plain(own) if own is not None else {}
    if told is None or own is None or told.type == own.type:
        return {**base, **said}
    kept = {key: value for key, value in base.items() if key in {"description", "required"}}
    return {**kept, **said}


def _outputs(spec: Spec, found: Interface) -> list[dict[str, Any]]:
    if spec.outputs is not None:
        return [_plain(item) for item in spec.outputs]
    if found.outputs is None:
        message = "does not say what it returns; write `-> str` (or int, dict, Path …) after its parameters"
        raise SpecError([SpecProblem("predictor", message, found.file, found.line)])
    return [_plain(item) for item in found.outputs]


def _plain(item: Input | Output) -> dict[str, Any]:
    return item.model_dump(mode="json", by_alias=True, exclude_unset=True)


def _with(spec: Spec, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> Spec:
    return Spec.model_validate({**spec.plain(), "inputs": inputs, "outputs": outputs})
