"""From a spec and the values of a run to what is executed, and from what it printed back to values."""

import json
import math
import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from vitrine_common.spec.model import Spec
from vitrine_common.spec.outputs import OutputType
from vitrine_common.spec.values import MAX_JSON_DEPTH, FileValue, is_too_deep

_TOO_DEEP = f"is JSON that is nested deeper than {MAX_JSON_DEPTH} levels"
_SUFFIXES = {"image/jpeg": ".jpg", "image/webp": ".webp", "text/plain": ".txt"}


@dataclass(frozen=True, slots=True)
class PlacedFile:
    """A file that is put into the working directory before a script runs.

    Either `file` (an uploaded one) or `content` (a value written out) is set.
    """

    name: str
    destination: str
    file: FileValue | None = None
    content: bytes | None = None


@dataclass(frozen=True, slots=True)
class Invocation:
    """What is executed for one run of a script model. `argv` is never given to a shell."""

    argv: tuple[str, ...]
    workdir: str
    """Directory of the bundle; destinations are relative to it."""
    env: Mapping[str, str]
    """`VITRINE_INPUT_NAME` of every value that was given; of a file, its destination."""
    files: tuple[PlacedFile, ...]


def invocation(
    spec: Spec, values: Mapping[str, Any], directories: frozenset[str] = frozenset()
) -> Invocation:
    """Return what a script model executes for `values` (as `coerce_inputs` returns them).

    A value with a flag adds `--name value` to argv; values that begin with a dash are added as
    `--name=value`, so that no value can be taken for a flag of its own.
    """
    form = spec.to_harness(directories)
    argv, env, files = list(form["argv"]), {}, []
    for item in form["inputs"]:
        name = item["name"]
        if name not in values:
            continue
        placed = _placed(item, values[name])
        text = placed.destination if placed and placed.file else value_text(values[name])
        if placed:
            files.append(placed)
        env[item["env"]] = text
        if item["flag"]:
            argv += [f"{item['flag']}={text}"] if text.startswith("-") else [item["flag"], text]
    return Invocation(tuple(argv), form["workdir"], env, tuple(files))


def value_text(value: Any) -> str:
    """Write a value as a program reads it: text as it is, everything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _placed(item: Mapping[str, Any], value: Any) -> PlacedFile | None:
    destination = item["path"]
    if destination is None:
        return None
    if item["type"] not in {"image", "file"}:
        return PlacedFile(item["name"], destination, content=value_text(value).encode())
    file = FileValue.model_validate(value)
    if destination.endswith("/"):
        destination += item["name"] + file_suffix(file)
    return PlacedFile(item["name"], destination, file=file)


def file_suffix(file: FileValue) -> str:
    """Return the suffix that a file gets: of its media type, else of its name if that is a plain one."""
    media_type = file.media_type.split(";")[0].strip().lower()
    known = _SUFFIXES.get(media_type) or mimetypes.guess_extension(media_type, strict=False)
    if known and media_type != "application/octet-stream":
        return known
    suffix = PurePosixPath(file.filename).suffix
    return suffix if suffix[1:].isalnum() and suffix.isascii() and len(suffix) <= 16 else ""


def parse_output(kind: OutputType, text: str) -> Any:
    """Return the value of an output of type `kind` that a script printed or wrote as `text`.

    `text`: the text. `number`: its last line. `json`: parsed. `label` and `labels`: as an ONNX model
    gives them, one `{"label", "score", "index"}` or a list of those, best first (from a JSON mapping of
    name → number); what a script does not say is null. Raises ValueError with a
    sentence that says what was expected.
    """
    match kind:
        case "number":
            return _number(text)
        case "json":
            return _json(text)
        case "label":
            return {"label": text.strip(), "score": None, "index": None}
        case "labels":
            return _labels(_json(text))
        case "text":
            return text
    raise ValueError(f"an output of type {kind} is a file, not text")


def _number(text: str) -> int | float:
    lines = text.strip().splitlines()
    last = lines[-1].strip() if lines else ""
    for kind in (int, float):
        try:
            value = kind(last[:100])
        except ValueError:
            continue
        if math.isfinite(value):
            return value
    raise ValueError(f"must end with a line that is a number, not `{last[:60]}`")


def _json(text: str) -> Any:
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise ValueError(_TOO_DEEP) from error
    except json.JSONDecodeError as error:
        raise ValueError(f"is not JSON: {error.msg} at line {error.lineno}") from error
    if is_too_deep(value):
        raise ValueError(_TOO_DEEP)
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"has {name}, which is no JSON number")


def _labels(value: Any) -> list[dict[str, Any]]:
    if not isinstance(value, dict) or not all(_is_score(score) for score in value.values()):
        raise ValueError('must be a JSON mapping of names to numbers, such as `{"cat": 0.9, "dog": 0.1}`')
    ordered = sorted(value.items(), key=lambda entry: -entry[1])
    return [{"label": label, "score": score, "index": None} for label, score in ordered]


def _is_score(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False
