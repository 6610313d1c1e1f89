"""Pieces of outputs: told live in bounds, joined in the result."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from vitrine_common.messages import RunProgress
from vitrine_common.spec import Spec
from vitrine_common.states import RunState
from vitrine_engine import OutputValue
from vitrine_runner.live import PIECE_CHARACTERS, STREAMED_CHARACTERS, LiveFeed
from vitrine_runner.outputs import OutputCollector


class Listening:
    def __init__(self) -> None:
        self.heard: list[RunProgress] = []

    async def tell(self, news: RunProgress) -> None:
        self.heard.append(news)


async def streamed(*pieces: tuple[str, str]) -> dict[str, str]:
    """Stream pieces through a feed; return the text that was told of each output, checked to be gapless."""
    bus: Any = Listening()
    feed = LiveFeed(bus, "run_1")
    for name, text in pieces:
        feed.streamed(name, text)
        await asyncio.sleep(0)
    await feed.state(RunState.SAVING)
    found: dict[str, str] = {}
    for news in bus.heard:
        for piece in news.outputs:
            assert piece.start == len(found.get(piece.name, ""))
            assert len(piece.text) < 2 * PIECE_CHARACTERS
            found[piece.name] = found.get(piece.name, "") + piece.text
    return found


async def test_pieces_of_several_outputs_are_told_in_their_order() -> None:
    told = await streamed(("a", "one "), ("b", "1\n"), ("a", "two"), ("a", "!"))
    assert told == {"a": "one two!", "b": "1\n"}


async def test_a_flood_is_cut_off_and_the_messages_stay_small() -> None:
    told = await streamed(*(("a", "x" * 1000) for _ in range(500)))
    assert told == {"a": "x" * STREAMED_CHARACTERS}


def test_text_is_joined_and_other_pieces_become_a_list(tmp_path: Any) -> None:
    spec = Spec.model_validate({"name": "m", "predictor": "p.py:P"})
    outputs = [
        {"name": name, "type": kind, "source": "result", "required": True}
        for name, kind in (("said", "text"), ("steps", "json"))
    ]
    bundle: Any = SimpleNamespace(spec=spec, form={"outputs": outputs})
    collector = OutputCollector(bundle, tmp_path)
    for name, value in (("said", "a"), ("steps", {"n": 1}), ("said", "b"), ("steps", 2)):
        collector.value(OutputValue(name=name, type="text", value=value, partial=True))
    assert list(collector._joined()) == [("said", "text", "ab"), ("steps", "json", [{"n": 1}, 2])]
