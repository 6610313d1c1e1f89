"""ONNX files as bytes, written field by field: no package of ONNX is needed."""

from __future__ import annotations

from collections.abc import Sequence


def varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])


def field(number: int, content: bytes | str | int) -> bytes:
    """One field: a whole number, or bytes with their length."""
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    data = content.encode() if isinstance(content, str) else content
    return varint(number << 3 | 2) + varint(len(data)) + data


def tensor_info(name: str, dtype: int, shape: Sequence[int | str] | None) -> bytes:
    """A `ValueInfoProto` of a tensor."""
    sizes = b"".join(
        field(1, field(1, size) if isinstance(size, int) else field(2, size)) for size in shape or ()
    )
    kind = field(1, dtype) + (b"" if shape is None else field(2, sizes))
    return field(1, name) + field(2, field(1, kind))


def weight(name: str, location: str | None = None, data: bytes = b"") -> bytes:
    """A `TensorProto`, whose bytes may lie in another file."""
    entry = field(1, "location") + field(2, location) if location else b""
    return field(8, name) + (field(13, entry) + field(14, 1) if location else field(9, data))


def model(
    inputs: Sequence[bytes] = (tensor_info("x", 1, ["n", 3]),),
    outputs: Sequence[bytes] = (tensor_info("y", 1, ["n", 2]),),
    weights: Sequence[bytes] = (),
) -> bytes:
    """A `ModelProto` with a graph of no nodes."""
    parts = [*(field(5, item) for item in weights), *(field(11, item) for item in inputs)]
    graph = field(2, "graph") + b"".join([*parts, *(field(12, item) for item in outputs)])
    return field(1, 8) + field(2, "tests") + field(7, graph)
