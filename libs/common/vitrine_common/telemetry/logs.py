"""One JSON object a line on standard error, with the trace and the user's action it belongs to."""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from opentelemetry import trace

from vitrine_common.telemetry.traces import correlation_id

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_SECRET_NAME = re.compile(r"token|password|passcode|secret|cookie|authorization|signature", re.IGNORECASE)
_SECRET_TEXT = re.compile(
    r"(?P<scheme>\w+://[^/\s:@]*:)[^@/\s]+(?=@)"  # credentials in a URL
    r"|(?P<query>[?&]X-Amz-[A-Za-z]+=)[^&\s\"']+"  # presigned S3 URLs
    r"|(?P<bearer>Bearer\s+)\S+"
    r"|(?P<link>/s/)[A-Za-z0-9_-]{16,}"  # share-link tokens in paths
    r"|(?P<header>\b(?:set-cookie|cookie|authorization)['\"]?\s*:\s*)[^\r\n]+"
    r"|(?P<field>\b(?:password|passcode|secret|token|api_key)['\"]?\s*[:=]\s*['\"]?)[^\s'\",;&}]+",
    re.IGNORECASE,
)
_QUIET = ("httpx", "httpcore", "urllib3", "pymongo", "nats", "asyncio")


def redact(text: str) -> str:
    """Return `text` without credentials, presigned parameters, bearer and share-link tokens."""
    return _SECRET_TEXT.sub(lambda m: next(g for g in m.groups() if g is not None) + "[redacted]", text)


class JsonFormatter(logging.Formatter):
    """Formats a record as one JSON line.

    Args:
        service: named in each line.
    """

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, secrets redacted."""
        line: dict[str, Any] = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "service": self._service,
            "logger": record.name,
            "message": redact(record.getMessage()),
        }
        context = trace.get_current_span().get_span_context()
        if context.is_valid:
            line["trace_id"] = f"{context.trace_id:032x}"
            line["span_id"] = f"{context.span_id:016x}"
        if (correlation := correlation_id()) is not None:
            line["correlation_id"] = correlation
        for name, value in vars(record).items():
            if name not in _STANDARD and name not in line:
                line[name] = _plain(name, value)
        if record.exc_info and record.exc_info[0] is not None:
            line["error"] = record.exc_info[0].__name__
            line["traceback"] = redact(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=False)


def _plain(name: str, value: Any) -> Any:
    if _SECRET_NAME.search(name):
        return "[redacted]"
    if isinstance(value, Mapping):
        return {str(key): _plain(str(key), item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain("", item) for item in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return redact(str(value))


def configure_logging(service: str, level: int = logging.INFO) -> None:
    """Send every logger of this process through `JsonFormatter`; libraries speak from warning up."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(service))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "faststream"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    logging.getLogger("uvicorn.access").setLevel(logging.WARNING)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
