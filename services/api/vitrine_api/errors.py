"""Errors as HTTP problem details (RFC 9457), for the JSON API; pages show the same words as HTML."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from vitrine_api.link_states import LinkLocked
from vitrine_common.errors import Denied, Invalid, Problem, TooMany, VitrineError
from vitrine_common.telemetry import correlation_id

MEDIA_TYPE = "application/problem+json"
MAX_PROBLEMS = 50


class RateLimited(TooMany):
    """Too many requests in a short time.

    Args:
        what: what there were too many of.
        retry_after: seconds until the next one is taken.
    """

    def __init__(self, what: str, retry_after: float) -> None:
        seconds = max(1, math.ceil(retry_after))
        super().__init__(f"too many {what}; try again in {seconds} s")
        self.retry_after = seconds


class Forged(Denied):
    """A form or request that a browser sends with its cookies came without the page's token."""

    title = "The form is out of date"


class BodyTooLarge(HTTPException):
    """A body is over its limit; raised before, or while, it is read."""

    def __init__(self, limit: int) -> None:
        message = f"the body is larger than {limit} bytes, the most that is taken here"
        # The rest of the body may be on its way: the connection is of no further use.
        super().__init__(413, message, {"Connection": "close"})


def as_vitrine_error(error: Exception) -> VitrineError | HTTPException:
    """Return what a route raised in a form that has a status and a message."""
    if isinstance(error, VitrineError | HTTPException):
        return error
    if isinstance(error, RequestValidationError):
        return _from_validation(error.errors())
    return VitrineError("the platform failed; the operator finds the cause in the log by the request id")


def problem_response(error: Exception) -> JSONResponse:
    """Return the problem details of `error`."""
    known = as_vitrine_error(error)
    status = status_of(known)
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": known.title if isinstance(known, VitrineError) else HTTPStatus(status).phrase,
        "status": status,
        "detail": message_of(known),
        "errors": [{"field": item.field, "message": item.message} for item in problems_of(known)],
        "request_id": correlation_id(),
    }
    if isinstance(known, LinkLocked):
        body["ways"] = list(known.ways)
    return _Escaped(body, status, headers_of(known), MEDIA_TYPE)


class _Escaped(JSONResponse):
    """JSON in ASCII: what is wrong with a text may be that it cannot be encoded."""

    def render(self, content: Any) -> bytes:
        """Return the body."""
        return json.dumps(content).encode()


def status_of(error: VitrineError | HTTPException) -> int:
    """Return the HTTP status."""
    return error.status if isinstance(error, VitrineError) else error.status_code


def message_of(error: VitrineError | HTTPException) -> str:
    """Return the sentence for a person."""
    return error.message if isinstance(error, VitrineError) else str(error.detail)


def problems_of(error: VitrineError | HTTPException) -> Sequence[Problem]:
    """Return the details by field."""
    return error.problems[:MAX_PROBLEMS] if isinstance(error, VitrineError) else ()


def headers_of(error: VitrineError | HTTPException) -> dict[str, str]:
    """Return the headers that belong to the status."""
    headers: Mapping[str, str] = {}
    if isinstance(error, HTTPException):
        headers = error.headers or {}
    elif isinstance(error, RateLimited):
        headers = {"Retry-After": str(error.retry_after)}
    elif isinstance(error, LinkLocked):
        headers = {"WWW-Authenticate": "VitrineLink"}
    elif error.status == 401:
        headers = {"WWW-Authenticate": 'Bearer realm="vitrine"'}
    elif error.status == 503:
        headers = {"Retry-After": "2"}
    return dict(headers)


def _from_validation(details: Sequence[Any]) -> Invalid:
    problems = tuple(Problem(_field(detail["loc"]), _sentence(detail)) for detail in details[:MAX_PROBLEMS])
    text = "; ".join(f"{item.field}: {item.message}" if item.field else item.message for item in problems)
    return Invalid(text[:2000], problems)


def _field(location: Sequence[str | int]) -> str:
    parts = location[1:] if location and location[0] in {"body", "query", "path", "header"} else location
    text = ""
    for part in parts:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def _sentence(detail: Mapping[str, Any]) -> str:
    match detail["type"]:
        case "missing":
            return "is missing"
        case "extra_forbidden":
            return "is not known here; remove it"
        case "json_invalid":
            return f"the body is not JSON: {detail.get('ctx', {}).get('error', '')}"
    message = str(detail["msg"])
    return message.removeprefix("Value error, ")
