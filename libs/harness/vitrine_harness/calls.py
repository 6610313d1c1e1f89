"""Calls with tensors on a loaded model: one stream for many of them, answered in their order.

A run has a stream of its own and a dozen messages. Where inputs and outputs are plain tensors, one message
there and one back are enough, and the stream stays open. After `{"do": "calls"}` each call is

- to the model: `{"do": "call", "tensors": [[name, dtype, shape, size], …], "outputs": [name, …], "size": n}`
  with the first bytes as payload, and `{"do": "data"}` frames with the rest;
- back: `{"is": "answer", "tensors": […], "size": n, "microseconds": t}` in the same way, or
  `{"is": "refused", "reason": …, "message": …}`.

Bytes are those of all tensors, one after the other. A tensor of texts (`object`) is its elements, each after
its length in four bytes (little endian).
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from typing import Any

from vitrine_harness import tensors
from vitrine_harness.frames import MAX_PAYLOAD, Channel

LENGTH = struct.Struct("<I")
Compute = Callable[[list[str], dict[str, Any]], list[Any]]


class RefusedError(Exception):
    """A call cannot be answered; `reason` says whose fault it is."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def serve(
    channel: Channel, inputs: list[tensors.Signature], outputs: list[tensors.Signature], compute: Compute
) -> None:
    """Answer calls until the engine closes the stream.

    Args:
        channel: the stream.
        inputs: what the model takes; each is needed.
        outputs: what it gives.
        compute: runs the model: names of the wanted outputs and arrays by input name to arrays; raises
            `RefusedError`.
    """
    known, names = {item["name"]: item for item in inputs}, [item["name"] for item in outputs]
    while (frame := channel.receive()) is not None:
        header, payload = frame
        data = _rest(channel, header["size"], payload)
        try:
            wanted = _wanted(header["outputs"], names)
            feeds = _feeds(header["tensors"], data, known)
            began = time.perf_counter()
            found = compute(wanted, feeds)
            spent = time.perf_counter() - began
            parts, listed = _encoded(wanted, found)
        except RefusedError as error:
            channel.send({"is": "refused", "reason": error.reason, "message": str(error)[:2000]})
            continue
        _send(channel, {"is": "answer", "tensors": listed, "microseconds": round(spent * 1e6)}, parts)


def _rest(channel: Channel, size: int, first: bytes) -> bytes:
    if len(first) == size:
        return first
    data = bytearray(first)
    while len(data) < size:
        frame = channel.receive()
        if frame is None:
            raise SystemExit(0)
        data += frame[1]
    return bytes(data)


def _wanted(asked: list[str], names: list[str]) -> list[str]:
    for name in asked:
        if name not in names:
            raise _invalid(f"there is no output `{name}`; the outputs are {', '.join(names)}")
    return asked or names


def _feeds(listed: list[list[Any]], data: bytes, known: dict[str, tensors.Signature]) -> dict[str, Any]:
    feeds: dict[str, Any] = {}
    offset = 0
    for name, dtype, shape, size in listed:
        signature = known.get(name)
        if signature is None:
            raise _invalid(f"there is no input `{name}`; the inputs are {', '.join(known)}")
        _check(signature, dtype, shape)
        feeds[name] = _array(name, dtype, shape, memoryview(data)[offset : offset + size])
        offset += size
    missing = [name for name in known if name not in feeds]
    if missing:
        raise _invalid(f"input `{missing[0]}` is missing")
    return feeds


def _check(signature: tensors.Signature, dtype: str, shape: list[int]) -> None:
    name, expected = signature["name"], signature["shape"]
    if dtype != signature["dtype"]:
        raise _invalid(f"input `{name}` has the type {dtype}, but the model takes {signature['dtype']}")
    if not expected:
        return
    fits = len(expected) == len(shape) and all(
        not isinstance(size, int) or size == have for size, have in zip(expected, shape, strict=True)
    )
    if not fits:
        text = " x ".join("any" if size is None else str(size) for size in expected)
        have = " x ".join(map(str, shape)) or "a single value"
        raise _invalid(f"input `{name}` has the shape {have}, but the model takes {text}")


def _array(name: str, dtype: str, shape: list[int], data: memoryview) -> Any:
    import numpy as np

    try:
        if dtype == "object":
            return np.array(_texts(data), dtype=object).reshape(shape)
        array = np.frombuffer(data, dtype=np.dtype(dtype)).reshape(shape)
    except (ValueError, TypeError, struct.error) as error:
        raise _invalid(f"input `{name}`: {error}") from error
    return array if array.flags.aligned else array.copy()


def _texts(data: memoryview) -> list[str]:
    found, offset = [], 0
    while offset < len(data):
        (length,) = LENGTH.unpack_from(data, offset)
        offset += LENGTH.size
        if offset + length > len(data):
            raise ValueError("a text is longer than what was sent")
        found.append(bytes(data[offset : offset + length]).decode())
        offset += length
    return found


def _encoded(names: list[str], found: list[Any]) -> tuple[list[bytes], list[list[Any]]]:
    import numpy as np

    parts, listed = [], []
    for name, value in zip(names, found, strict=True):
        if not isinstance(value, np.ndarray):
            text = f"output `{name}` is a list or a mapping, which has no tensor form; leave it out"
            raise RefusedError("user_error", text)
        data = _packed(value) if value.dtype == object else value.tobytes()
        parts.append(data)
        listed.append([name, str(value.dtype), list(value.shape), len(data)])
    return parts, listed


def _packed(array: Any) -> bytes:
    found = bytearray()
    for item in array.flat:
        text = item if isinstance(item, bytes) else str(item).encode(errors="replace")
        found += LENGTH.pack(len(text)) + text
    return bytes(found)


def _send(channel: Channel, header: dict[str, Any], parts: list[bytes]) -> None:
    data = memoryview(parts[0] if len(parts) == 1 else b"".join(parts))
    channel.send({**header, "size": len(data)}, data[:MAX_PAYLOAD])
    for offset in range(MAX_PAYLOAD, len(data), MAX_PAYLOAD):
        channel.send({"is": "data"}, data[offset : offset + MAX_PAYLOAD])


def _invalid(message: str) -> RefusedError:
    return RefusedError("input_invalid", message)
