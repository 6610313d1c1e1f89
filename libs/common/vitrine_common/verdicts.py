"""From what a claim's command left to a verdict: reading the number, and comparing it. Pure."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NoReturn

from vitrine_common.spec.claims import Claim

Verdict = Literal["reproduced", "differs", "failed"]

METRIC_BYTES = 1 << 20
"""Largest JSON that a number is read from."""
MAX_DEPTH = 64
LARGEST = 1e300
"""Largest magnitude of a metric, so that means and spreads stay finite."""
SLACK = 1e-9
"""Share of the values by which rounding may be off: 0.975 is within 0.005 of 0.97."""


class MetricError(ValueError):
    """No number is to be read; the message says why, in words that hold nothing of the JSON's content."""


def read_metric(data: bytes, keys: Sequence[str]) -> float:
    """Return the number at `keys` of the JSON in `data`. Raises MetricError.

    Names lead into objects, whole numbers into lists. True and false are no numbers; neither are NaN and
    infinities, which JSON does not have.
    """
    if len(data) > METRIC_BYTES:
        raise MetricError(f"the JSON has {len(data)} bytes; at most {METRIC_BYTES} are read")
    value = _parsed(data)
    walked = []
    for key in keys:
        walked.append(key)
        value = _step(value, key, ".".join(walked))
    return _number(value, ".".join(keys))


def read_last_line(printed: bytes, keys: Sequence[str]) -> float:
    """Return the number at `keys` of the last line of JSON in what was printed. Raises MetricError.

    Lines that are no JSON, such as a closing remark, are passed over; a line counts as JSON when it begins
    an object or, without `keys`, when it is a number.
    """
    for line in reversed(printed.splitlines()):
        text = line.strip()
        if text.startswith((b"{", b"[")) or (not keys and _is_number(text)):
            return read_metric(text, keys)
    raise MetricError(
        'the command printed no line of JSON; print for example `{"accuracy": 0.97}` at the end'
    )


def _is_number(text: bytes) -> bool:
    return text[:1].isdigit() or text[:1] in {b"-", b"N", b"I"}


def _parsed(data: bytes) -> Any:
    try:
        return json.loads(data.decode("utf-8-sig"), parse_constant=_refuse)
    except MetricError:
        raise
    except RecursionError:
        raise MetricError(f"the JSON is nested deeper than {MAX_DEPTH} levels") from None
    except UnicodeDecodeError:
        raise MetricError("the JSON is not UTF-8 text") from None
    except json.JSONDecodeError as error:
        raise MetricError(f"what is there is no JSON (line {error.lineno}, column {error.colno})") from None
    except ValueError:
        raise MetricError("the JSON has a number with too many digits") from None


def _refuse(name: str) -> NoReturn:
    raise MetricError(f"the JSON has {name}, which is no number that can be compared")


def _step(value: Any, key: str, place: str) -> Any:
    if isinstance(value, dict) and key in value:
        return value[key]
    if isinstance(value, list) and key.isascii() and key.isdigit() and int(key[:9]) < len(value):
        return value[int(key[:9])]
    raise MetricError(f"the JSON has nothing at `{place[:300]}`")


def _number(value: Any, place: str) -> float:
    where = f"`{place[:300]}`" if place else "the JSON"
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise MetricError(f"{where} is no number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not abs(number) <= LARGEST:
        raise MetricError(f"{where} is not finite, or too large to be compared")
    return number


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a check found. Numbers are None where no repeat gave one."""

    verdict: Verdict
    expected: float
    tolerance: float
    """The distance that was allowed."""
    measured: float | None
    """Mean of the repeats."""
    spread: float | None
    """Sample standard deviation of the repeats; None for fewer than two."""


def judge(claim: Claim, values: Sequence[float | None]) -> Judgement:
    """Compare the repeats' values with what the claim expects; None stands for a repeat that failed.

    `failed`: a repeat failed, or there are fewer than the claim asks for. `reproduced`: the mean lies within
    the tolerance, ends included, or beyond it on the better side where the claim names one.
    """
    numbers = [value for value in values if value is not None]
    tolerance = claim.allowance.around(claim.expected)
    if not numbers:
        return Judgement("failed", claim.expected, tolerance, None, None)
    mean = _mean(numbers)
    spread = _spread(numbers, mean)
    if len(numbers) < len(values) or len(values) < claim.repeats:
        return Judgement("failed", claim.expected, tolerance, mean, spread)
    verdict: Verdict = "reproduced" if _is_within(claim, mean, tolerance) else "differs"
    return Judgement(verdict, claim.expected, tolerance, mean, spread)


def _is_within(claim: Claim, mean: float, tolerance: float) -> bool:
    slack = SLACK * max(abs(mean), abs(claim.expected))
    above = mean - claim.expected
    too_high, too_low = above > tolerance + slack, -above > tolerance + slack
    return not (too_low and claim.direction != "lower") and not (too_high and claim.direction != "higher")


def _mean(numbers: Sequence[float]) -> float:
    return math.fsum(number / len(numbers) for number in numbers)


def _spread(numbers: Sequence[float], mean: float) -> float | None:
    if len(numbers) < 2:
        return None
    largest = max(abs(number - mean) for number in numbers)
    if largest == 0:
        return 0.0
    return statistics.stdev([(number - mean) / largest for number in numbers]) * largest
