"""Tensors as the values of a run, and its outputs as tensors: for models that themselves take no tensors.

A number is FP64, a whole one INT64, yes or no BOOL; texts, choices, JSON and whole files are BYTES. Each is
one element, whatever its shape.
"""

from __future__ import annotations

import base64
import binascii
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from vitrine_api.inference.datatypes import BYTES, DATATYPES, elements, packed, texts, to_json
from vitrine_api.inference.protocol import Tensor
from vitrine_api.run_bodies import MAX_VALUES
from vitrine_api.run_inputs import SentFile
from vitrine_common.errors import Invalid, TooLarge
from vitrine_common.messages import Signature
from vitrine_common.spec import BooleanInput, Input, JsonInput, NumberInput, Spec

SCORE = "{}.score"
"""Name of the tensor with a label's score, or those of several."""
_MANY = (None,)
_ONE = (1,)


def inputs_of(spec: Spec) -> tuple[Signature, ...]:
    """Return a model's declared inputs as tensors."""
    return tuple(_signature(item) for item in spec.effective_inputs())


def _signature(item: Input) -> Signature:
    match item:
        case NumberInput():
            dtype = "int64" if item.integer else "float64"
        case BooleanInput():
            dtype = "bool"
        case _:
            dtype = "object"
    return Signature(name=item.name, dtype=dtype, shape=_ONE)


def outputs_of(spec: Spec) -> tuple[Signature, ...]:
    """Return a model's declared outputs as tensors; labels have their scores beside them."""
    found = []
    for item in spec.effective_outputs():
        dtype = "float64" if item.type == "number" else "object"
        shape = _MANY if item.type in {"labels", "image", "file"} else _ONE
        found.append(Signature(name=item.name, dtype=dtype, shape=shape))
        if item.type in {"label", "labels"}:
            found.append(Signature(name=SCORE.format(item.name), dtype="float64", shape=shape))
    return tuple(found)


def values_of(spec: Spec, tensors: Iterable[Tensor]) -> dict[str, Any]:
    """Return the values of a run, to be checked as those of every run are. Raises Invalid, TooLarge.

    A tensor that is no input of the model has a value, too, so that the check names it.
    """
    inputs = {item.name: item for item in spec.effective_inputs()}
    return {tensor.name: _value(inputs.get(tensor.name), tensor) for tensor in tensors}


def _value(item: Input | None, tensor: Tensor) -> Any:
    if item is None:
        return ""
    is_text, count = tensor.kind.name == BYTES, elements(tensor.shape)
    if isinstance(item, JsonInput) and not (is_text and count == 1):
        return _nested(tensor)
    if count != 1:
        raise Invalid(f"input `{tensor.name}` takes one value; its shape {list(tensor.shape)} has {count}")
    if item.is_file:
        return _file(tensor)
    if is_text:
        return _text(texts(tensor.data)[0], tensor.name)
    value = _numbers(tensor)[0]
    return value == 1 if isinstance(item, BooleanInput) and value in {0, 1} else value


def _text(data: bytes, name: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise Invalid(f"input `{name}` takes text, and its bytes are not UTF-8") from None


def _numbers(tensor: Tensor) -> list[Any]:
    values = to_json(tensor.kind, tensor.data)
    if not all(map(math.isfinite, values)):
        raise Invalid(f"input `{tensor.name}` has infinities or NaN; a run takes finite numbers")
    return values


def _nested(tensor: Tensor) -> Any:
    """Return a tensor as nested lists: what JSON inputs take for an array."""
    if elements(tensor.shape) > MAX_VALUES:
        raise TooLarge(f"input `{tensor.name}` has more than {MAX_VALUES} values")
    if tensor.kind.name == BYTES:
        values: list[Any] = [_text(text, tensor.name) for text in texts(tensor.data)]
    else:
        values = _numbers(tensor)
    if not tensor.shape:
        return values[0]
    if not values:
        return []
    for size in reversed(tensor.shape[1:]):
        values = [values[start : start + size] for start in range(0, len(values), size)]
    return values


def _file(tensor: Tensor) -> SentFile:
    if tensor.kind.name != BYTES:
        raise Invalid(f"input `{tensor.name}` takes a file: send its bytes as BYTES, not {tensor.kind.name}")
    said = tensor.parameters or {}
    data = texts(tensor.data)[0]
    if said.get("encoding") == "base64":
        try:
            data = base64.b64decode(data, validate=True)
        except (binascii.Error, ValueError):
            raise Invalid(f"input `{tensor.name}` has base64 that cannot be decoded") from None
    name, media_type = said.get("name", ""), said.get("content_type", "")
    if not (isinstance(name, str) and isinstance(media_type, str)):
        raise Invalid(f"input `{tensor.name}`: `name` and `content_type` of a file are texts")
    return SentFile(io.BytesIO(data), len(data), name, media_type)


def result_tensors(name: str, kind: str, values: Sequence[Any]) -> list[Tensor]:
    """Return an output's values, which are plain JSON, as tensors."""
    match kind:
        case "number":
            return [_floats(name, values)]
        case "label" | "labels":
            listed = [label for value in values for label in (value if isinstance(value, list) else [value])]
            scores = [label.get("score") for label in listed]
            named = [str(label.get("label", "")).encode() for label in listed]
            return [bytes_tensor(name, named), _floats(SCORE.format(name), scores)]
        case "text":
            return [bytes_tensor(name, ["".join(map(str, values)).encode()])]
    return [bytes_tensor(name, [json.dumps(value, ensure_ascii=False).encode() for value in values])]


def bytes_tensor(name: str, data: Sequence[bytes], parameters: Mapping[str, Any] | None = None) -> Tensor:
    """Return a tensor of texts or files, one element each."""
    return Tensor(name, DATATYPES[BYTES], (len(data),), packed(data), parameters)


def _floats(name: str, values: Sequence[Any]) -> Tensor:
    kind = DATATYPES["FP64"]
    given = [math.nan if value is None else float(value) for value in values]
    return Tensor(name, kind, (len(given),), kind.packed(given))
