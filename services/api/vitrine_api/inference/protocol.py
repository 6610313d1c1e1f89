"""Requests and responses of the Open Inference Protocol (KServe V2 REST) and its binary tensor extension.

See https://github.com/kserve/open-inference-protocol, and `extension_binary_data.md` of Triton.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from vitrine_api.inference.datatypes import (
    BY_DTYPE,
    Datatype,
    check_bytes,
    datatype,
    from_json,
    texts,
    to_json,
)
from vitrine_common.errors import Invalid, TooLarge
from vitrine_common.messages.call import Part

HEADER_LENGTH = "inference-header-content-length"
MAX_JSON_VALUES = 1_000_000
"""Values in a JSON body: each takes some thirty bytes of this process once it is read."""
MAX_RANK = 32
MAX_TENSORS = 1000


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor of a request or response."""

    name: str
    kind: Datatype
    shape: tuple[int, ...]
    data: bytes | memoryview
    parameters: Mapping[str, Any] | None = None
    """What else was said of it; an output that has some holds files."""

    @property
    def part(self) -> Part:
        """How messages describe it."""
        return (self.name, self.kind.dtype, self.shape, len(self.data))


@dataclass(frozen=True, slots=True)
class Wanted:
    """An output that was asked for."""

    name: str
    binary: bool


@dataclass(slots=True)
class InferRequest:
    """What a client asks."""

    id: str | None = None
    inputs: list[Tensor] = field(default_factory=list)
    outputs: list[Wanted] = field(default_factory=list)
    """Empty for all."""
    binary: bool = False
    """Whether outputs that nobody named come as bytes."""
    parameters: Mapping[str, Any] = field(default_factory=dict)


def inflated(body: bytes, encoding: str, limit: int) -> bytes:
    """Return a body without its `Content-Encoding`. Raises Invalid, TooLarge."""
    match encoding.strip().lower():
        case "" | "identity":
            return body
        case "gzip":
            windows = [31]
        case "deflate":  # with zlib's header as the RFC says, or without as some clients send it
            windows = [15, -15]
        case _:
            raise Invalid(f"Content-Encoding {encoding[:40]!r} is not known; use gzip or deflate")
    for window in windows:
        inflater = zlib.decompressobj(window)
        try:
            found = inflater.decompress(body, limit + 1)
        except zlib.error:
            continue
        if len(found) > limit:
            raise TooLarge(f"the body has more than {limit} bytes once it is decompressed")
        if inflater.eof:
            return found
    raise Invalid("the body cannot be decompressed")


def parse(body: bytes, header_length: str | None) -> InferRequest:
    """Read a request; `header_length` is the extension's header, if it was sent. Raises Invalid, TooLarge."""
    text, rest = body, memoryview(b"")
    if header_length is not None:
        if not (header_length.isascii() and header_length.isdigit()) or int(header_length[:12]) > len(body):
            raise Invalid("Inference-Header-Content-Length is not the length of the JSON before the tensors")
        text, rest = body[: int(header_length)], memoryview(body)[int(header_length) :]
    # A value and its comma are two bytes, so that most bodies need not be counted through.
    if len(text) > 2 * MAX_JSON_VALUES and text.count(b",") > MAX_JSON_VALUES:
        raise TooLarge(f"the body has more than {MAX_JSON_VALUES} JSON values; send tensors as binary data")
    try:
        read = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise Invalid(f"the body is not JSON: {error}") from None
    if not isinstance(read, dict):
        raise Invalid("the body must be a JSON object with `inputs`")
    parameters = _parameters(read.get("parameters"), "the request")
    request = InferRequest(
        id=_id(read.get("id")), binary=parameters.get("binary_data_output") is True, parameters=parameters
    )
    request.inputs = _inputs(read.get("inputs"), rest)
    request.outputs = _outputs(read.get("outputs"), request.binary)
    return request


def _id(value: object) -> str | None:
    if value is None or (isinstance(value, str) and len(value) <= 1000):
        return value
    raise Invalid("`id` must be a text of at most 1000 characters")


def _parameters(value: object, whose: str) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Invalid(f"`parameters` of {whose} must be a JSON object")
    return value


def _listed(value: object, name: str) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise Invalid(f"`{name}` must be a list of JSON objects")
    if len(value) > MAX_TENSORS:
        raise Invalid(f"`{name}` has more than {MAX_TENSORS} tensors")
    names = [item.get("name") for item in value]
    if not all(isinstance(item, str) and 0 < len(item) <= 256 for item in names):
        raise Invalid(f"a tensor of `{name}` has no `name`")
    if len(set(names)) < len(names):
        raise Invalid(f"`{name}` names a tensor twice")
    return value


