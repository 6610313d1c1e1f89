"""What an ONNX file takes and gives, read from its bytes: a small reader of the protobuf wire format.

Weights are skipped, not read. Sources: https://protobuf.dev/programming-guides/encoding/ and the numbers of
the fields in https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3.
"""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MAX_NAMES = 100
"""Most tensors that become inputs or outputs of their own."""
MAX_FIELDS = 5_000_000
_DTYPES = {
    1: "float32",
    2: "uint8",
    3: "int8",
    4: "uint16",
    5: "int16",
    6: "int32",
    7: "int64",
    8: "string",
    9: "bool",
    10: "float16",
    11: "float64",
    12: "uint32",
    13: "uint64",
    16: "bfloat16",
}
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_GRAPH, _INITIALIZER, _INPUT, _OUTPUT = 7, 5, 11, 12
_TENSOR_NAME, _EXTERNAL_DATA = 8, 13
Span = tuple[int, int]


class NotOnnx(Exception):
    """The bytes are no ONNX model; the message says why."""


@dataclass(frozen=True)
class TensorShape:
    """One tensor that a graph takes or gives. `dtype` is None for what is no tensor (lists, mappings)."""

    name: str
    dtype: str | None
    shape: tuple[int | str | None, ...] | None
    """Sizes; a symbolic one by its name, an unknown one as None; None where the rank is not told."""

    @property
    def is_single(self) -> bool:
        """Whether it holds one value in a run: each size is 1, or a free first one."""
        if self.shape is None or self.dtype is None:
            return False
        return all(
            size == 1 or (place == 0 and not isinstance(size, int)) for place, size in enumerate(self.shape)
        )


@dataclass(frozen=True)
class OnnxSignature:
    """The interface of a graph, and the files beside it that hold its weights."""

    inputs: tuple[TensorShape, ...]
    outputs: tuple[TensorShape, ...]
    external: tuple[str, ...]


def read_signature(path: Path) -> OnnxSignature:
    """Return the signature of the file at `path`. Raises NotOnnx, and OSError when it cannot be read."""
    with path.open("rb") as file:
        if path.stat().st_size == 0:
            raise NotOnnx("it is empty")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _Reader(data).signature()


class _Reader:
    """Walks through messages by their spans in the file."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data = data
        self._left = MAX_FIELDS

    def signature(self) -> OnnxSignature:
        graph = next((span for number, span in self._fields((0, len(self._data))) if number == _GRAPH), None)
        if not isinstance(graph, tuple):
            raise NotOnnx("it has no graph")
        inputs: list[TensorShape] = []
        outputs: list[TensorShape] = []
        weights: set[str] = set()
        external: dict[str, None] = {}
        for number, span in self._fields(graph):
            if not isinstance(span, tuple):
                continue
            if number in {_INPUT, _OUTPUT}:
                (inputs if number == _INPUT else outputs).append(self._value_info(span))
            elif number == _INITIALIZER:
                name, location = self._initializer(span)
                weights.add(name)
                external |= {location: None} if location else {}
        if not outputs:
            raise NotOnnx("its graph gives nothing")
        taken = tuple(item for item in inputs if item.name not in weights)
        return OnnxSignature(taken, tuple(outputs), tuple(external))

    def _value_info(self, span: Span) -> TensorShape:
        found = dict(self._fields(span))
        kind = found.get(2)
        tensor = dict(self._fields(kind)).get(1) if isinstance(kind, tuple) else None
        name = self._text(found.get(1))
        if not isinstance(tensor, tuple):
            return TensorShape(name, None, None)
        parts = dict(self._fields(tensor))
        shape, element = parts.get(2), parts.get(1)
        dtype = _DTYPES.get(element) if isinstance(element, int) else None
        return TensorShape(name, dtype, self._shape(shape) if isinstance(shape, tuple) else None)

    def _shape(self, span: Span) -> tuple[int | str | None, ...]:
        sizes: list[int | str | None] = []
        for number, dimension in self._fields(span):
            if number == 1 and isinstance(dimension, tuple):
                parts = dict(self._fields(dimension))
                value = parts.get(1)
                sizes.append(value if isinstance(value, int) else self._text(parts.get(2)) or None)
        return tuple(sizes)

    def _initializer(self, span: Span) -> tuple[str, str]:
        """Return the name of a weight, and the file that holds it where that is another one."""
        name, location = "", ""
        for number, value in self._fields(span):
            if number == _TENSOR_NAME:
                name = self._text(value)
            elif number == _EXTERNAL_DATA and isinstance(value, tuple):
                entry = dict(self._fields(value))
                if self._text(entry.get(1)) == "location":
                    location = self._text(entry.get(2))
        return name, location

    def _text(self, value: Span | int | None) -> str:
        if not isinstance(value, tuple):
            return ""
        return bytes(self._data[value[0] : min(value[1], value[0] + 4096)]).decode(errors="replace")

    def _fields(self, span: Span) -> Iterator[tuple[int, Span | int]]:
        """Yield the fields of a message: numbers as they are, everything of a length as its span."""
        place, end = span
        while place < end:
            self._left -= 1
            if self._left < 0:
                raise NotOnnx("it has too many parts")
            key, place = self._varint(place, end)
            number, kind = key >> 3, key & 7
            if kind == _VARINT:
                value, place = self._varint(place, end)
                yield number, value
                continue
            size = {_FIXED64: 8, _FIXED32: 4}.get(kind)
            if kind == _BYTES:
                size, place = self._varint(place, end)
            if size is None or place + size > end:
                raise NotOnnx("it is damaged, or no ONNX file")
            yield number, (place, place + size)
            place += size

    def _varint(self, place: int, end: int) -> tuple[int, int]:
        value = shift = 0
        while place < end and shift < 70:
            byte = self._data[place]
            place += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, place
            shift += 7
        raise NotOnnx("it is damaged, or no ONNX file")


def interface(signature: OnnxSignature) -> tuple[list[dict[str, Any]], list[dict[str, Any]]] | None:
    """Return `inputs` and `outputs` of a spec, one for each tensor; None where there are too many."""
    if max(len(signature.inputs), len(signature.outputs)) > MAX_NAMES or not signature.inputs:
        return None
    inputs, outputs, taken = [], [], set[str]()
    for item in signature.inputs:
        kind: dict[str, Any] = {"type": "json"}
        if item.is_single and item.dtype == "string":
            kind = {"type": "text"}
        elif item.is_single and item.dtype not in {"bool", "string"}:
            kind = {"type": "number", **({"integer": True} if "int" in str(item.dtype) else {})}
        inputs.append(_named(item, kind, taken))
    taken.clear()
    for item in signature.outputs:
        is_number = item.is_single and item.dtype not in {"bool", "string"}
        outputs.append(_named(item, {"type": "number" if is_number else "json"}, taken))
    return inputs, outputs


def _named(item: TensorShape, kind: dict[str, Any], taken: set[str]) -> dict[str, Any]:
    base = re.sub(r"[^A-Za-z0-9_-]+", "_", item.name).strip("_-")[:56]
    base = base if base[:1].isalpha() else f"tensor_{base}".rstrip("_")
    name, count = base, 1
    while name.lower().replace("-", "_") in taken:
        count += 1
        name = f"{base}_{count}"
    taken.add(name.lower().replace("-", "_"))
    return {"name": name, **kind, "description": _described(item), "tensor": {"name": item.name}}


def _described(item: TensorShape) -> str:
    if item.dtype is None:
        return "A list or mapping."
    if not item.shape:
        return f"{item.dtype}."
    return f"{item.dtype}, {' x '.join('any' if size is None else str(size) for size in item.shape)}."
