"""Reading the inputs of a run from a request: JSON, or a form with files."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import Request
from starlette.datastructures import FormData, UploadFile

from vitrine_api.run_inputs import SentExample, SentFile
from vitrine_api.specs import spec_of
from vitrine_common.documents import Version
from vitrine_common.errors import Invalid, Problem, TooLarge
from vitrine_common.spec import TextInput

MAX_FIELDS = 400
MAX_VALUES = 500_000
"""Most values in a JSON body: each takes a hundred bytes or so, and the process's time, once it is read."""
VALUE = "input."
EXAMPLE = "example."
_OTHER_FIELDS = frozenset({"inputs", "csrf_token"})
_FORMS = ("multipart/form-data", "application/x-www-form-urlencoded")


@asynccontextmanager
async def run_values(request: Request, version: Version) -> AsyncIterator[dict[str, Any]]:
    """Yield the values by input name; files of a form are closed afterwards. Raises Invalid."""
    if request.headers.get("content-type", "").startswith(_FORMS):
        async with request.form(max_files=100, max_fields=MAX_FIELDS, max_part_size=2 << 20) as form:
            yield form_values(form, version)
    else:
        yield _json_values(await request.body())


def _json_values(body: bytes) -> dict[str, Any]:
    if sum(map(body.count, (b",", b"[", b"{"))) > MAX_VALUES:
        raise TooLarge(f"the body has more than {MAX_VALUES} JSON values; send large data as a file")
    try:
        read = json.loads(body or b"{}")
        if b"\\u" in body:
            json.dumps(read, ensure_ascii=False).encode()  # half of a surrogate pair can be stored nowhere
    except UnicodeEncodeError:
        raise Invalid("the body has half of a surrogate pair, which is no character") from None
    except (ValueError, RecursionError) as error:
        raise Invalid(f"the body is not JSON: {error}") from None
    if not isinstance(read, dict) or set(read) - {"inputs"} or not isinstance(read.get("inputs", {}), dict):
        message = 'the body must be `{"inputs": {"NAME": VALUE}}`'
        raise Invalid(message, (Problem("inputs", message),))
    return dict(read.get("inputs", {}))


def form_values(form: FormData, version: Version) -> dict[str, Any]:
    """Return the values of a form: `input.NAME`, `example.NAME` (an index), `inputs` (a JSON object).

    Where a file is sent as well as an example chosen, the file wins.
    """
    values = _all_values(form, version)
    for name in _empty_for_none(version):
        if values.get(name) == "":
            del values[name]
    return values


def _all_values(form: FormData, version: Version) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, given in form.multi_items():
        if key == "inputs" and isinstance(given, str):
            values |= _json_values(b'{"inputs":' + given.encode() + b"}")
        elif key.startswith(EXAMPLE) and isinstance(given, str) and given != "":
            values.setdefault(key.removeprefix(EXAMPLE), _example(version, key.removeprefix(EXAMPLE), given))
    for key, given in form.multi_items():
        name = key.removeprefix(VALUE)
        if not key.startswith(VALUE):
            if key not in _OTHER_FIELDS and not key.startswith(EXAMPLE):
                message = f"`{key[:80]}` is no field of a run; values are sent as `{VALUE}NAME`"
                raise Invalid(message, (Problem(key[:80], message),))
            continue
        if isinstance(given, UploadFile):
            if given.filename:  # a file field that was left empty is sent without a name
                kind = given.content_type or ""
                values[name] = SentFile(given.file, given.size or 0, given.filename, kind)
        elif given != "" or name not in values:
            values[name] = given
    return values


def _empty_for_none(version: Version) -> list[str]:
    """Return the texts that may be left out and not be empty: a form cannot leave them out otherwise."""
    inputs = spec_of(version).effective_inputs()
    return [
        item.name
        for item in inputs
        if isinstance(item, TextInput) and item.min_length and not item.must_be_given
    ]


def _example(version: Version, name: str, index: str) -> Any:
    spec = spec_of(version)
    examples = next(
        (list(getattr(item, "examples", [])) for item in spec.effective_inputs() if item.name == name), []
    )
    if not (index.isascii() and index.isdigit() and int(index[:6]) < len(examples)):
        message = f"`{name}` has no example {index[:20]}"
        raise Invalid(message, (Problem(f"inputs.{name}", message),))
    return SentExample(str(examples[int(index)]))