def _inputs(value: object, rest: memoryview) -> list[Tensor]:
    found, offset = [], 0
    for item in _listed(value, "inputs"):
        name, kind = item["name"], datatype(item.get("datatype"), item["name"])
        shape = _shape(item.get("shape"), name)
        parameters = item.get("parameters")
        size = _parameters(parameters, f"input `{name}`").get("binary_data_size") if parameters else None
        data: bytes | memoryview
        if size is None:
            data = from_json(kind, shape, item.get("data"), name)
        else:
            if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= len(rest) - offset:
                raise Invalid(f"input `{name}`: binary_data_size is more than what follows the JSON")
            data = rest[offset : offset + size]
            offset += size
            check_bytes(kind, shape, data, name)
        found.append(Tensor(name, kind, shape, data, parameters))
    if offset != len(rest):
        raise Invalid(f"{len(rest) - offset} bytes after the JSON belong to no input")
    return found


def _shape(value: object, name: str) -> tuple[int, ...]:
    # A boolean is no size, though Python counts it among the numbers.
    if (
        not isinstance(value, list)
        or len(value) > MAX_RANK
        or not all(type(size) is int and 0 <= size < 1 << 40 for size in value)
    ):
        raise Invalid(f"input `{name}` has no `shape`: a list of whole numbers")
    return tuple(value)


def _outputs(value: object, binary: bool) -> list[Wanted]:
    if value is None:
        return []
    found = []
    for item in _listed(value, "outputs"):
        own = _parameters(item.get("parameters"), f"output `{item['name']}`")
        if own.get("classification"):
            raise Invalid("the classification extension is not served: ask for the scores themselves")
        if any(key.startswith("shared_memory") for key in own):
            raise Invalid("the shared memory extension is not served: the model is not on your machine")
        found.append(Wanted(item["name"], own.get("binary_data", binary) is True))
    return found


def tensors_of(parts: Sequence[Part], body: bytes | memoryview) -> list[Tensor]:
    """Return the tensors of an answer from the bus."""
    found, offset, view = [], 0, memoryview(body)
    for name, dtype, shape, size in parts:
        kind = BY_DTYPE.get(dtype)
        if kind is None:
            raise Invalid(f"output `{name}` is of the type {dtype}, which the protocol has no name for")
        found.append(Tensor(name, kind, tuple(shape), view[offset : offset + size]))
        offset += size
    return found


def encode(
    request: InferRequest, tensors: Sequence[Tensor], *, model: str, version: str
) -> tuple[bytes, int | None]:
    """Return a response's body and, where bytes follow its JSON, that JSON's length."""
    binary = {item.name: item.binary for item in request.outputs}
    listed, blobs = [], []
    for tensor in tensors:
        described: dict[str, Any] = {
            "name": tensor.name,
            "datatype": tensor.kind.name,
            "shape": tensor.shape,
        }
        if tensor.parameters:
            described["parameters"] = {**tensor.parameters}
        if binary.get(tensor.name, request.binary):
            described.setdefault("parameters", {})["binary_data_size"] = len(tensor.data)
            blobs.append(tensor.data)
        elif tensor.parameters:
            described["parameters"]["encoding"] = "base64"
            described["data"] = [base64.b64encode(file).decode() for file in texts(tensor.data)]
        else:
            described["data"] = to_json(tensor.kind, tensor.data)
        listed.append(described)
    head: dict[str, Any] = {"model_name": model, "model_version": version, "outputs": listed}
    if request.id is not None:
        head["id"] = request.id
    text = orjson.dumps(head)
    return (b"".join((text, *blobs)), len(text)) if blobs else (text, None)


def deflated(body: bytes, accepted: str) -> tuple[bytes, str | None]:
    """Return a body in the first encoding that a client asks for and this side knows, and its name."""
    for item in accepted.lower().split(","):
        name, _, quality = item.strip().partition(";")
        if quality.strip().replace(" ", "") in {"q=0", "q=0.0"}:
            continue
        if name.strip() == "gzip":
            packer = zlib.compressobj(1, zlib.DEFLATED, 31)
            return packer.compress(body) + packer.flush(), "gzip"
        if name.strip() == "deflate":
            return zlib.compress(body, 1), "deflate"
    return body, None
