"""What comes in pieces is as harmless as the whole, wherever the pieces end."""

from __future__ import annotations

import json
import random
from itertools import pairwise
from typing import Any

import pytest

from vitrine_api.progress import Change, News
from vitrine_api.runs import RunRecord
from vitrine_api.scrubbed_streams import MAX_HELD, ScrubbedNews, TextStream
from vitrine_api.scrubbing import HIDDEN, MAX_TEXT, Scrubber
from vitrine_api.streams import json_events
from vitrine_common.clock import utcnow
from vitrine_common.documents import Run as RunDocument
from vitrine_common.documents import RunRequest
from vitrine_common.states import RunState

IDENTITIES = ["Ada Lovelace", "ada", "lovelace@uni.example", "uni.example", "Analytical-Engine", "engine-net"]
SCRUB = Scrubber(IDENTITIES, ["vitrine.host"], ["data/two words.png", "weights.pt"], lambda _: "file-1")
TEXT = (
    "epoch 1 by Ada Lovelace, of the analytical engine\n"
    "see https://uni.example/~ada/paper.pdf or write to ada.lovelace@uni.example now\n"
    "loading /home/ada/models/weights.pt and data/two words.png from 10.1.2.3\n"
    "AdaLovelace ANALYTICAL_ENGINE adamant engine.net. "
)


def pieces_at(text: str, *places: int) -> list[str]:
    return [text[start:end] for start, end in pairwise((0, *places, len(text)))]


def passed(pieces: list[str]) -> tuple[str, str]:
    """Return what was shown before the end, and everything."""
    stream = TextStream(SCRUB)
    shown = "".join(stream.feed(piece) for piece in pieces)
    return shown, shown + stream.end()


def test_at_every_place_a_text_may_be_cut_in_two() -> None:
    whole = SCRUB(TEXT)
    assert not any(word.lower() in whole.lower() for word in IDENTITIES if word != "ada")
    for place in range(len(TEXT) + 1):
        shown, joined = passed(pieces_at(TEXT, place))
        assert joined == whole, place
        assert whole.startswith(shown), place


def test_character_by_character_and_in_chance_pieces() -> None:
    whole = SCRUB(TEXT)
    assert passed(list(TEXT)) == (passed(list(TEXT))[0], whole)
    chance = random.Random(5)
    for _ in range(300):
        places = sorted(chance.sample(range(len(TEXT)), 6))
        assert passed(pieces_at(TEXT, *places))[1] == whole, places


def test_no_beginning_of_a_name_is_shown_before_it_is_whole() -> None:
    stream, shown = TextStream(SCRUB), ""
    for letter in "trained by Ada Lovelace, for " + "many epochs " * 9:
        shown += stream.feed(letter)
        assert "Ada" not in shown
        assert "Love" not in shown
    assert shown.startswith(f"trained by {HIDDEN}, for many epochs")


def test_text_goes_on_while_more_comes() -> None:
    stream = TextStream(SCRUB)
    shown = "".join(stream.feed("word ") for _ in range(200))
    assert len(shown) > 900


def test_scripts_without_blanks_go_on_too() -> None:
    stream = TextStream(SCRUB)
    shown = "".join(stream.feed("你好世界") for _ in range(50))
    assert len(shown) > 150
    assert stream.feed("路径在/home/") + stream.feed("ada/model") + stream.end() != ""


def test_a_word_without_end_is_not_kept_for_ever_and_hides_names_all_the_same() -> None:
    text = "x" * (MAX_HELD + 100) + "AnalyticalEngine" + "y" * (MAX_HELD + 100)
    for place in range(MAX_HELD + 90, MAX_HELD + 125):
        shown, joined = passed(pieces_at(text, place))
        assert shown
        assert "Analytical" not in joined
        assert "Engine" not in joined


@pytest.mark.parametrize("gap", range(1, 40))
def test_where_pieces_are_lost_no_end_of_a_name_is_shown(gap: int) -> None:
    news = ScrubbedNews(SCRUB)
    text = "it is by Ada Lovelace of the analytical engine and " + "more words " * 12
    first, second = text[:12], text[12 + gap :]
    told = [news(of_text(0, first)), news(of_text(12 + gap, second)), news.rest() or {}]
    outputs = [piece for one in told for piece in one.get("outputs", ())]
    joined = "".join(piece["text"] for piece in outputs)
    assert "ovelace" not in joined
    assert "gine" not in joined
    assert "more words" in joined
    assert outputs[0]["start"] > 0, "whoever puts the pieces together sees that some are missing"


def of_text(start: int, text: str, log: str = "") -> dict[str, Any]:
    pieces = [{"name": "answer", "start": start, "text": text}] if text else []
    return {"run_id": "run_1", "state": "running", "message": "", "log": log, "outputs": pieces}


def test_places_follow_what_is_told_not_what_came() -> None:
    news = ScrubbedNews(SCRUB)
    text = "by Ada Lovelace " * 20
    told = [news(of_text(place, text[place : place + 7])) for place in range(0, len(text), 7)]
    told.append(news.rest() or {})
    joined = ""
    for piece in (piece for one in told for piece in one["outputs"]):
        assert piece["start"] == len(joined)
        joined += piece["text"]
    assert joined == SCRUB(text)


def test_a_second_attempt_begins_anew() -> None:
    news = ScrubbedNews(SCRUB)
    news(of_text(0, "words " * 20))
    again = news(of_text(0, "other words " * 20))
    assert again["outputs"][0]["start"] == 0
    assert again["outputs"][0]["text"].startswith("other")


def test_a_log_that_began_earlier_is_shown_from_a_blank_on() -> None:
    news = ScrubbedNews(SCRUB)
    news.began(RunState.RUNNING)
    told = news(of_text(0, "", log="velace begins\n" + "line of words\n" * 9))
    assert "velace" not in told["log"]
    assert "line of words" in told["log"]


def test_without_a_blind_link_nothing_is_held_back() -> None:
    news = ScrubbedNews()
    sent = of_text(0, "Ada Love", log="Ada")
    assert news(sent) == sent
    assert news.rest() is None


def test_the_end_of_a_stream_tells_what_was_held_back_before_it() -> None:
    encode = json_events(request_of, ScrubbedNews(SCRUB))
    encode(Change("progress", news=News("run.progress", of_text(0, "by Ada Love", log="of Ada"))))
    told = encode(Change("progress", news=News("run.progress", of_text(11, "lace", log=" Lovelace"))))
    assert "Ada" not in told[0][1]
    (progress, end) = encode(Change("end", state=ended()))
    assert (progress[0], end[0]) == ("progress", "end")
    rest = json.loads(progress[1])
    assert rest["outputs"] == [{"name": "answer", "start": 0, "text": f"by {HIDDEN}"}]
    assert rest["log"] == f"of {HIDDEN}"
    assert rest["run_id"] == "run_1"


def request_of(record: RunRecord) -> RunRequest:
    return record.request


def ended() -> RunRecord:
    common = {"version_id": "v", "version_digest": "d", "owner_id": "usr_1"}
    request = RunRequest(id="run_1", environment_digest="e", inputs="{}", expires_at=utcnow(), **common)
    return RunRecord(request, RunDocument(id="run_1", state=RunState.SUCCEEDED, **common))


def test_a_text_that_is_too_long_begins_with_a_whole_line() -> None:
    cut = "Analytical-Engine trains\n"
    for extra in range(len(cut)):
        text = cut + "line\n" * ((MAX_TEXT - extra) // 5)
        assert "ngine" not in SCRUB(text)
