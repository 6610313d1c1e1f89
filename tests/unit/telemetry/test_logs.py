from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from vitrine_common.telemetry import configure_logging, correlation
from vitrine_common.telemetry.logs import _QUIET, JsonFormatter, redact

LOGGERS = ("uvicorn", "uvicorn.error", "uvicorn.access", "faststream")


def formatted(message: str, *arguments: object, **extra: Any) -> dict[str, Any]:
    record = logging.LogRecord("vitrine.test", logging.WARNING, __file__, 1, message, arguments, None)
    vars(record).update(extra)
    line = JsonFormatter("api").format(record)
    assert "\n" not in line
    parsed: dict[str, Any] = json.loads(line)
    return parsed


@pytest.fixture
def configured() -> Iterator[None]:
    """Logging as a service configures it; afterwards every logger is as the other tests had it."""
    known = [logging.getLogger(name) for name in (None, *LOGGERS, *_QUIET)]
    before = [(logger, logger.level, list(logger.handlers), logger.propagate) for logger in known]
    yield
    for logger, level, handlers, propagate in before:
        logger.setLevel(level)
        logger.handlers[:] = handlers
        logger.propagate = propagate


def test_a_line_has_the_fields_that_a_search_needs() -> None:
    line = formatted("run %s of %d", "run_1", 3, run_id="run_1", seconds=0.5, nothing=None)
    assert (line["level"], line["service"], line["logger"]) == ("warning", "api", "vitrine.test")
    assert line["message"] == "run run_1 of 3"
    assert (line["run_id"], line["seconds"], line["nothing"]) == ("run_1", 0.5, None)
    assert datetime.fromisoformat(line["ts"]).utcoffset() == timedelta(0)
    assert "correlation_id" not in line


def test_a_line_names_the_action_that_it_belongs_to() -> None:
    with correlation("act_1"):
        assert formatted("x")["correlation_id"] == "act_1"
    assert "correlation_id" not in formatted("x")


def test_an_exception_becomes_fields() -> None:
    try:
        int("first line\nsecond line token=hunter2hunter2")
    except ValueError:
        record = logging.LogRecord("x", logging.ERROR, __file__, 1, "failed", (), sys.exc_info())
    line = json.loads(JsonFormatter("api").format(record))
    assert line["error"] == "ValueError"
    assert "second line" in line["traceback"]
    assert "test_logs.py" in line["traceback"]
    assert "hunter2" not in line["traceback"]


@pytest.mark.parametrize(
    "text",
    [
        "nats://user:HIDDEN-HIDDEN-1234@host:4222",
        "mongodb://admin:HIDDEN@h1,h2/db",
        "GET /s/HIDDENHIDDENHIDDEN1234 200",
        "http://h/b/k?X-Amz-Credential=HIDDEN&X-Amz-Signature=HIDDEN&x=1",
        "Authorization: Bearer HIDDEN",
        "Cookie: session=HIDDEN; other=HIDDEN",
        "set-cookie: session=HIDDEN; HttpOnly",
        "{'password': 'HIDDEN'}",
        '{"token": "HIDDEN", "a": 1}',
        "login with password=HIDDEN failed",
        "passcode: HIDDEN",
    ],
)
def test_secrets_in_text_are_redacted(text: str) -> None:
    assert "HIDDEN" not in redact(text)
    assert "[redacted]" in redact(text)
    assert "HIDDEN" not in formatted("%s", text)["message"]
    assert "HIDDEN" not in json.dumps(formatted("x", detail={"nested": [text]}))


@pytest.mark.parametrize(
    "name",
    ["token", "api_token", "password", "passcode", "secret_key", "cookie", "Authorization", "signature"],
)
def test_fields_with_a_secret_name_are_redacted(name: str) -> None:
    assert formatted("x", **{name: "HIDDEN"})[name] == "[redacted]"
    assert formatted("x", headers={name: "HIDDEN"})["headers"][name] == "[redacted]"


@pytest.mark.parametrize(
    "text", ["run_01jabc is queued", "sha256:" + "a" * 64, "http://h/p?page=2", "/s/short", ""]
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redact(text) == text


def test_any_extra_value_can_be_logged() -> None:
    line = formatted("x", when=timedelta(seconds=1), names={"b"}, raw=b"\xff", deep=({"a": object()},))
    assert line["when"] == "0:00:01"
    assert line["names"] == ["b"]
    assert "object" in line["deep"][0]["a"]


def test_every_logger_speaks_json_on_standard_error(
    configured: None, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in LOGGERS:
        logging.getLogger(name).addHandler(logging.StreamHandler(sys.stdout))
    configure_logging("runner")
    for name in (*LOGGERS, "vitrine_runner.app"):
        logging.getLogger(name).warning("from %s", name)
    logging.getLogger("httpx").info("chatter")
    output, errors = capfd.readouterr()
    lines = [json.loads(line) for line in errors.splitlines()]
    assert [line["message"] for line in lines] == [
        f"from {name}" for name in (*LOGGERS, "vitrine_runner.app")
    ]
    assert {line["service"] for line in lines} == {"runner"}
    assert output == ""
