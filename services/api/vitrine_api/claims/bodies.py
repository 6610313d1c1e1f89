"""What is sent to have a claim checked: its name, and files of one's own."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from fastapi import Request
from starlette.datastructures import FormData, UploadFile

from vitrine_api.claims.own_inputs import MAX_LABEL, SentOwn
from vitrine_api.run_inputs import SentFile
from vitrine_common.errors import Invalid, Problem
from vitrine_common.spec.claims import MAX_OWN_FILES

FORMS = ("multipart/form-data", "application/x-www-form-urlencoded")
CHECK_BODY = {
    "requestBody": {
        "description": "The claim. In a form, files of one's own too: `file`, and a `label` for each.",
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {"ref": {"type": "string"}, "claim": {"type": "string"}},
                    "required": ["claim"],
                }
            },
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "ref": {"type": "string"},
                        "claim": {"type": "string"},
                        "file": {"type": "array", "items": {"type": "string", "format": "binary"}},
                        "label": {"type": "array", "items": {"type": "string"}},
                    },
                    "required": ["claim"],
                }
            },
        },
    }
}


@dataclass(frozen=True)
class Wish:
    """A wish to have a claim checked. `ref` is empty where the link says which version."""

    ref: str
    claim: str
    own: list[SentOwn]


@asynccontextmanager
async def wish_of(request: Request) -> AsyncIterator[Wish]:
    """Yield what a request asks for; files of a form are closed afterwards. Raises Invalid."""
    if not request.headers.get("content-type", "").startswith(FORMS):
        yield _from_json(await request.body())
        return
    async with request.form(max_files=MAX_OWN_FILES + 1, max_fields=100, max_part_size=1 << 20) as form:
        yield Wish(_text(form, "ref"), _text(form, "claim"), own_of(form))


def _from_json(body: bytes) -> Wish:
    try:
        read = json.loads(body or b"{}")
    except (ValueError, RecursionError) as error:
        raise Invalid(f"the body is not JSON: {error}") from None
    known = {"ref", "claim"}
    if not isinstance(read, dict) or set(read) - known or not all(isinstance(v, str) for v in read.values()):
        message = 'the body must be `{"ref": "OWNER/MODEL@VERSION", "claim": "NAME"}`'
        raise Invalid(message, (Problem("claim", message),))
    return Wish(read.get("ref", "")[:200], read.get("claim", "")[:64], [])


def own_of(form: FormData) -> list[SentOwn]:
    """Return the files of a form, each with the label of the same place."""
    labels = [value for value in form.getlist("label") if isinstance(value, str)]
    files = [value for value in form.getlist("file") if isinstance(value, UploadFile)]
    found = []
    for index, file in enumerate(files):
        if file.filename:  # a file field that was left empty is sent without a name
            sent = SentFile(file.file, file.size or 0, file.filename, file.content_type or "")
            label = labels[index] if index < len(labels) else ""
            found.append(SentOwn(sent, label[: MAX_LABEL + 1]))
    return found


def _text(form: FormData, name: str) -> str:
    value = form.get(name)
    return value[:200] if isinstance(value, str) else ""
