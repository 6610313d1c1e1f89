"""The document of the JSON API (OpenAPI 3.1), with every refusal that an operation can answer.

Routes declare what they return when all goes well. Refusals follow from what an operation is (whether it
takes a link's token, changes something, reads a body), so they are declared here, once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fastapi import FastAPI

from vitrine_api.errors import MEDIA_TYPE
from vitrine_api.inference import document as inference
from vitrine_api.streams import EVENT_STREAM

PROBLEM: Mapping[str, Any] = {
    "title": "Problem",
    "description": "What is wrong, and with which field (RFC 9457).",
    "type": "object",
    "required": ["type", "title", "status", "detail", "errors", "request_id"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "A sentence for a person."},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["field", "message"],
                "properties": {"field": {"type": "string"}, "message": {"type": "string"}},
            },
        },
        "request_id": {"type": ["string", "null"]},
        "ways": {
            "type": "array",
            "items": {"type": "string", "enum": ["passcode", "email"]},
            "description": "How a restricted link is opened; on 401 of links alone.",
        },
    },
}
REFUSALS: Mapping[int, tuple[str, str]] = {
    400: ("Unreadable", "The body cannot be read."),
    401: ("Unauthenticated", "A token is missing, wrong or expired; or a restricted link was not opened."),
    403: ("Denied", "The token's scope or the account does not reach; or the link is paused."),
    404: ("NotFound", "There is nothing of that name, or it is not yours to know of."),
    409: ("Conflict", "Not possible in the present state."),
    410: ("Gone", "The link, invite or code was revoked, used or has expired."),
    413: ("TooLarge", "The body, or a file in it, is over the limit."),
    422: ("Invalid", "A value is wrong; `errors` names each."),
    429: ("TooMany", "A quota is used up, or a rate is; then `Retry-After` tells the seconds."),
    503: ("Unavailable", "A server behind the api does not answer; `Retry-After` tells the seconds."),
}
_SAFE = frozenset({"get", "head"})
_OPEN = frozenset({"/healthz", "/.well-known/vitrine-keys.json"})
"""Answered to anybody, whatever they send."""

_STORED = ("/outputs/{name}", "/inputs/{name}")


class Application(FastAPI):
    """The web application; its document holds the refusals, too."""

    def openapi(self) -> dict[str, Any]:
        """Return the document; made once."""
        if self.openapi_schema is None:
            document = super().openapi()
            _complete(document)
            self.openapi_schema = document
        return self.openapi_schema


def _complete(document: dict[str, Any]) -> None:
    components = document.setdefault("components", {})
    for name in ("HTTPValidationError", "ValidationError"):  # FastAPI's own, which nobody is ever sent
        components.get("schemas", {}).pop(name, None)
    components.setdefault("schemas", {})["Problem"] = dict(PROBLEM)
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    components["responses"] = {
        name: {"description": description, "content": content} for name, description in REFUSALS.values()
    }
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if (told := _content(path)) is not None:
                operation["responses"]["200"]["content"] = told
            for status in _refusals(path, method, operation):
                reference = {"$ref": f"#/components/responses/{REFUSALS[status][0]}"}
                operation["responses"][str(status)] = reference
    document["paths"] |= inference.paths()
    components["schemas"] |= inference.SCHEMAS


def _content(path: str) -> Mapping[str, Any] | None:
    """Return what of an answer no model describes: streams, and bytes as they were stored."""
    if path.endswith("/events"):
        return {EVENT_STREAM: {"schema": {"description": "Events, each with a name and JSON or text."}}}
    return {"*/*": {}} if path.endswith(_STORED) else None


def _refusals(path: str, method: str, operation: Mapping[str, Any]) -> Iterator[int]:
    """Yield what an operation may refuse with."""
    if path in _OPEN:
        return
    changes, parameters = method not in _SAFE, operation.get("parameters", ())
    yield from (401, 403, 503)
    if changes:
        yield from (400, 404, 409, 410, 413, 422, 429)
    elif parameters:
        yield from (404, 409, 422)
    if "{token}" in path:
        yield from (410, 429)
