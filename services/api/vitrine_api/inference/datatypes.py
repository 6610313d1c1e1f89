"""The Open Inference Protocol's datatypes: their NumPy names, and their values as bytes and as JSON.

Nothing here imports NumPy: the api stays small, and arrays of the standard library are as fast at this.
"""

from __future__ import annotations

import math
import struct
import sys
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from vitrine_common.errors import Invalid

BYTES = "BYTES"
_LENGTH = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class Datatype:
    """One datatype. `width` is the bytes of an element, 0 where they differ."""

    name: str
    dtype: str
    """NumPy's name, which the bus and the engine speak."""
    width: int
    code: str = ""
    """Of `array`, and of `struct` for the half floats that `array` lacks."""

    def packed(self, values: Sequence[Any]) -> bytes:
        """Return numbers as bytes. Raises TypeError, OverflowError, struct.error where one does not fit."""
        if self.code == "e":
            return struct.pack(f"<{len(values)}e", *values)
        return _little(array(self.code, values)).tobytes()


_ALL = (
    Datatype("BOOL", "bool", 1, "B"),
    Datatype("UINT8", "uint8", 1, "B"),
    Datatype("UINT16", "uint16", 2, "H"),
    Datatype("UINT32", "uint32", 4, "I"),
    Datatype("UINT64", "uint64", 8, "Q"),
    Datatype("INT8", "int8", 1, "b"),
    Datatype("INT16", "int16", 2, "h"),
    Datatype("INT32", "int32", 4, "i"),
    Datatype("INT64", "int64", 8, "q"),
    Datatype("FP16", "float16", 2, "e"),
    Datatype("FP32", "float32", 4, "f"),
    Datatype("FP64", "float64", 8, "d"),
    Datatype(BYTES, "object", 0),
)
DATATYPES = {item.name: item for item in _ALL}
BY_DTYPE = {item.dtype: item for item in _ALL}


def datatype(name: object, tensor: str) -> Datatype:
    """Return a datatype by its name. Raises Invalid naming the tensor."""
    found = DATATYPES.get(name) if isinstance(name, str) else None
    if found is not None:
        return found
    if name == "BF16":
        raise Invalid(
            f"input `{tensor}`: BF16 is not served, the runtimes behind it take no such arrays; send FP32"
        )
    raise Invalid(f"input `{tensor}`: {str(name)[:40]!r} is no datatype; use one of {', '.join(DATATYPES)}")


def elements(shape: Sequence[int]) -> int:
    """Return how many elements a tensor of that shape has."""
    return math.prod(shape)


def from_json(kind: Datatype, shape: Sequence[int], data: object, tensor: str) -> bytes:
    """Return the bytes of values that came as JSON, flat or nested. Raises Invalid."""
    values = _flat(data, tensor)
    if len(values) != elements(shape):
        text = (
            f"input `{tensor}` has {len(values)} values, but its shape {list(shape)} takes {elements(shape)}"
        )
        raise Invalid(text)
    if kind.name == BYTES:
        return _packed_texts(values, tensor)
    if kind.name == "BOOL" and not all(value in (0, 1) for value in values):
        raise Invalid(f"input `{tensor}` has values that are not BOOL: write true and false, or 1 and 0")
    try:
        return kind.packed(values)
    except (TypeError, OverflowError, struct.error) as error:
        raise Invalid(f"input `{tensor}` has values that are not {kind.name}: {error}") from None


def to_json(kind: Datatype, data: bytes | memoryview) -> list[Any]:
    """Return the values of a tensor for JSON, flat. Texts that are not UTF-8 are shown as far as they are."""
    if kind.name == BYTES:
        return [text.decode(errors="replace") for text in texts(data)]
    if kind.name == "BOOL":
        return [value != 0 for value in bytes(data)]
    if kind.code == "e":
        return list(struct.unpack(f"<{len(data) // 2}e", data))
    values = array(kind.code)
    values.frombytes(data)
    return _little(values).tolist()


def check_bytes(kind: Datatype, shape: Sequence[int], data: bytes | memoryview, tensor: str) -> None:
    """Raise Invalid unless binary data fills the shape."""
    if kind.name == BYTES:
        have = sum(1 for _ in texts(data, tensor))
        if have != elements(shape):
            text = f"has {have} elements, but its shape {list(shape)} takes {elements(shape)}"
            raise Invalid(f"input `{tensor}` {text}")
    elif len(data) != elements(shape) * kind.width:
        expected = elements(shape) * kind.width
        raise Invalid(
            f"input `{tensor}` has {len(data)} bytes, but {kind.name} of shape {list(shape)} takes {expected}"
        )


def texts(data: bytes | memoryview, tensor: str = "") -> list[bytes]:
    """Return the elements of a BYTES tensor. Raises Invalid when it is cut short."""
    found, offset = [], 0
    while offset < len(data):
        if offset + _LENGTH.size > len(data):
            raise Invalid(f"input `{tensor}`: its bytes end inside a length")
        (length,) = _LENGTH.unpack_from(data, offset)
        offset += _LENGTH.size
        if offset + length > len(data):
            raise Invalid(f"input `{tensor}`: its bytes end inside an element")
        found.append(bytes(data[offset : offset + length]))
        offset += length
    return found


def packed(given: Sequence[bytes]) -> bytes:
    """Return the bytes of a BYTES tensor."""
    return b"".join(part for item in given for part in (_LENGTH.pack(len(item)), item))


def _flat(data: object, tensor: str) -> list[Any]:
    if not isinstance(data, list):
        raise Invalid(f"input `{tensor}` has no `data`: a list of values, flat or nested")
    level: list[Any] = data
    while level and isinstance(level[0], list):
        if not all(isinstance(item, list) and len(item) == len(level[0]) for item in level):
            raise Invalid(f"input `{tensor}`: its nested lists are not even")
        level = list(chain.from_iterable(level))
    return level


def _packed_texts(values: list[Any], tensor: str) -> bytes:
    if not all(isinstance(value, str) for value in values):
        raise Invalid(f"input `{tensor}` has values that are not BYTES: write strings")
    return packed([value.encode() for value in values])


def _little(values: array[Any]) -> array[Any]:
    if sys.byteorder == "big":
        values.byteswap()
    return values
