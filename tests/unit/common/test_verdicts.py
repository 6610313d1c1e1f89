"""Verdicts: reading the number of a claim, and comparing it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from claim_site import claim_of
from vitrine_common.verdicts import METRIC_BYTES, MetricError, judge, read_last_line, read_metric


@pytest.mark.parametrize(
    ("value", "key", "number"),
    [
        (0.97, "", 0.97),
        ({"accuracy": 1}, "accuracy", 1.0),
        ({"test": {"f1": [0.1, 0.2]}}, "test.f1.1", 0.2),
        ({"0": 5}, "0", 5.0),
        ([[1, 2]], "0.1", 2.0),
        ({"a": -1e299}, "a", -1e299),
    ],
)
def test_a_number_is_found_where_the_key_says(value: Any, key: str, number: float) -> None:
    assert read_metric(json.dumps(value).encode(), key.split(".") if key else []) == number


@pytest.mark.parametrize(
    ("text", "key", "says"),
    [
        ('{"a": NaN}', "a", "NaN"),
        ('{"a": -Infinity}', "a", "-Infinity"),
        ('{"a": 1e400}', "a", "not finite"),
        ('{"a": 1e301}', "a", "too large"),
        ('{"a": ' + "9" * 5000 + "}", "a", "too many digits"),
        ('{"a": ' + "9" * 400 + "}", "a", "too large"),
        ('{"a": "0.9"}', "a", "`a` is no number"),
        ('{"a": false}', "a", "`a` is no number"),
        ('{"a": null}', "a", "`a` is no number"),
        ("{}", "", "the JSON is no number"),
        ('{"a": {"b": 1}}', "a.c", "nothing at `a.c`"),
        ("[1]", "1", "nothing at `1`"),
        ("[1]", "-1", "nothing at `-1`"),
        ('{"a": 1}', "a.b", "nothing at `a.b`"),
        ("{", "a", "no JSON (line 1"),
        ("[" * 100_000, "a", "JSON"),
        ("\udcff", "a", "not UTF-8"),
        (" " * METRIC_BYTES + "1", "", "at most"),
    ],
)
def test_what_is_no_number_says_so(text: str, key: str, says: str) -> None:
    with pytest.raises(MetricError) as raised:
        read_metric(text.encode(errors="surrogateescape"), key.split(".") if key else [])
    assert says in str(raised.value)


def test_the_last_line_of_json_counts() -> None:
    printed = b'{"a": 1}\r\nepoch 2\n  {"a": 2}  \nbye [ok]\n'
    assert read_last_line(printed, ["a"]) == 2
    assert read_last_line(b"0.5\n0.75\n", []) == 0.75
    for nothing in (b"", b"bye", b"0.5 is it"):
        with pytest.raises(MetricError):
            read_last_line(nothing, ["a"])


@pytest.mark.parametrize(
    ("fields", "value", "verdict"),
    [
        ({"expected": 0.97, "tolerance": 0.005}, 0.975, "reproduced"),
        ({"expected": 0.97, "tolerance": 0.005}, 0.965, "reproduced"),
        ({"expected": 0.97, "tolerance": 0.005}, 0.9751, "differs"),
        ({"expected": 0.97}, 0.97, "reproduced"),
        ({"expected": 0.97}, 0.9701, "differs"),
        ({"expected": 200, "tolerance": "5%"}, 190, "reproduced"),
        ({"expected": -200, "tolerance": "5%"}, -210, "reproduced"),
        ({"expected": 200, "tolerance": "5 %"}, 189.9, "differs"),
        ({"expected": 0, "tolerance": "5%"}, 0.0001, "differs"),
        ({"expected": 0, "tolerance": 0.001}, 0.001, "reproduced"),
        ({"expected": 0.9, "tolerance": 0.01, "direction": "higher"}, 0.99, "reproduced"),
        ({"expected": 0.9, "tolerance": 0.01, "direction": "higher"}, 0.88, "differs"),
        ({"expected": 3, "tolerance": 0.1, "direction": "lower"}, 0.1, "reproduced"),
        ({"expected": 3, "tolerance": 0.1, "direction": "lower"}, 3.2, "differs"),
    ],
)
def test_one_value_is_compared(fields: dict[str, Any], value: float, verdict: str) -> None:
    judgement = judge(claim_of(**fields), [value])
    assert (judgement.verdict, judgement.measured, judgement.spread) == (verdict, value, None)


def test_the_mean_is_compared_and_the_spread_told() -> None:
    judgement = judge(claim_of(expected=2, repeats=3), [1, 2, 3])
    assert (judgement.verdict, judgement.measured, judgement.spread) == ("reproduced", 2.0, 1.0)
    assert judge(claim_of(expected=2, repeats=2), [2, 2]).spread == 0.0


def test_a_failed_or_missing_repeat_fails_the_check_but_shows_what_there_is() -> None:
    claim = claim_of(expected=2, repeats=3)
    for values in ([2, None], [2, 2], [2, None, 2]):
        judgement = judge(claim, values)
        assert (judgement.verdict, judgement.measured) == ("failed", 2)
    assert judge(claim, []).measured is None
    assert judge(claim, [None]).verdict == "failed"


def test_the_largest_values_give_finite_numbers() -> None:
    judgement = judge(claim_of(expected=0, repeats=2, tolerance=1e300), [1e300, -1e300])
    assert judgement.measured == 0
    assert judgement.spread == pytest.approx(2**0.5 * 1e300)
    assert judge(claim_of(expected=1e300, tolerance="100%"), [1e300]).tolerance == 1e300
