"""Loading a model: the message to the harness, and its answer."""

from __future__ import annotations

from typing import Any, Literal

from vitrine_engine import checks
from vitrine_engine.checks import ViolationError
from vitrine_engine.events import Reason
from vitrine_engine.protocol import Loaded, LoadedModel, LoadError, MlflowModel, OnnxModel, TensorSignature

MAX_TENSORS = 10_000
MAX_LOG = 64_000
Kind = Literal["onnx", "predictor", "mlflow"]


def kind_of(model: LoadedModel) -> Kind:
    """Return the name of a kind of model."""
    if isinstance(model, OnnxModel):
        return "onnx"
    return "mlflow" if isinstance(model, MlflowModel) else "predictor"


def request(model: LoadedModel, runs: int) -> dict[str, Any]:
    """Return the header that asks for a model serving `runs` at a time.

    Raises `ValueError` for a path out of the bundle.
    """
    header = {
        "do": "model",
        "kind": kind_of(model),
        "runs": runs,
        "batch": None,
        "inputs": [dict(item) for item in model.inputs],
        "outputs": [dict(item) for item in model.outputs],
    }
    if isinstance(model, OnnxModel | MlflowModel):
        what = "ONNX" if isinstance(model, OnnxModel) else "MLflow"
        checks.check_path(f"path of the {what} model", model.path)
        return {**header, "path": model.path}
    path, colon, name = model.target.rpartition(":")
    checks.check_path("path of the predictor", path)
    if not colon or not name.isidentifier():
        raise ValueError(f"predictor {model.target!r} must be `path.py:Name`")
    batch = model.batching
    sizes = {"size": batch.size, "wait": batch.wait_seconds} if batch else None
    return {**header, "target": model.target, "batch": sizes}


def answer(header: dict[str, Any], kind: Kind) -> Loaded:
    """Read the harness's answer; raises `LoadError` and `ViolationError`."""
    if header.get("is") == "load_failed":
        message = checks.text(header.get("message"), most=2000)
        raise LoadError(Reason.USER_ERROR, message, _log(header.get("log")))
    if header.get("is") != "loaded":
        raise ViolationError("an unexpected answer to load")
    return Loaded(
        kind=kind,
        milliseconds=checks.number(header.get("milliseconds")),
        inputs=_signatures(header.get("inputs", [])),
        outputs=_signatures(header.get("outputs", [])),
    )


def _log(value: object) -> str:
    if not isinstance(value, str) or len(value) > MAX_LOG:
        raise ViolationError("the log of a load is missing or too long")
    return value


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
