"""Numbers, sizes, durations and times in words; model cards; the shapes of outputs."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import pytest

from vitrine_api import formats
from vitrine_api.markdown import render_markdown
from vitrine_api.views import JsonOutput, LabelScore, LabelsOutput, NumberField, TextOutput
from vitrine_api.wording import explain_run, explain_status
from vitrine_common.states import Reason

NOW = datetime(2026, 3, 14, 15, 9, tzinfo=UTC)


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (None, "\u2013"),
        (0, "0 B"),
        (999, "999 B"),
        (1_000, "1.0 kB"),
        (20_000_000, "20 MB"),
        (999_600, "1.0 MB"),
        (3e15, "3000 TB"),
    ],
)
def test_sizes(count: float | None, words: str) -> None:
    assert formats.size(count) == words


@pytest.mark.parametrize(
    ("milliseconds", "words"),
    [
        (None, "\u2013"),
        (math.nan, "\u2013"),
        (0.02, "< 0.1 ms"),
        (0.81, "0.8 ms"),
        (42, "42 ms"),
        (999.7, "1.0 s"),
        (59_400, "59 s"),
        (59_990, "1 min"),
        (125_000, "2 min 5 s"),
        (12_000_000, "3 h 20 min"),
        (90_000_000, "1 d 1 h"),
    ],
)
def test_durations(milliseconds: float | None, words: str) -> None:
    assert formats.duration(milliseconds) == words


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "\u2013"),
        (3, "3"),
        (12_804, "12\u202f804"),
        (0.918273645, "0.918274"),
        (2.0, "2"),
        (math.inf, "inf"),
        (1.5e-9, "1.5e-09"),
    ],
)
def test_numbers(value: float | None, words: str) -> None:
    assert formats.number(value) == words


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0.9641, "96.4 %"),
        (0.0, "0 %"),
        (1.0, "100 %"),
        (0.00004, "< 0.01 %"),
        (0.0008, "0.08 %"),
        (math.nan, "\u2013"),
    ],
)
def test_percentages(value: float, words: str) -> None:
    assert formats.percent(value) == words


@pytest.mark.parametrize(
    ("gap", "words"),
    [
        (timedelta(seconds=3), "just now"),
        (timedelta(seconds=50), "1 min ago"),
        (timedelta(minutes=59), "1 h ago"),
        (timedelta(hours=26), "1 day ago"),
        (-timedelta(days=12), "in 12 days"),
        (-timedelta(seconds=3), "in a moment"),
        (timedelta(days=40), "2 February 2026"),
    ],
)
def test_relative_times(gap: timedelta, words: str) -> None:
    assert formats.relative(NOW - gap, NOW) == words


def test_never() -> None:
    assert formats.relative(None, NOW) == "never"


def test_digests_and_commitments_are_shown_by_their_first_digits() -> None:
    assert formats.digest("sha256:" + "0123456789abcdef" * 4) == "0123456789ab"
    assert formats.digest("hmac-sha256:" + "fedcba9876543210" * 4) == "fedcba987654"
    assert formats.digest(None) == ""


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_is_explained(reason: Reason) -> None:
    explained = explain_run("failed", reason.value)
    assert explained.title
    assert explained.advice
    assert reason is Reason.PLATFORM_ERROR or explained != explain_run("failed", "platform_error")


def test_unknown_statuses_are_explained_by_their_hundred() -> None:
    assert explain_status(418) == explain_status(400)
    assert explain_status(502) == explain_status(500)


def test_model_cards() -> None:
    html = render_markdown(
        "# Title\n\n<b onclick=x>raw</b> ![a plot](https://example.org/p.png)\n\n|a|\n|-:|\n|1|\n"
    )
    assert "<h3>Title</h3>" in html
    assert "&lt;b onclick=x&gt;" in html
    assert "<img" not in html
    assert '<a href="https://example.org/p.png" rel="nofollow noopener noreferrer">a plot</a>' in html
    assert '<td class="num">1</td>' in html


def test_an_image_inside_a_link_is_its_words() -> None:
    html = render_markdown("[![badge](https://example.org/b.svg)](https://example.org)")
    assert html.count("<a ") == 1
    assert ">badge</a>" in html


def test_scores_are_ranked_and_bars_stay_in_their_cell() -> None:
    output = LabelsOutput(
        name="p",
        title="P",
        scores=(
            LabelScore(label="a", score=-0.5),
            LabelScore(label="b", score=3.0),
            LabelScore(label="c", score=math.nan),
        ),
    )
    assert output.ranked[0].label == "b"
    assert [score.share for score in output.scores] == [0.0, 100.0, 0.0]


def test_deep_or_wide_json_is_shown_as_text() -> None:
    deep: list[object] = []
    for _ in range(60):
        deep = [deep]
    assert not JsonOutput(name="j", title="J", value=deep).is_tree
    assert not JsonOutput(name="j", title="J", value=list(range(5_000))).is_tree
    assert JsonOutput(name="j", title="J", value={"a": [1, 2]}).is_tree
    assert not JsonOutput(name="j", title="J", value=3).is_tree


def test_long_text_is_cut() -> None:
    output = TextOutput(name="t", title="T", text="x" * 300_000)
    assert output.is_cut
    assert len(output.shown) == 200_000


@pytest.mark.parametrize(
    ("field", "step", "slider"),
    [
        (NumberField(name="n", title="N", min=0, max=4), "any", "0.04"),
        (NumberField(name="n", title="N", min=0, max=4, integer=True), "1", "1"),
        (NumberField(name="n", title="N", step=0.5), "0.5", "0.5"),
    ],
)
def test_steps(field: NumberField, step: str, slider: str) -> None:
    assert (field.step_text, field.slider_step) == (step, slider)
