"""Loading a model: the message to the harness, and its answer."""

from __future__ import annotations

from typing import Any

from vitrine_engine import checks
from vitrine_engine.checks import ViolationError
from vitrine_engine.events import Reason
from vitrine_engine.protocol import Loaded, LoadError, OnnxModel, TensorSignature

MAX_TENSORS = 10_000


def request(model: OnnxModel) -> dict[str, Any]:
    """Return the header that asks for a model; raises `ValueError` for a path out of the bundle."""
    checks.check_path("path of the ONNX model", model.path)
    inputs, outputs = [dict(item) for item in model.inputs], [dict(item) for item in model.outputs]
    return {"do": "model", "path": model.path, "inputs": inputs, "outputs": outputs}


def answer(header: dict[str, Any]) -> Loaded:
    """Read the harness's answer; raises `LoadError` and `ViolationError`."""
    if header.get("is") == "load_failed":
        raise LoadError(Reason.USER_ERROR, checks.text(header.get("message"), most=2000))
    if header.get("is") != "loaded":
        raise ViolationError("an unexpected answer to load")
    return Loaded(
        kind="onnx",
        milliseconds=checks.number(header.get("milliseconds")),
        inputs=_signatures(header.get("inputs")),
        outputs=_signatures(header.get("outputs")),
    )


def _signatures(value: object) -> tuple[TensorSignature, ...]:
    if not isinstance(value, list) or len(value) > MAX_TENSORS:
        raise ViolationError("a model has no list of tensors")
    return tuple(_signature(item) for item in value)


def _signature(value: object) -> TensorSignature:
    if not isinstance(value, dict) or not isinstance(value.get("shape"), list):
        raise ViolationError("a tensor has no shape")
    return TensorSignature(
        name=checks.text(value.get("name"), most=1000),
        dtype=checks.text(value.get("dtype"), most=100),
        shape=tuple(_size(size) for size in value["shape"]),
    )


def _size(value: object) -> int | str | None:
    if value is None:
        return None
    if isinstance(value, str):
        return checks.text(value, most=1000)
    return checks.whole(value, most=1 << 60)
