"""What outputs hold while a run goes on, from news that may begin late."""

from __future__ import annotations

from typing import Any

from vitrine_api.presenters.streaming import MISSED, SHOWN, Streamed
from vitrine_common.spec import Spec

SPEC = Spec.model_validate(
    {
        "name": "m",
        "predictor": "p.py:P",
        "inputs": [],
        "outputs": [{"name": "answer", "type": "text", "label": "The answer"}],
    }
)


def news(start: int, text: str, name: str = "answer") -> dict[str, Any]:
    return {"outputs": [{"name": name, "start": start, "text": text}]}


def test_pieces_are_put_together_under_the_title_of_their_output() -> None:
    streamed = Streamed(SPEC)
    for start, text in ((0, "one "), (4, "two")):
        streamed.take(news(start, text))
    streamed.take({"log": "printed"})
    assert [(item.title, item.text) for item in streamed.views()] == [("The answer", "one two")]


def test_who_comes_late_sees_that_something_is_missing() -> None:
    streamed = Streamed(None)
    streamed.take(news(4, "two"))
    streamed.take(news(7, " three"))
    assert [(item.title, item.text) for item in streamed.views()] == [("answer", f"{MISSED}two three")]


def test_only_the_end_of_a_long_text_is_shown() -> None:
    streamed = Streamed(SPEC)
    streamed.take(news(0, "a" * SHOWN))
    streamed.take(news(SHOWN, "b"))
    (item,) = streamed.views()
    assert len(item.text) == SHOWN
    assert item.text.endswith("ab")
