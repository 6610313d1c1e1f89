"""The values of a run as the arguments that the author's type hints ask for."""

from __future__ import annotations

import dataclasses
import enum
import inspect
import io
import os
import pathlib
import types
import typing
from typing import Any

from vitrine_harness import images
from vitrine_harness.jobs import Failed, Upload

MISSING = object()


class _Unfit(Exception):
    """A value does not fit its hint; the message is the end of a sentence about it."""


class Parameter:
    """One parameter of `predict`: its name, its hint (`typing.Any` without one) and its default."""

    def __init__(self, name: str, hint: Any, default: Any) -> None:
        self.name = name
        self.hint = _plain_hint(hint)
        self.default = _default(default)

    @property
    def is_optional(self) -> bool:
        """Whether None is a value of it."""
        return _is_union(self.hint) and type(None) in typing.get_args(self.hint)


def argument(parameter: Parameter, given: dict[str, Any], *, in_batch: bool) -> Any:
    """Return the argument of a run, or None where the default shall be taken; raises `Failed`."""
    name = parameter.name
    if name not in given:
        if parameter.default is not MISSING:
            # Of a batch, the default is the list that one run would be.
            return parameter.default[0] if in_batch and parameter.default else parameter.default
        if parameter.is_optional:
            return None
        raise Failed("input_invalid", f"input `{name}` is missing")
    hint = _element(parameter.hint) if in_batch else parameter.hint
    try:
        value = given[name]
        return _file(hint, value) if isinstance(value, Upload) else converted(hint, value)
    except (_Unfit, ValueError, TypeError, OSError) as error:
        raise Failed("input_invalid", f"input `{name}` {error}") from error


def column(name: str, rows: list[dict[str, Any]]) -> list[Any] | None:
    """Return one parameter's values of a batch, or None where no run gave one."""
    return [row.get(name) for row in rows] if any(name in row for row in rows) else None


def _default(value: Any) -> Any:
    """Return the default that a parameter stands for: Cog writes `x: int = Input(default=3)`."""
    if value is inspect.Parameter.empty:
        return MISSING
    if type(value).__name__ in {"FieldInfo", "InputInfo"} and hasattr(value, "default"):
        inner = value.default
        is_set = inner is not ... and type(inner).__name__ not in {"PydanticUndefinedType", "UndefinedType"}
        return inner if is_set else MISSING
    return value


def _plain_hint(hint: Any) -> Any:
    """Strip `Annotated`, `Required` and type variables."""
    while typing.get_origin(hint) is typing.Annotated:
        hint = typing.get_args(hint)[0]
    if isinstance(hint, typing.NewType):
        return _plain_hint(hint.__supertype__)
    return hint


def _is_union(hint: Any) -> bool:
    return typing.get_origin(hint) in {typing.Union, types.UnionType}


def _element(hint: Any) -> Any:
    """Return what the elements of a list are."""
    arguments = typing.get_args(hint)
    return arguments[0] if arguments else Any


def _file(hint: Any, path: str) -> Any:
    """Return a file as the hint asks for it: a path, without a hint."""
    for kind in _members(hint):
        module = getattr(kind, "__module__", "")
        if kind is str:
            return str(path)
        if kind is bytes:
            return pathlib.Path(path).read_bytes()
        if module.startswith("PIL."):
            return images.decode(pathlib.Path(path).read_bytes())
        if getattr(kind, "__name__", "") == "ndarray":
            return _array(path)
        if getattr(kind, "__name__", "") == "DataFrame":
            return table(__import__(kind.__module__.partition(".")[0]), path)
        if kind in {typing.BinaryIO, typing.IO} or _is_class(kind, io.IOBase):
            return open(path, "rb")
        if _is_class(kind, pathlib.PurePath):
            return kind(path)
    return pathlib.Path(path)


def _array(path: str) -> Any:
    import numpy as np

    data = pathlib.Path(path).read_bytes()
    if data.startswith(b"\x93NUMPY"):
        return np.load(io.BytesIO(data), allow_pickle=False)
    return np.asarray(images.decode(data))


def table(pandas: Any, path: str) -> Any:
    """Return a file as a table: Parquet, tab-separated or comma-separated by its name."""
    suffix = os.path.splitext(path)[1].lower()
    if suffix == ".parquet":
        return pandas.read_parquet(path)
    return pandas.read_csv(path, sep="\t" if suffix in {".tsv", ".tab"} else ",")


def _members(hint: Any) -> tuple[Any, ...]:
    if _is_union(hint):
        return tuple(_plain_hint(item) for item in typing.get_args(hint) if item is not type(None))
    return (hint,)


