"""The values of a run: checked against the inputs' types, in one way for the API, the pages and the CLI."""

import difflib
import json
import math
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vitrine_common.digests import Digest
from vitrine_common.errors import Problem
from vitrine_common.spec.inputs import (
    BooleanInput,
    ChoiceInput,
    FileInput,
    ImageInput,
    Input,
    JsonInput,
    NumberInput,
    TextInput,
)
from vitrine_common.spec.model import Spec

MAX_JSON_DEPTH = 64
MAX_NUMBER_TEXT = 100
_YES = frozenset({"true", "yes", "on", "1"})
_NO = frozenset({"false", "no", "off", "0"})


class FileValue(BaseModel):
    """A file that is given to a run: its bytes lie in the store under `digest`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    digest: Digest
    size: int = Field(ge=0)
    media_type: str = Field(default="application/octet-stream", max_length=200)
    filename: str = Field(default="file", max_length=255)


class _Unusable(Exception):
    """Raised inside this module with the sentence for the person who gave the value."""


def coerce_inputs(spec: Spec, raw: Mapping[str, Any]) -> tuple[dict[str, Any], list[Problem]]:
    """Return the values of a run and what is wrong with them.

    Defaults are filled in; optional inputs without a value are left out. Numbers and JSON may be given as
    text (forms and command lines have nothing else). Files are given and returned as objects with the
    fields of `FileValue`. The values are plain JSON; use them only when there are no problems. The field
    of a problem is `inputs.NAME`, and its message names the input, too.
    """
    inputs = {item.name: item for item in spec.effective_inputs()}
    values: dict[str, Any] = {}
    problems = [_problem(name, _unknown_name(name, list(inputs))) for name in raw if name not in inputs]
    for name, item in inputs.items():
        given = raw.get(name)
        if given is None or (given == "" and not isinstance(item, TextInput)):
            given = getattr(item, "default", None)
        if given is None or (given == "" and item.must_be_given):
            if item.must_be_given:
                problems.append(_problem(name, "is missing; give " + _wanted(item)))
            continue
        try:
            values[name] = _coerce(item, given)
        except _Unusable as fault:
            problems.append(_problem(name, str(fault)))
    return values, problems


def _problem(name: str, message: str) -> Problem:
    shown = _shorten(name)
    return Problem(f"inputs.{shown}", f"`{shown}` {message}")


def _unknown_name(name: str, known: list[str]) -> str:
    close = next(iter(difflib.get_close_matches(name, known, n=1)), None)
    if close:
        return f"is not an input of this model; did you mean `{close}`?"
    return "is not an input of this model; " + (f"it takes {', '.join(known)}" if known else "it takes none")


def _wanted(item: Input) -> str:
    match item:
        case NumberInput():
            return "a whole number" if item.integer else "a number"
        case BooleanInput():
            return "true or false"
        case ChoiceInput():
            return "one of " + ", ".join(str(choice) for choice in item.choices[:10])
        case TextInput():
            return "some text"
        case JsonInput():
            return "a JSON value"
    return "an image" if isinstance(item, ImageInput) else "a file"


def _coerce(item: Input, given: Any) -> Any:
    match item:
        case TextInput():
            return _text(item, given)
        case NumberInput():
            return _number(item, given)
        case BooleanInput():
            return _boolean(given)
        case ChoiceInput():
            return _choice(item, given)
        case JsonInput():
            return _json(item, given)
    return _file(item, given)


def _text(item: TextInput, given: Any) -> str:
    if not isinstance(given, str):
        raise _Unusable("must be text")
    if "\0" in given or any("\ud800" <= character <= "\udfff" for character in given):
        raise _Unusable("has a character that is not text (NUL, or half of a pair)")
    if len(given) > item.max_length:
        raise _Unusable(f"has {len(given)} characters; at most {item.max_length} are taken")
    if len(given) < item.min_length:
        raise _Unusable(f"has {len(given)} characters; at least {item.min_length} are needed")
    return given


def _number(item: NumberInput, given: Any) -> int | float:
    value = _parse_number(given)
    if value is None:
        raise _Unusable(f"must be {_wanted(item)}, not `{_shorten(given)}`")
    fault = item.fault(value)
    if fault:
        raise _Unusable(f"does not fit: {_shorten(value)} {fault}")
    return int(value) if item.integer else value


def _parse_number(given: Any) -> int | float | None:
    """Return a finite number of at most 100 characters, or None."""
    if isinstance(given, bool) or not isinstance(given, int | float | str):
        return None
    if isinstance(given, int):
        return given if given.bit_length() <= 256 else None
    text = str(given).strip()
    if len(text) > MAX_NUMBER_TEXT or "_" in text:
        return None
    for kind in (int, float) if isinstance(given, str) else (float,):
        try:
            value = kind(text)
        except ValueError:
            continue
        return value if math.isfinite(value) else None
    return None


def _boolean(given: Any) -> bool:
    if isinstance(given, bool):
        return given
    word = given.strip().lower() if isinstance(given, str) else ""
    if word in _YES | _NO:
        return word in _YES
    raise _Unusable(f"must be true or false, not `{_shorten(given)}`")


def _choice(item: ChoiceInput, given: Any) -> Any:
    for choice in item.choices:
        if not isinstance(given, bool) and (given == choice or str(given) == str(choice)):
            return choice
    raise _Unusable(f"cannot be `{_shorten(given)}`; give {_wanted(item)}")


def _json(item: JsonInput, given: Any) -> Any:
    text = given if isinstance(given, str) else _json_text(given)
    if len(text.encode(errors="surrogatepass")) > item.max_bytes:
        raise _Unusable(f"is larger than {item.max_bytes} bytes of JSON")
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
        if is_too_deep(value):
            raise _Unusable(f"is nested deeper than {MAX_JSON_DEPTH} levels")
        _json_text(value)
    except json.JSONDecodeError as error:
        raise _Unusable(f"is not JSON: {error.msg} at line {error.lineno}, column {error.colno}") from error
    except RecursionError as error:
        raise _Unusable(f"is nested deeper than {MAX_JSON_DEPTH} levels") from error
    except ValueError as error:
        raise _Unusable(f"cannot be read as JSON: {error}") from error
    return value


def _json_text(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise _Unusable("is not a JSON value (numbers must be finite)") from error


def _refuse_constant(name: str) -> None:
    raise _Unusable(f"has {name}, which is no JSON number")


def is_too_deep(value: Any) -> bool:
    """Say whether JSON is nested deeper than what reads it later can follow."""
    level, depth = [value], 0
    while level and depth <= MAX_JSON_DEPTH:
        children = [part.values() if isinstance(part, dict) else part for part in level if _is_nested(part)]
        level, depth = [child for group in children for child in group], depth + 1
    return bool(level)


def _is_nested(value: Any) -> bool:
    return isinstance(value, dict | list)


def _file(item: ImageInput | FileInput, given: Any) -> dict[str, Any]:
    try:
        value = FileValue.model_validate(given)
    except ValidationError as error:
        raise _Unusable(f"must be {_wanted(item)} that has been uploaded") from error
    if value.size == 0:
        raise _Unusable("is an empty file (0 bytes)")
    if value.size > item.max_bytes:
        raise _Unusable(f"has {value.size} bytes; at most {item.max_bytes} are taken")
    if item.accept and not any(_accepts(pattern, value) for pattern in item.accept):
        raise _Unusable(f"is {value.media_type}; give one of {', '.join(item.accept)}")
    return value.model_dump()


def _accepts(pattern: str, value: FileValue) -> bool:
    pattern, media_type = pattern.lower().strip(), value.media_type.lower().split(";")[0].strip()
    if pattern.startswith("."):
        return PurePosixPath(value.filename.lower()).name.endswith(pattern)
    if pattern.endswith("/*"):
        return media_type.startswith(pattern[:-1])
    return pattern in {media_type, "*/*", "*"}


def _shorten(value: Any) -> str:
    text = str(value) if not isinstance(value, int) or abs(value) < 1 << 256 else "a huge number"
    return text if len(text) <= 60 else text[:57] + "…"
