"""Reading the lines of JSON in which a program reports numbers.

Accepted is one JSON object per line, at most 16 KiB, in one of these forms:

- `{"progress": 0.4, "message": "…"}`: how far it is; `message` is optional
- `{"metric": "loss", "value": 0.31, "step": 12}`: one number; `step` is optional
- `{"step": 12, "loss": 0.31, "accuracy": 0.9}`: several numbers; keys with other values are left out

NaN and infinite values are left out, and so is an object without any number. `step` is a whole number.
"""

from __future__ import annotations

import json
import math

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MAX_LINE = 16 * 1024
MAX_VALUES = 256
MAX_EVENTS = 200_000
"""Most reports of one run; later ones are dropped."""


def parse(line: bytes) -> dict[str, Any] | None:
    """Return a frame header (`metric` or `progress`) for a line, or None where it is no report."""
    line = line.strip()
    if not line.startswith(b"{") or len(line) > MAX_LINE:
        return None
    try:
        report = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(report, dict):
        return None
    if "progress" in report:
        return _progress(report)
    if "metric" in report:
        report = {str(report["metric"]): report.get("value"), "step": report.get("step")}
    return _metric(report)


def _progress(report: dict[str, Any]) -> dict[str, Any] | None:
    fraction = report["progress"]
    if not is_number(fraction):
        return None
    message = report.get("message", "")
    text = message[:500] if isinstance(message, str) else ""
    return {"is": "progress", "fraction": min(1.0, max(0.0, float(fraction))), "message": text}


def _metric(report: dict[str, Any]) -> dict[str, Any] | None:
    step = report.pop("step", None)
    values = {str(key)[:200]: float(value) for key, value in report.items() if is_number(value)}
    if not values:
        return None
    whole = step if isinstance(step, int) and not isinstance(step, bool) and abs(step) < 1 << 53 else None
    return {"is": "metric", "values": dict(list(values.items())[:MAX_VALUES]), "step": whole}


def is_number(value: object) -> bool:
    """Whether `value` is a finite number that a float can hold."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


class Lines:
    """Splits a stream into lines, dropping those that are too long to be reports."""

    def __init__(self) -> None:
        self._rest = b""
        self._skipping = False

    def feed(self, data: bytes) -> list[bytes]:
        """Return the lines that `data` completes."""
        *complete, rest = (self._rest + data).split(b"\n")
        if complete and self._skipping:
            complete, self._skipping = complete[1:], False
        if len(rest) > MAX_LINE:
            rest, self._skipping = b"", True
        self._rest = rest
        return complete
