"""The inputs and outputs that follow from a spec when it does not list them."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from vitrine_common.spec.base import ModelKind
from vitrine_common.spec.inputs import FileInput, ImageInput, Input, JsonInput
from vitrine_common.spec.outputs import STDOUT, Output, OutputType
from vitrine_common.spec.tensors import InputTensor, OutputTensor

if TYPE_CHECKING:
    from vitrine_common.spec.model import Spec

IMAGE_SUFFIXES = {"png", "jpg", "jpeg", "webp", "gif", "bmp", "tif", "tiff"}
TYPE_OF_SUFFIX: dict[str, OutputType] = {"txt": "text", "md": "text", "json": "json"}
OUTPUT_TYPES: dict[str, OutputType] = {
    name: name for name in ("text", "number", "image", "label", "labels", "json", "file")
}
ALL_TENSORS = "*"
"""Tensor name that stands for all of them: a JSON mapping of tensor name → nested list."""


def effective_inputs(spec: Spec) -> list[Input]:
    """Return the inputs that a run takes, in order."""
    if spec.inputs is not None:
        return list(spec.inputs)
    if spec.kind() is ModelKind.ONNX:
        tensor = InputTensor(name=ALL_TENSORS)
        return [JsonInput(name="tensors", description="Tensor name → nested list.", tensor=tensor)]
    if spec.kind().has_code:
        return []
    entry = spec.model.input if spec.model else None
    if entry is None or entry.type == "flag" or entry.download_destination is None:
        return []
    suffix = PurePosixPath(entry.download_destination).suffix.lower()
    if suffix.lstrip(".") in IMAGE_SUFFIXES:
        return [ImageInput(name="input", destination=entry.download_destination)]
    return [
        FileInput(name="input", destination=entry.download_destination, accept=[suffix] if suffix else [])
    ]


def effective_outputs(spec: Spec) -> list[Output]:
    """Return the outputs that a run gives, in order."""
    if spec.outputs is not None:
        return list(spec.outputs)
    if spec.kind() is ModelKind.ONNX:
        return [Output(name="tensors", type="json", tensor=OutputTensor(name=ALL_TENSORS))]
    if spec.kind().has_code:
        return []
    entry = spec.model.output if spec.model else None
    if entry is None:
        return [Output(name="output", type="text", path=STDOUT)]
    return [Output(name="output", type=_output_type(entry.type, entry.path), path=entry.path)]


def output_pattern(path: str, suffix: str | None) -> str:
    """Return the glob pattern (as `pathlib.Path.glob` reads it) of an output's `path`.

    A directory (`results/`, or a last part without a dot) stands for every file under it with `suffix`.
    """
    parts = [part for part in path.split("/") if part not in {"", "."}]
    is_directory = path.endswith("/") or not parts or not ("." in parts[-1] or set("*?[") & set(parts[-1]))
    if not is_directory:
        return "/".join(parts)
    return "/".join([*parts, "**", f"*.{suffix}" if suffix else "*"])


def output_suffix(declared: str | None) -> str | None:
    """Return the file suffix that `model.output.type` names, without its dot; None for output types."""
    suffix = (declared or "").lower().lstrip(".")
    return suffix if (suffix and suffix not in OUTPUT_TYPES) or suffix == "json" else None


def interface_fault(spec: Spec) -> str | None:
    """Say why the inputs and outputs do not fit the kind of the model, or return None."""
    input_fault, output_fault = {
        ModelKind.ONNX: (_onnx_input_fault, _onnx_output_fault),
        ModelKind.SCRIPT: (_script_input_fault, _script_output_fault),
    }.get(spec.kind(), (_code_input_fault, _code_output_fault))
    faults = [(f"input `{item.name}`", input_fault(item)) for item in spec.inputs or []]
    faults += [(f"output `{item.name}`", output_fault(item)) for item in spec.outputs or []]
    return next((f"{who} {fault}" for who, fault in faults if fault), None)


def _code_input_fault(item: Input) -> str | None:
    for key in ("flag", "destination", "tensor"):
        if getattr(item, key) is not None:
            return f"has a `{key}`, but predictors are given their values as arguments; remove it"
    return None


def _code_output_fault(item: Output) -> str | None:
    for key in ("path", "tensor"):
        if getattr(item, key) is not None:
            return f"has a `{key}`, but predictors return their outputs; remove it"
    return None


def _onnx_input_fault(item: Input) -> str | None:
    if item.type == "file":
        return "is a file, which an ONNX model cannot take; use image, json, number, text or choice"
    if item.destination is not None or item.flag is not None:
        return "has a `flag` or `destination`, but an ONNX model has no command; remove it"
    return None


def _script_input_fault(item: Input) -> str | None:
    return "has a `tensor`, but only ONNX models have tensors; remove it" if item.tensor else None


def _onnx_output_fault(item: Output) -> str | None:
    if item.path is not None:
        return "has a `path`, but an ONNX model writes no files; write `tensor:`"
    if item.type in {"text", "file"}:
        return f"is a {item.type}, which an ONNX model cannot give; use label, labels, number, image or json"
    return None


def _script_output_fault(item: Output) -> str | None:
    if item.tensor is not None:
        return "has a `tensor`, but only ONNX models have tensors; write `path:`"
    if item.type in {"image", "file"} and item.path in {None, STDOUT}:
        return f"does not say where the {item.type} is written; write `path:`"
    return None


def _output_type(declared: str | None, path: str) -> OutputType:
    suffix = (declared or PurePosixPath(path).suffix).lower().lstrip(".")
    if suffix in OUTPUT_TYPES:
        return OUTPUT_TYPES[suffix]
    if suffix in IMAGE_SUFFIXES:
        return "image"
    return TYPE_OF_SUFFIX.get(suffix, "text" if path == STDOUT else "file")
