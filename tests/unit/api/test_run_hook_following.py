"""Pieces of streamed outputs gather for a second, as many as one message takes."""

from __future__ import annotations

from vitrine_api.run_hook_following import PIECES_SECONDS, Pieces
from vitrine_api.run_hook_messages import MAX_TOLD_CHARACTERS, characters


def piece(start: int, size: int = 1) -> dict[str, object]:
    return {"name": "text", "start": start, "text": "x" * size}


def test_they_are_due_a_second_after_the_first_however_many_follow() -> None:
    pieces = Pieces()
    assert not pieces
    for number in range(100):
        pieces.add([piece(number)], now=10.0 + number / 10)
    assert pieces.due_at == 10.0 + PIECES_SECONDS
    assert [one["start"] for one in pieces.kept] == list(range(100))
    assert not pieces.left_out


def test_a_message_is_full_at_some_size_and_says_so_and_has_no_holes() -> None:
    pieces = Pieces()
    pieces.add([piece(0, 100_000), piece(100_000, 100_000), piece(200_000, 100_000), piece(300_000)], now=0.0)
    assert [one["start"] for one in pieces.kept] == [0, 100_000]
    assert characters(pieces.kept) <= MAX_TOLD_CHARACTERS
    assert pieces.left_out


def test_one_that_fits_in_no_message_is_left_out_and_that_is_told() -> None:
    pieces = Pieces()
    pieces.add([piece(0, MAX_TOLD_CHARACTERS)], now=0.0)
    assert pieces
    assert (pieces.kept, pieces.left_out) == ([], True)
