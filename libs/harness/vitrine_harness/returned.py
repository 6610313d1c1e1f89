"""What the author's code returns or yields, as the declared outputs of the run."""

from __future__ import annotations

import dataclasses
import enum
import inspect
import io
import math
import os
import pathlib
import stat
import tempfile
from typing import Any

from vitrine_harness import results
from vitrine_harness.jobs import Failed, Job

FILES = frozenset({"image", "audio", "video", "file"})
MAX_NAME = 100


def is_stream(result: Any) -> bool:
    """Whether a result is iterated piece by piece: iterators are, open files are not."""
    return inspect.isgenerator(result) or (
        hasattr(result, "__next__") and not isinstance(result, io.IOBase) and not hasattr(result, "read")
    )


def send(job: Job, outputs: list[dict[str, Any]], result: Any) -> None:
    """Send a whole result; raises `Failed` naming the output that it lacks or cannot be."""
    for spec, value in _shared_out(outputs, result):
        _send_one(job, spec, value)


class Stream:
    """Pieces of outputs, sent as they come. Whoever receives them joins text, and makes lists of the rest."""

    def __init__(self, job: Job, outputs: list[dict[str, Any]]) -> None:
        self._job = job
        self._outputs = outputs
        self._seen: set[str] = set()

    def send(self, item: Any) -> None:
        """Send one piece."""
        for spec, value in _shared_out(self._outputs, item):
            if value is None:
                continue
            self._seen.add(spec["name"])
            if spec["type"] in FILES:
                _send_one(self._job, spec, value)
            else:
                piece = _value(spec, value)
                self._job.value(spec["name"], spec["type"], piece, partial=True)

    def close(self) -> None:
        """End the outputs; one that got no piece is empty."""
        for spec in self._outputs:
            if spec["name"] not in self._seen and spec["type"] in {"text", "json"}:
                self._job.value(spec["name"], spec["type"], "" if spec["type"] == "text" else [])


def _shared_out(outputs: list[dict[str, Any]], result: Any) -> list[tuple[dict[str, Any], Any]]:
    """Say which part of a result belongs to which output."""
    if not outputs:
        return []
    if len(outputs) == 1:
        (spec,) = outputs
        fields = None if isinstance(result, dict) and spec["type"] == "json" else _fields(result)
        has_it = fields is not None and spec["name"] in fields
        return [(spec, fields[spec["name"]] if has_it and fields is not None else result)]
    if isinstance(result, list | tuple) and _fields(result) is None and len(result) == len(outputs):
        return list(zip(outputs, result, strict=True))
    fields = _fields(result)
    if fields is None:
        names = ", ".join(spec["name"] for spec in outputs)
        text = f"predict returned {type(result).__name__}, but several outputs are declared: {names}"
        raise Failed("user_error", text)
    return [(spec, fields.get(spec["name"])) for spec in outputs]


def _fields(value: Any) -> dict[str, Any] | None:
    """Return the fields of a record by name, not converted; None for what is none."""
    if isinstance(value, dict):
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {item.name: getattr(value, item.name) for item in dataclasses.fields(value)}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return dict(zip(value._fields, value, strict=True))
    if hasattr(value, "model_dump") or hasattr(value, "__cog_fields__"):
        names = getattr(type(value), "model_fields", None) or getattr(type(value), "__cog_fields__", {})
        return {name: getattr(value, name, None) for name in names}
    return None


def _send_one(job: Job, spec: dict[str, Any], value: Any) -> None:
    if value is None:
        if spec["required"]:
            raise Failed("user_error", f"output `{spec['name']}` is None; return a value for it")
        return
    if spec["type"] not in FILES:
        job.value(spec["name"], spec["type"], _value(spec, value))
        return
    for item in value if isinstance(value, list | tuple) else [value]:
        _send_file(job, spec, item)


def _value(spec: dict[str, Any], value: Any) -> Any:
    """Return the JSON of a value of the declared type; raises `Failed`."""
    kind, name = spec["type"], spec["name"]
    value = plain(value)
    if kind == "number":
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise Failed("user_error", f"output `{name}` must be a number, not {_shown(value)}")
        return value
    if kind == "text":
        return value if isinstance(value, str) else _text(value)
    if kind == "label":
        return value if isinstance(value, dict) else {"label": _text(value), "score": None, "index": None}
    return _ranked(name, value) if kind == "labels" else value


