"""What outputs hold while a run goes on, from news that may begin late."""

from __future__ import annotations

from typing import Any

from vitrine_api.presenters.streaming import MISSED, SHOWN, Streamed
from vitrine_api.progress import Change, News
from vitrine_api.streams import json_events
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
    streamed = Streamed(SPEC, str.upper)
    for start, text in ((0, "one "), (4, "two")):
        streamed.take(news(start, text))
    streamed.take({"log": "printed"})
    assert [(item.title, item.text) for item in streamed.views()] == [("The answer", "ONE TWO")]


def test_who_comes_late_sees_that_something_is_missing() -> None:
    streamed = Streamed(None, str)
    streamed.take(news(4, "two"))
    streamed.take(news(7, " three"))
    assert [(item.title, item.text) for item in streamed.views()] == [("answer", f"{MISSED}two three")]


def test_only_the_end_of_a_long_text_is_shown() -> None:
    streamed = Streamed(SPEC, str)
    streamed.take(news(0, "a" * SHOWN))
    streamed.take(news(SHOWN, "b"))
    (item,) = streamed.views()
    assert len(item.text) == SHOWN
    assert item.text.endswith("ab")


def test_streamed_text_is_made_harmless_for_blind_links() -> None:
    encode = json_events(lambda _: SPEC, lambda text: text.replace("Ada", "[hidden]"))
    told = encode(Change("progress", news=News("run.progress", news(0, "by Ada"))))
    assert "by [hidden]" in told[0][1]
    assert "Ada" not in told[0][1]
