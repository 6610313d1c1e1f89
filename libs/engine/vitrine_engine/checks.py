"""Reading a sandbox's frames without trusting them, and a service's requests before they are sent."""

from __future__ import annotations

import math
import re
from pathlib import PurePosixPath
from typing import Any, cast

from vitrine_engine.events import Metric, OutputTensor, Progress, Reason, Tensor
from vitrine_engine.protocol import Limits, RunRequest, SandboxSpec, StartError

NAME = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
MAX_PATH = 4096
MAX_MODULES = 200
MODULE = re.compile(r"[A-Za-z_][A-Za-z0-9_.]{0,199}\Z")
DTYPE = re.compile(r"(u?int(8|16|32|64)|float(16|32|64)|bool)\Z")


class ViolationError(Exception):
    """The sandbox sent what no honest harness sends."""


def whole(value: object, *, most: int) -> int:
    """Return a size or count in 0…most."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise ViolationError(f"{value!r} is no number from 0 to {most}")
    return value


def text(value: object, *, most: int) -> str:
    """Return a string of at most `most` characters."""
    if not isinstance(value, str) or len(value) > most:
        raise ViolationError("a text is missing or too long")
    # Tenants may name files in any bytes; what cannot be shown or encoded is replaced.
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in value)


def texts(value: object, *, among: tuple[str, ...]) -> tuple[str, ...]:
    """Return a list of names, each one of `among`."""
    if not isinstance(value, list) or not all(item in among for item in value):
        raise ViolationError("a list names what was not asked for")
    return tuple(dict.fromkeys(cast("list[str]", value)))


def modules(value: object) -> list[str]:
    """Return names of Python modules."""
    if not isinstance(value, list) or len(value) > MAX_MODULES:
        raise ViolationError("a list of modules is none, or too long")
    return [name for name in value if isinstance(name, str) and MODULE.match(name)]


def relative_path(value: object) -> str:
    """Return a file name that cannot leave the directory that it is joined to."""
    name = text(value, most=MAX_PATH)
    if not name or name.startswith("/") or any(part in {"", ".", ".."} for part in name.split("/")):
        raise ViolationError(f"{name!r} is no path below the working directory")
    return name


def number(value: object) -> float:
    """Return a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not _fits_float(value):
        raise ViolationError("a value is no finite number")
    return float(value)


def _fits_float(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def metric(header: dict[str, Any]) -> Metric:
    """Read a metric frame."""
    values, step = header.get("values"), header.get("step")
    if not isinstance(values, dict) or not 1 <= len(values) <= 256:
        raise ViolationError("a metric has no values or too many")
    if step is not None and (not isinstance(step, int) or isinstance(step, bool) or abs(step) >= 1 << 53):
        raise ViolationError("a metric's step is no whole number")
    return Metric(values={text(name, most=200): number(item) for name, item in values.items()}, step=step)


def progress(header: dict[str, Any]) -> Progress:
    """Read a progress frame."""
    fraction = number(header.get("fraction"))
    if not 0 <= fraction <= 1:
        raise ViolationError("progress is not in 0 to 1")
    return Progress(fraction=fraction, message=text(header.get("message"), most=500))


def tensor(header: dict[str, Any], data: bytes) -> OutputTensor:
    """Read a tensor whose bytes have arrived."""
    dtype, shape = text(header.get("dtype"), most=20), header.get("shape")
    if not DTYPE.match(dtype) or not isinstance(shape, list) or len(shape) > 32:
        raise ViolationError("a tensor has no known type or shape")
    sizes = tuple(whole(size, most=1 << 40) for size in shape)
    width = 1 if dtype == "bool" else int(re.sub(r"\D", "", dtype)) // 8
    if math.prod(sizes) * width != len(data):
        raise ViolationError("a tensor's bytes do not fill its shape")
    value = Tensor(dtype=dtype, shape=sizes, data=data)
    return OutputTensor(name=text(header.get("name"), most=256), tensor=value)


def reason(value: object) -> Reason | None:
    """Read the reason of an end."""
    if value is None:
        return None
    try:
        return Reason(cast("str", value))
    except ValueError as error:
        raise ViolationError(f"{value!r} is no reason") from error


def check_request(request: RunRequest, *, script: bool) -> None:
    """Refuse a malformed request; raises `ValueError` naming the field."""
    if not NAME.match(request.id):
        raise ValueError(f"run id {request.id!r}: use up to 64 letters, digits, _ and -")
    if script and (not request.argv or not request.argv[0]):
        raise ValueError("argv is empty; a script model needs a command")
    if script and request.tensors:
        raise ValueError("tensors are for ONNX models")
    for word in (*request.argv, *request.env, *request.env.values(), request.traceparent or ""):
        if "\0" in word:
            raise ValueError("argv, env and traceparent must not hold NUL characters")
    if request.wall_seconds is not None and not 0 < request.wall_seconds < math.inf:
        raise ValueError("wall_seconds must be a positive number")
    _check_paths(request, script=script)


def _check_paths(request: RunRequest, *, script: bool) -> None:
    check_path("workdir", request.workdir)
    for file in request.files:
        if script:
            check_path(f"destination of input {file.name}", file.destination or "")
    for spec in request.outputs:
        check_path(f"output {spec.name or spec.pattern}", spec.pattern)
    for pattern in request.checkpoints:
        check_path("checkpoints", pattern)


def check_path(field: str, value: str) -> None:
    """Refuse a path that is empty, absolute, or leads up."""
    path = PurePosixPath(value)
    if not value or path.is_absolute() or ".." in path.parts or "\0" in value or len(value) > MAX_PATH:
        raise ValueError(f"{field}: {value!r} must be a relative path without `..`")


def check_limits(limits: Limits) -> None:
    """Refuse limits that no sandbox can start with; raises `ValueError` naming the field."""
    least = {
        "memory_bytes": 32 << 20,
        "processes": 4,
        "disk_bytes": 64 << 10,
        "output_bytes": 0,
        "log_bytes": 0,
    }
    for field, bound in least.items():
        if getattr(limits, field) < bound:
            raise ValueError(f"limits.{field} must be at least {bound}")
    if not 0 < limits.cpus < math.inf or not 0 < limits.wall_seconds < math.inf:
        raise ValueError("limits.cpus and limits.wall_seconds must be positive numbers")


def check_spec(spec: SandboxSpec) -> None:
    """Refuse a malformed spec with `ValueError`, and one whose directories are missing with `StartError`."""
    if not NAME.match(spec.id):
        raise ValueError(f"sandbox id {spec.id!r}: use up to 64 letters, digits, _ and -")
    if spec.max_runs < 1:
        raise ValueError("max_runs must be at least 1")
    check_limits(spec.limits)
    for field, path in (
        ("environment", spec.environment),
        ("system", spec.system),
        ("bundle", spec.bundle),
    ):
        if path is not None and not path.is_dir():
            raise StartError(f"the {field} directory {path} does not exist")
    for bind in spec.binds:
        if not bind.source.exists():
            raise StartError(f"{bind.source}, to be shown at {bind.target}, does not exist")
