"""Reading the inputs of a run from a request: JSON, or a form with files."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
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
HOOK_EVENTS = ("started", "output", "finished")
_HOOK_FIELDS = frozenset({"webhook", "webhook_events"})
_OTHER_FIELDS = frozenset({"inputs", "csrf_token"})
_FORMS = ("multipart/form-data", "application/x-www-form-urlencoded")


@dataclass(frozen=True, slots=True)
class HookWish:
    """An address that is to be told of the run, and of what."""

    url: str
    events: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RunBody:
    """What a request for a run says."""

    values: dict[str, Any]
    hook: HookWish | None = None


@asynccontextmanager
async def run_body(request: Request, version: Version) -> AsyncIterator[RunBody]:
    """Yield what is wished; files of a form are closed afterwards. Raises Invalid."""
    if request.headers.get("content-type", "").startswith(_FORMS):
        async with request.form(max_files=100, max_fields=MAX_FIELDS, max_part_size=2 << 20) as form:
            hook = _hook(form.get("webhook"), form.getlist("webhook_events") or None)
            yield RunBody(form_values(form, version, _HOOK_FIELDS), hook)
    else:
        read = _json_object(await request.body(), {"inputs", *_HOOK_FIELDS})
        yield RunBody(dict(read.get("inputs", {})), _hook(read.get("webhook"), read.get("webhook_events")))


@asynccontextmanager
async def run_values(request: Request, version: Version) -> AsyncIterator[dict[str, Any]]:
    """Like `run_body`, for whoever has no account: the values by input name.

    Raises Invalid for a webhook, too: whoever holds a link could have any server in the world written to,
    as often as the link is run, and nobody would answer for it.
    """
    async with run_body(request, version) as body:
        if body.hook is not None:
            message = (
                "a run by a link has no webhook; wait for it (`Prefer: wait=60`) or follow its events, "
                "or run the model with the token of an account"
            )
            raise Invalid(f"webhook: {message}", (Problem("webhook", message),))
        yield body.values


def _hook(url: Any, events: Any) -> HookWish | None:
    """Return the wish for a webhook; without `webhook_events` it is told of the end. Raises Invalid."""
    if url is None:
        if events is not None:
            message = "webhook_events: name the address that is told as `webhook`, too"
            raise Invalid(message, (Problem("webhook_events", message),))
        return None
    if not isinstance(url, str):
        message = "webhook: write an address, such as `https://example.org/hook`"
        raise Invalid(message, (Problem("webhook", message),))
    wanted = ["finished"] if events is None else events
    if not isinstance(wanted, list) or not wanted or any(event not in HOOK_EVENTS for event in wanted):
        message = f"webhook_events: a list of {', '.join(HOOK_EVENTS)}; without it: finished"
        raise Invalid(message, (Problem("webhook_events", message),))
    return HookWish(url, tuple(event for event in HOOK_EVENTS if event in wanted))


def _json_object(body: bytes, keys: Collection[str]) -> dict[str, Any]:
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
    if not isinstance(read, dict) or set(read) - set(keys) or not isinstance(read.get("inputs", {}), dict):
        message = 'the body must be `{"inputs": {"NAME": VALUE}}`'
        raise Invalid(message, (Problem("inputs", message),))
    return read


def form_values(form: FormData, version: Version, others: Collection[str] = ()) -> dict[str, Any]:
    """Return the values of a form: `input.NAME`, `example.NAME` (an index), `inputs` (a JSON object).

    Where a file is sent as well as an example chosen, the file wins. `others` are fields that say something
    else.
    """
    values = _all_values(form, version, others)
    for name in _empty_for_none(version):
        if values.get(name) == "":
            del values[name]
    return values


def _all_values(form: FormData, version: Version, others: Collection[str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, given in form.multi_items():
        if key == "inputs" and isinstance(given, str):
            values |= _json_object(b'{"inputs":' + given.encode() + b"}", {"inputs"}).get("inputs", {})
        elif key.startswith(EXAMPLE) and isinstance(given, str) and given != "":
            values.setdefault(key.removeprefix(EXAMPLE), _example(version, key.removeprefix(EXAMPLE), given))
    for key, given in form.multi_items():
        name = key.removeprefix(VALUE)
        if not key.startswith(VALUE):
            if key not in _OTHER_FIELDS and key not in others and not key.startswith(EXAMPLE):
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
