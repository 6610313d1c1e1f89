"""Warm and cold starts of the last hour."""

from __future__ import annotations

from vitrine_runner.starts import Starts


def test_an_hour_is_remembered_and_no_longer() -> None:
    now = [0.0]
    starts = Starts(lambda: now[0])
    starts.note(cold=True)
    now[0] = 1800
    for _ in range(3):
        starts.note(cold=False)
    assert starts.of_last_hour == (1, 3)
    now[0] = 3600
    assert starts.of_last_hour == (0, 3)
    now[0] = 3600 + 1800
    assert starts.of_last_hour == (0, 0)
