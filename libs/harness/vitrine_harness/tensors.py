"""Values to tensors and tensors to values, from the plain form of a spec's inputs and outputs.

The fields are those of the harness form (`name`, `type`, `required`, `default`, `tensor`), and of the
`tensor` sections in it. Everything here runs inside the sandbox and may be given anything.
"""

from __future__ import annotations

from typing import Any

from vitrine_harness import images

ALL = "*"
TYPES = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(float16)": "float16",
    "tensor(string)": "object",
}
"""ONNX Runtime's names that differ from NumPy's; the others are `tensor(<numpy name>)`."""
Signature = dict[str, Any]
"""`name`, `dtype` (NumPy's), `shape` (sizes; None or a name where free) of one tensor of the graph."""


class InputError(Exception):
    """A value cannot become its tensor; the message names the input."""


def signature(node: Any) -> Signature:
    """Describe an input or output of a session."""
    kind = TYPES.get(node.type, node.type.removeprefix("tensor(").removesuffix(")"))
    shape = [size if isinstance(size, int | str) else None for size in node.shape or []]
    return {"name": node.name, "dtype": kind, "shape": shape}


def feeds(
    specs: list[dict[str, Any]], graph: list[Signature], values: dict[str, Any], files: dict[str, bytes]
) -> dict[str, Any]:
    """Return the tensors of a run by graph name; raises `InputError`."""
    known = {spec["name"] for spec in specs}
    for name in [*values, *files]:
        if name not in known:
            raise InputError(f"there is no input `{name}`; the inputs are {', '.join(sorted(known))}")
    made: dict[str, Any] = {}
    for position, spec in enumerate(specs):
        name = spec["name"]
        value = files[name] if name in files else values.get(name, spec.get("default"))
        if value is None:
            if spec.get("required", True):
                raise InputError(f"input `{name}` is missing")
            continue
        try:
            made |= _tensors(spec, position, graph, value)
        except (ValueError, TypeError, OverflowError) as error:
            raise InputError(f"input `{name}` {error}") from error
    missing = [item["name"] for item in graph if item["name"] not in made]
    if missing:
        raise InputError(f"nothing was given for the tensors {', '.join(missing)}")
    return made


def _tensors(spec: dict[str, Any], position: int, graph: list[Signature], value: object) -> dict[str, Any]:
    rules = spec.get("tensor") or {}
    target = rules.get("name")
    by_name = {item["name"]: item for item in graph}
    if target == ALL:
        if not isinstance(value, dict):
            raise ValueError("must be a JSON object: tensor name to nested list of numbers")
        unknown = [name for name in value if name not in by_name]
        if unknown:
            raise ValueError(f"names no tensor of the model: {unknown[0]}; it has {', '.join(by_name)}")
        return {name: _plain(item, {}, by_name[name]) for name, item in value.items()}
    if target is None:
        if position >= len(graph):
            raise ValueError(f"has no tensor: the model takes only {len(graph)}")
        target = graph[position]["name"]
    if target not in by_name:
        raise ValueError(f"belongs to tensor {target}, which the model has not; it has {', '.join(by_name)}")
    if spec.get("type") == "image":
        return {target: _image(value, rules, by_name[target])}
    return {target: _plain(value, rules, by_name[target])}


def _image(value: object, rules: dict[str, Any], graph: Signature) -> Any:
    if not isinstance(value, bytes):
        raise TypeError("must be an image file")
    return _fitted(images.image_tensor(value, rules), graph)


def _plain(value: object, rules: dict[str, Any], graph: Signature) -> Any:
    import numpy as np

    if isinstance(value, bytes):
        raise TypeError("must be a value, not a file")
    if graph["dtype"] == "object":
        array = np.asarray(value, dtype=object)
    else:
        try:
            array = np.asarray(value, dtype=np.float64 if _is_float(graph) else None)
        except (ValueError, TypeError) as error:
            raise ValueError("is not a number or an even nested list of numbers") from error
        if array.dtype.kind not in "biuf":
            raise ValueError("is not a number or an even nested list of numbers")
    if rules.get("shape"):
        array = _reshaped(array, rules["shape"])
    else:
        rank = len(graph["shape"])
        if array.size == 1:
            array = array.reshape((1,) * rank)
        elif array.ndim == rank - 1:
            array = array[np.newaxis]
    return _fitted(array, graph)


def _reshaped(array: Any, shape: list[int]) -> Any:
    try:
        return array.reshape(shape)
    except ValueError as error:
        raise ValueError(f"has {array.size} numbers, which do not fill the shape {shape}") from error


def _is_float(graph: Signature) -> bool:
    return str(graph["dtype"]).startswith("float")


def _fitted(array: Any, graph: Signature) -> Any:
    """Return `array` in the graph's type, with a shape that the graph takes."""
    import numpy as np

    expected = graph["shape"]
    fits = len(expected) == array.ndim and all(
        not isinstance(size, int) or size == have for size, have in zip(expected, array.shape, strict=True)
    )
    if expected and not fits:
        text = " x ".join("any" if size is None else str(size) for size in expected)
        have = " x ".join(map(str, array.shape)) or "a single number"
        raise ValueError(f"has the shape {have}, but tensor {graph['name']} takes {text}")
    kind = np.dtype(graph["dtype"])
    if kind.kind in "iu":
        limits = np.iinfo(kind)
        if array.dtype.kind == "f":
            array = np.rint(array)
        if array.size and (array.min() < limits.min or array.max() > limits.max):
            raise ValueError(f"has numbers that do not fit into {kind}")
    return np.ascontiguousarray(array.astype(kind))


def raw(tensor: dict[str, Any], data: bytes) -> Any:
    """Return the array of raw bytes; raises `InputError`."""
    import numpy as np

    try:
        return np.frombuffer(data, dtype=np.dtype(tensor["dtype"])).reshape(tensor["shape"])
    except (ValueError, TypeError) as error:
        raise InputError(f"tensor `{tensor['name']}`: {error}") from error