def _ranked(name: str, value: Any) -> list[Any]:
    if isinstance(value, list):
        return value
    if not isinstance(value, dict):
        raise Failed(
            "user_error", f"output `{name}` must be a mapping of names to numbers, or a list of labels"
        )
    pairs = sorted(value.items(), key=lambda pair: -pair[1] if isinstance(pair[1], int | float) else 0)
    return [{"label": str(label), "score": score, "index": None} for label, score in pairs]


def _text(value: Any) -> str:
    import json

    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"


def plain(value: Any) -> Any:
    """Return anything as JSON: records become objects, arrays lists, NaN and infinity null."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, enum.Enum):
        return plain(value.value)
    if isinstance(value, str):
        return str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, os.PathLike):
        return os.path.basename(os.fspath(value))
    fields = _fields(value)
    if fields is not None:
        return {str(key): plain(item) for key, item in fields.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if hasattr(value, "to_dict") and hasattr(value, "columns"):
        return plain(value.to_dict(orient="records"))
    if hasattr(value, "detach"):
        value = value.detach().cpu()
    return results.plain(value)


def _send_file(job: Job, spec: dict[str, Any], value: Any) -> None:
    output = spec["name"]
    if isinstance(value, str | os.PathLike):
        _send_path(job, output, os.fspath(value))
        return
    suffix, data = _encoded(spec, value)
    job.file(output, f"{output}{suffix}", data)


def _send_path(job: Job, output: str, path: str) -> None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        text = f"output `{output}`: {path} cannot be read: {error.strerror}"
        raise Failed("user_error", text) from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise Failed("user_error", f"output `{output}`: {path} is not a file")
        name = "".join(letter if letter.isprintable() else "_" for letter in os.path.basename(path))
        job.file_at(output, name[-MAX_NAME:], descriptor)
    finally:
        os.close(descriptor)
    # What was made for this run in the temporary directory would fill it run by run.
    if os.path.realpath(path).startswith(tempfile.gettempdir() + os.sep):
        pathlib.Path(path).unlink(missing_ok=True)


def _encoded(spec: dict[str, Any], value: Any) -> tuple[str, bytes]:
    """Return suffix and bytes of what stands for a file; raises `Failed`."""
    stream = io.BytesIO()
    if isinstance(value, bytes | bytearray | memoryview):
        return ".bin", bytes(value)
    if hasattr(value, "read"):
        data = value.read()
        return ".bin", data.encode() if isinstance(data, str) else bytes(data)
    if hasattr(value, "savefig"):
        value.savefig(stream, format="png", bbox_inches="tight")
        return ".png", stream.getvalue()
    if hasattr(value, "save") and hasattr(value, "convert"):
        value.save(stream, "PNG")
        return ".png", stream.getvalue()
    if hasattr(value, "to_csv"):
        return ".csv", value.to_csv(index=False).encode()
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    if hasattr(value, "__array__"):
        return _array(spec, value)
    text = (
        f"output `{spec['name']}` cannot be made of {type(value).__name__}: return a path, bytes or an image"
    )
    raise Failed("user_error", text)


def _array(spec: dict[str, Any], value: Any) -> tuple[str, bytes]:
    import numpy as np

    array, stream = np.asarray(value), io.BytesIO()
    if spec["type"] != "image":
        np.save(stream, array, allow_pickle=False)
        return ".npy", stream.getvalue()
    from PIL import Image

    if array.dtype.kind == "f" and array.size and array.min() >= 0 and array.max() <= 1:
        array = np.rint(array * 255)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim != 2 and not (array.ndim == 3 and array.shape[2] in {3, 4}):
        text = (
            f"output `{spec['name']}`: an array of shape {array.shape} is no picture (height, width, colours)"
        )
        raise Failed("user_error", text)
    Image.fromarray(np.clip(np.nan_to_num(array), 0, 255).astype(np.uint8)).save(stream, "PNG")
    return ".png", stream.getvalue()
