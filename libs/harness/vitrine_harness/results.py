"""Tensors to the values of declared outputs: labels, probabilities, numbers, JSON."""

from __future__ import annotations

import math
from typing import Any

from vitrine_harness.tensors import ALL, Signature


class OutputError(Exception):
    """A declared output cannot be read from what the model gives; the message names it."""


def source(spec: dict[str, Any], graph: list[Signature], tensors: dict[str, Any]) -> Any:
    """Return the tensor that an output is read from, or all of them as a mapping."""
    target = (spec.get("tensor") or {}).get("name")
    if target == ALL:
        return tensors
    if target is None:
        target = graph[0]["name"]
    if target not in tensors:
        names = ", ".join(tensors)
        raise OutputError(f"output `{spec['name']}`: the model gives no tensor {target}; it gives {names}")
    return tensors[target]


def value(spec: dict[str, Any], tensor: Any) -> Any:
    """Return the JSON value of a `label`, `labels`, `number`, `text` or `json` output.

    `label`: `{"label", "score", "index"}`; `labels`: a list of those, best first; score and index are null
    where the tensor holds the label itself.
    """
    rules = spec.get("tensor") or {}
    try:
        if spec["type"] == "label":
            return _label(rules, tensor)
        if spec["type"] == "labels":
            return _ranked(rules, tensor)
        if spec["type"] == "number":
            return _number(rules, tensor)
        found = plain(tensor)
        return str(found) if spec["type"] == "text" else found
    except (ValueError, TypeError, IndexError) as error:
        raise OutputError(f"output `{spec['name']}`: {error}") from error


def _label(rules: dict[str, Any], tensor: Any) -> dict[str, Any]:
    import numpy as np

    if not _is_mapping(tensor):
        array = np.asarray(tensor)
        if array.size == 1 and array.dtype.kind in "iuOUS" and not rules.get("argmax"):
            return _named(rules, array.reshape(-1)[0])
    return _ranked({**rules, "top": 1}, tensor)[0]


def _named(rules: dict[str, Any], found: Any) -> dict[str, Any]:
    labels = rules.get("labels")
    if isinstance(found, str | bytes):
        text = found.decode(errors="replace") if isinstance(found, bytes) else found
        return {"label": text, "score": None, "index": None}
    index = int(found)
    label = labels[index] if labels is not None and 0 <= index < len(labels) else str(index)
    return {"label": label, "score": None, "index": index}


def _ranked(rules: dict[str, Any], tensor: Any) -> list[dict[str, Any]]:
    import numpy as np

    names, scores = _scores(rules, tensor)
    if rules.get("softmax"):
        powers = np.exp(scores - scores.max())
        scores = powers / powers.sum()
    order = np.argsort(-scores, kind="stable")[: rules.get("top")]
    return [
        {"label": names[index], "score": _finite(float(scores[index])), "index": int(index)}
        for index in order
    ]


def _scores(rules: dict[str, Any], tensor: Any) -> tuple[list[str], Any]:
    import numpy as np

    labels = rules.get("labels")
    if _is_mapping(tensor):
        mapping = tensor[0] if isinstance(tensor, list) else tensor
        names = [str(key) for key in mapping]
        scores = np.asarray(list(mapping.values()), dtype=np.float64)
    else:
        scores = np.asarray(tensor, dtype=np.float64).reshape(-1)
        names = [str(index) for index in range(scores.size)]
    if not scores.size:
        raise ValueError("the tensor is empty")
    if labels is not None:
        if len(labels) != len(names):
            raise ValueError(f"there are {len(labels)} labels, but the tensor has {len(names)} values")
        names = labels
    return names, scores


def _is_mapping(tensor: Any) -> bool:
    """Whether this is what ONNX Runtime makes of a ZipMap: one mapping per row."""
    first = tensor[0] if isinstance(tensor, list) and tensor else tensor
    return isinstance(first, dict)


def _number(rules: dict[str, Any], tensor: Any) -> float | int | None:
    import numpy as np

    array = np.asarray(tensor).reshape(-1)
    if rules.get("argmax"):
        return int(array.argmax())
    if array.size != 1:
        raise ValueError(f"the tensor has {array.size} values, not one")
    found = float(array[0]) * float(rules.get("scale", 1.0)) + float(rules.get("offset", 0.0))
    return _finite(found)


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None


def plain(tensor: Any) -> Any:
    """Return anything that a session gives as JSON: nested lists; NaN and infinity become null."""
    if isinstance(tensor, dict):
        return {str(key): plain(item) for key, item in tensor.items()}
    if isinstance(tensor, list | tuple):
        return [plain(item) for item in tensor]
    if isinstance(tensor, bytes):
        return tensor.decode(errors="replace")
    if isinstance(tensor, float):
        return _finite(tensor)
    if hasattr(tensor, "tolist"):
        return plain(tensor.tolist())
    return tensor
