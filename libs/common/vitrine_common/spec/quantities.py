"""Amounts as people write them: memory `2Gi`, durations `10m`."""

import re
from typing import Annotated

from pydantic import BeforeValidator, Field

_SIZE = re.compile(r"^\s*(\d{1,12}(?:\.\d{1,6})?)\s*([KMGT]i?)?B?\s*$", re.IGNORECASE)
_PART = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)\s*(ms|s|m|h|d)", re.IGNORECASE)
_BINARY = {"k": 10, "m": 20, "g": 30, "t": 40}
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
MAX_BYTES = 1 << 50
MAX_SECONDS = 366 * 86400.0


def parse_size(value: object) -> int:
    """Return bytes for `2Gi`, `500M`, `1.5GB` or a plain number of bytes.

    `Ki Mi Gi Ti` are powers of 1024, `K M G T` powers of 1000. Raises ValueError.
    """
    matched = None if isinstance(value, bool) else _SIZE.match(str(value))
    if matched is None:
        raise ValueError("is not an amount of memory; write for example `512Mi` or `2Gi`")
    number, unit = float(matched[1]), (matched[2] or "").lower()
    factor = 1
    if unit:
        factor = 1 << _BINARY[unit[0]] if unit.endswith("i") else 1000 ** (_BINARY[unit] // 10)
    size = int(number * factor)
    if not 0 < size <= MAX_BYTES:
        raise ValueError("is out of range; write for example `512Mi` or `2Gi`")
    return size


def parse_duration(value: object) -> float:
    """Return seconds for `90s`, `10m`, `1h30m`, `250ms` or a plain number of seconds. Raises ValueError."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        seconds = float(value)
    else:
        text = str(value).strip()
        parts = _PART.findall(text)
        if not parts or _PART.sub("", text).strip():
            raise ValueError("is not a duration; write for example `30s`, `10m` or `1h30m`")
        seconds = sum(float(number) * _SECONDS[unit.lower()] for number, unit in parts)
    if not 0 < seconds <= MAX_SECONDS:
        raise ValueError("is out of range; write for example `30s`, `10m` or `1h30m`")
    return seconds


_SIZE_SCHEMA = {
    "anyOf": [
        {"type": "integer", "exclusiveMinimum": 0},
        {"type": "string", "pattern": r"^\s*\d+(\.\d+)?\s*([KMGTkmgt]i?)?B?\s*$"},
    ]
}
_DURATION_SCHEMA = {
    "anyOf": [
        {"type": "number", "exclusiveMinimum": 0},
        {"type": "string", "pattern": r"^\s*(\d+(\.\d+)?\s*(ms|s|m|h|d)\s*)+$"},
    ]
}

Size = Annotated[int, BeforeValidator(parse_size), Field(json_schema_extra=dict(_SIZE_SCHEMA))]
"""Bytes, written as `2Gi`, `500M` or a number."""

Duration = Annotated[float, BeforeValidator(parse_duration), Field(json_schema_extra=dict(_DURATION_SCHEMA))]
"""Seconds, written as `10m`, `1h30m` or a number."""