def _is_class(kind: Any, base: type) -> bool:
    return isinstance(kind, type) and issubclass(kind, base)


def converted(hint: Any, value: Any) -> Any:
    """Return a JSON value as `hint` asks for it; raises `_Unfit`, `ValueError` and `TypeError`."""
    hint = _plain_hint(hint)
    if hint is Any or isinstance(hint, str | typing.TypeVar):
        return value
    if _is_union(hint):
        return _one_of(hint, value)
    origin = typing.get_origin(hint)
    if origin is typing.Literal:
        return _chosen(typing.get_args(hint), value)
    if origin is not None:
        return _collection(origin, typing.get_args(hint), value)
    if hint in _SCALARS:
        return _scalar(hint, value)
    if _is_class(hint, enum.Enum):
        return _member(hint, value)
    return _object(hint, value)


def _one_of(hint: Any, value: Any) -> Any:
    members = typing.get_args(hint)
    if value is None and type(None) in members:
        return None
    problem: Exception | None = None
    for member in members:
        if member is type(None):
            continue
        try:
            return converted(member, value)
        except (_Unfit, ValueError, TypeError) as error:
            problem = problem or error
    raise problem or _Unfit("has no type that fits")


_SCALARS = (bool, int, float, str, bytes, dict, list, tuple, set, object)


def _scalar(hint: Any, value: Any) -> Any:
    if hint is bool:
        if isinstance(value, bool):
            return value
        if str(value).lower() in {"true", "false"}:
            return str(value).lower() == "true"
        raise _Unfit("must be true or false")
    if hint in {int, float}:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise _Unfit("must be a number")
        return hint(value)
    if hint is str:
        return value if isinstance(value, str) else str(value)
    if hint is bytes:
        return str(value).encode()
    if hint in {list, tuple, set} and not isinstance(value, list):
        raise _Unfit("must be a JSON list")
    if hint is dict and not isinstance(value, dict):
        raise _Unfit("must be a JSON object")
    return hint(value) if hint in {tuple, set} else value


def _chosen(choices: tuple[Any, ...], value: Any) -> Any:
    for choice in choices:
        if choice == value or str(choice) == str(value):
            return choice
    raise _Unfit(f"must be one of {', '.join(map(str, choices))}")


def _member(hint: Any, value: Any) -> Any:
    for member in hint:
        if value in (member.value, member.name) or str(value) == str(member.value):
            return member
    raise _Unfit(f"must be one of {', '.join(str(member.value) for member in hint)}")


def _collection(origin: Any, arguments: tuple[Any, ...], value: Any) -> Any:
    if origin is dict or (isinstance(origin, type) and issubclass(origin, typing.Mapping)):
        if not isinstance(value, dict):
            raise _Unfit("must be a JSON object")
        return {key: converted(arguments[1], item) for key, item in value.items()}
    if getattr(origin, "__name__", "") == "ndarray":
        return _object(origin, value)
    if not isinstance(value, list):
        raise _Unfit("must be a JSON list")
    if origin is tuple and arguments and arguments[-1] is not ...:
        if len(arguments) != len(value):
            raise _Unfit(f"must have {len(arguments)} elements")
        return tuple(converted(one, item) for one, item in zip(arguments, value, strict=True))
    items = [converted(arguments[0], item) for item in value]
    return items if origin in {list, typing.get_origin(typing.Sequence[int])} else origin(items)


def _object(hint: Any, value: Any) -> Any:
    """Make what is neither plain nor a container: models, dataclasses, arrays, tables."""
    name = getattr(hint, "__name__", "")
    if name == "ndarray":
        import numpy as np

        return np.asarray(value)
    if name == "DataFrame":
        pandas: Any = __import__(hint.__module__.partition(".")[0])
        return pandas.DataFrame(value)
    if hasattr(hint, "model_validate"):
        return hint.model_validate(value)
    if typing.is_typeddict(hint):
        return converted(dict, value)
    if dataclasses.is_dataclass(hint) and isinstance(value, dict):
        return _dataclass(hint, value)
    if isinstance(hint, type) and not isinstance(value, hint) and not isinstance(value, dict):
        return hint(value)
    return hint(**value) if isinstance(hint, type) and isinstance(value, dict) else value


def _dataclass(hint: Any, value: dict[str, Any]) -> Any:
    hints = typing.get_type_hints(hint)
    unknown = [key for key in value if key not in hints]
    if unknown:
        raise _Unfit(f"has no field `{unknown[0]}`; it has {', '.join(hints)}")
    return hint(**{key: converted(hints[key], item) for key, item in value.items()})
