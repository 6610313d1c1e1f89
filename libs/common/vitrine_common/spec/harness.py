"""The plain form of a spec that the harness inside a sandbox reads. It knows no pydantic and no YAML."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from vitrine_common.spec.base import ModelKind
from vitrine_common.spec.inputs import Input
from vitrine_common.spec.interface import effective_inputs, effective_outputs, output_pattern, output_suffix
from vitrine_common.spec.outputs import STDOUT, Output
from vitrine_common.spec.sections import split_command
from vitrine_common.spec.tensors import InputTensor, OutputTensor

if TYPE_CHECKING:
    from vitrine_common.spec.model import Spec

HARNESS_FORMAT = 1


def harness_form(spec: Spec, directories: frozenset[str]) -> dict[str, Any]:
    """Return the harness form, a JSON object with these fields.

    - ``format``: 1.
    - ``kind``: ``script``, ``onnx``, ``predictor`` or ``mlflow``.
    - ``workdir``: directory of the bundle in which the command runs; ``.`` is the bundle.
    - ``argv``: the command, split (script models; else empty).
    - ``onnx``: path of the ONNX file (ONNX models; else null).
    - ``predictor``: ``path.py:Name`` (predictors; else null).
    - ``mlflow``: directory of an MLflow model (else null).
    - ``inputs``: list of
      ``name``, ``type`` (text number boolean choice image file json), ``required`` (bool),
      ``default`` (a value, or null),
      ``env`` (variable that carries the value; of a file, its path relative to the working directory),
      ``flag`` (text such as ``--prompt`` that is put before the value in argv, or null for none),
      ``path`` (file, relative to the working directory, that the value is written to; null for none;
      of a file input without a destination it ends with ``/``: a directory to put the file in, under
      the input's name and the suffix of its media type),
      ``tensor`` (null, or the fields of `InputTensor`, all present; ``name`` null is the model's input at the
      same position, ``*`` is a JSON mapping of tensor name → nested list).
    - ``outputs``: list of
      ``name``, ``type`` (text number image label labels json file), ``required`` (bool),
      ``source`` (``stdout``, ``files``, ``tensor`` or ``result``: what the predictor returns),
      ``pattern`` (of source ``files``: what `pathlib.Path.glob` takes, relative to the working directory;
      every matching file that the run wrote or changed belongs to the output, in the order of their names),
      ``tensor`` (null, or the fields of `OutputTensor`, all present; ``name`` null is the model's first
      output, ``*`` is all of them as a JSON mapping).

    A value that is neither given nor has a default is left out of argv and environment. Numbers are
    passed as JSON writes them, JSON values as JSON text, choices as they are.
    """
    return {
        "format": HARNESS_FORMAT,
        "kind": spec.kind().value,
        "workdir": working_directory(spec, directories),
        "argv": command_line(spec),
        "onnx": spec.onnx,
        "predictor": spec.predictor,
        "mlflow": spec.mlflow,
        "inputs": [_input(spec, item) for item in effective_inputs(spec)],
        "outputs": [_output(spec, item) for item in effective_outputs(spec)],
    }


def command_line(spec: Spec) -> list[str]:
    """Return the command as argv: `exec_cmd` before `command`, split as a shell would, without a shell."""
    if spec.model is None:
        return []
    return [*split_command(spec.model.exec_cmd), *split_command(spec.model.command)]


def working_directory(spec: Spec, directories: frozenset[str]) -> str:
    """Return `model.path` when the bundle has such a directory, else the bundle itself."""
    path = spec.model.path if spec.model else None
    return path if path is not None and path in directories else "."


def _input(spec: Spec, item: Input) -> dict[str, Any]:
    return {
        "name": item.name,
        "type": item.type,
        "required": item.must_be_given,
        "default": getattr(item, "default", None),
        "env": item.variable,
        "flag": _flag(spec, item),
        "path": _destination(spec, item),
        "tensor": item.tensor.model_dump(mode="json") if item.tensor else _default_tensor(spec),
    }


def _default_tensor(spec: Spec) -> dict[str, Any] | None:
    return InputTensor().model_dump(mode="json") if spec.kind() is ModelKind.ONNX else None


def _flag(spec: Spec, item: Input) -> str | None:
    if spec.kind() is not ModelKind.SCRIPT or item.flag is False:
        return None
    if isinstance(item.flag, str):
        return item.flag
    entry = spec.model.input if spec.model else None
    by_default = entry is not None and entry.type == "flag"
    return f"--{item.name}" if item.flag is True or by_default else None


def _destination(spec: Spec, item: Input) -> str | None:
    """Return where a value is put: its own destination, else the first file at `download_destination`."""
    if spec.kind() is not ModelKind.SCRIPT:
        return None
    if item.destination is not None:
        return item.destination
    if not item.is_file:
        return None
    entry = spec.model.input if spec.model else None
    undirected = [other.name for other in effective_inputs(spec) if other.is_file and not other.destination]
    if entry is not None and entry.download_destination is not None and item.name == undirected[0]:
        return entry.download_destination
    return "inputs/"


def _output(spec: Spec, item: Output) -> dict[str, Any]:
    base = {"name": item.name, "type": item.type, "required": item.required, "pattern": None, "tensor": None}
    if spec.kind() is ModelKind.ONNX:
        return base | {"source": "tensor", "tensor": (item.tensor or OutputTensor()).model_dump(mode="json")}
    if spec.kind().has_code:
        return base | {"source": "result"}
    if item.path is None or item.path == STDOUT:
        return base | {"source": "stdout"}
    return base | {"source": "files", "pattern": output_pattern(item.path, _suffix(spec, item))}


def _suffix(spec: Spec, item: Output) -> str | None:
    entry = spec.model.output if spec.model else None
    if spec.outputs is None and entry is not None:
        return output_suffix(entry.type)
    return PurePosixPath(item.path or "").suffix.lstrip(".") or None
