"""What Cog projects import, for environments without Cog: the same names, with the standard library alone.

Source: https://github.com/replicate/cog/blob/main/docs/python.md (Apache-2.0). Written from its
documentation. Where pydantic is installed, `BaseModel` is pydantic's.
"""

from __future__ import annotations

import inspect
import io
import math
import pathlib
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Generic, TypeVar

from vitrine_harness.capture import current
from vitrine_harness.jobs import CancelationException

T = TypeVar("T")
_Undefined = ...

Path = pathlib.Path
File = io.IOBase


class Secret:
    """A value that is not shown by accident."""

    def __init__(self, secret_value: str | None = None) -> None:
        self._value = secret_value

    def get_secret_value(self) -> str | None:
        """Return the value."""
        return self._value

    def __repr__(self) -> str:
        return "Secret('**********')" if self._value else "Secret('')"

    __str__ = __repr__


class ConcatenateIterator(Iterator[T], Generic[T]):
    """Hint for a generator whose pieces are one text."""


class AsyncConcatenateIterator(AsyncIterator[T], Generic[T]):
    """Hint for an asynchronous generator whose pieces are one text."""


class FieldInfo:
    """What `Input` says of a parameter."""

    def __init__(self, default: Any, facts: dict[str, Any]) -> None:
        self.default = default
        self.facts = facts


def Input(  # noqa: N802 - Cog's name
    default: Any = _Undefined,
    *,
    default_factory: Callable[[], Any] | None = None,
    **facts: Any,
) -> Any:
    """Describe a parameter of `predict`; without a default it must be given."""
    value = default_factory() if default_factory is not None else default
    return FieldInfo(value, facts)


class BasePredictor:
    """What `predict.py:Predictor` derives from."""

    def setup(self, weights: Any = None) -> Any:
        """Load the model; called once."""

    @property
    def scope(self) -> Scope:
        """The run that is served."""
        return current_scope()

    def record_metric(self, key: str, value: Any, mode: str = "replace") -> None:
        """Report a number of this run."""
        current_scope().record_metric(key, value, mode)


BaseRunner = BasePredictor


class Scope:
    """The run that is served."""

    def __init__(self) -> None:
        self._values: dict[str, float] = {}

    def record_metric(self, key: str, value: Any, mode: str = "replace") -> None:  # noqa: ARG002 - Cog's form
        """Report a number; other kinds of values are left out."""
        job = current.get()
        is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if job is not None and is_number:
            job.report({"is": "metric", "values": {key[:200]: value}, "step": None})


def current_scope() -> Scope:
    """Return the run that is served."""
    return Scope()


def emit_metric(name: str, value: Any) -> None:
    """Report a number of this run."""
    current_scope().record_metric(name, value)


try:
    from pydantic import BaseModel  # pyright: ignore - only where the environment has it
except ImportError:

    class BaseModel:  # type: ignore[no-redef]
        """Fields by annotation, given by keyword."""

        __cog_fields__: dict[str, Any] = {}

        def __init_subclass__(cls, **_: Any) -> None:
            super().__init_subclass__()
            own = {name: hint for name, hint in inspect.get_annotations(cls).items() if name[0] != "_"}
            cls.__cog_fields__ = {**cls.__cog_fields__, **own}

        def __init__(self, **values: Any) -> None:
            unknown = [name for name in values if name not in self.__cog_fields__]
            if unknown:
                raise TypeError(f"{type(self).__name__} has no field {unknown[0]}")
            for name in self.__cog_fields__:
                if name not in values and not hasattr(type(self), name):
                    raise TypeError(f"{type(self).__name__} needs {name}")
            for name, value in values.items():
                setattr(self, name, value)

        def __repr__(self) -> str:
            shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__cog_fields__)
            return f"{type(self).__name__}({shown})"


__all__ = [
    "AsyncConcatenateIterator",
    "BaseModel",
    "BasePredictor",
    "BaseRunner",
    "CancelationException",
    "ConcatenateIterator",
    "File",
    "Input",
    "Path",
    "Secret",
    "current_scope",
    "emit_metric",
]
