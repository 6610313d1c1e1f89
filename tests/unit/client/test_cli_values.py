"""`-i key=value`, and what is printed of outputs, sizes and times."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from client_doubles import run
from vitrine.cli import formats, outputs
from vitrine.cli.values import fit_inputs, parse_inputs
from vitrine.errors import Misuse
from vitrine.results import Output, Run


def test_values_files_and_text_that_begins_with_an_at_sign(tmp_path: Path) -> None:
    picture = tmp_path / "a=b.png"
    picture.write_bytes(b"x")
    given = parse_inputs(["text=a = b", f"image=@{picture}", "handle=@@ada", "empty="])
    assert given == {"text": "a = b", "image": picture, "handle": "@ada", "empty": ""}


@pytest.mark.parametrize("item", ["text", "=x", "image=@/nowhere/x.png", "image=@"])
def test_a_value_that_cannot_be_read_is_named(item: str) -> None:
    with pytest.raises(Misuse) as raised:
        parse_inputs([item])
    assert item in raised.value.message


def test_a_name_counts_once() -> None:
    with pytest.raises(Misuse, match="given twice"):
        parse_inputs(["a=1", "a=2"])


def test_a_file_for_a_text_is_read_and_a_text_for_a_file_refused(tmp_path: Path) -> None:
    note = tmp_path / "note.txt"
    note.write_text("héllo", encoding="utf-8")
    types = [{"name": "text", "type": "text"}, {"name": "image", "type": "image"}]
    assert fit_inputs({"text": note, "image": note, "other": note}, types) == {
        "text": "héllo",
        "image": note,
        "other": note,
    }
    with pytest.raises(Misuse, match="`image` is an image"):
        fit_inputs({"image": "two.png"}, types)
    note.write_bytes(b"\xff")
    with pytest.raises(Misuse, match="cannot be read as text"):
        fit_inputs({"text": note}, types)


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (123_456_789, "123 MB"), (None, "-")]
)
def test_sizes(count: int | None, text: str) -> None:
    assert formats.size(count) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(85, "85 ms"), (1300, "1.3 s"), (245_000, "4 min 05 s"), (7_260_000, "2 h 01 min"), (None, "-")],
)
def test_durations(value: float | None, text: str) -> None:
    assert formats.milliseconds(value) == text


@pytest.mark.parametrize(
    ("delta", "text"),
    [
        (timedelta(seconds=1), "now"),
        (timedelta(seconds=40), "40 s ago"),
        (timedelta(minutes=3), "3 min ago"),
        (timedelta(days=1), "1 day ago"),
        (-timedelta(days=14), "in 14 days"),
    ],
)
def test_times_from_now(delta: timedelta, text: str) -> None:
    now = datetime(2026, 1, 31, 12, tzinfo=UTC)
    assert formats.ago(now - delta, now) == text


def test_a_log_cannot_steer_the_terminal() -> None:
    hostile = "\x1b]0;title\x07red \x1b[31mtext\x1b[0m\a\x9b2J\r\nnext\ttab"
    assert formats.harmless(hostile) == "red text2J\nnext\ttab"


def ended(*results: dict[str, Any]) -> Run:
    return Run.model_validate(run(outputs=list(results)))


def test_labels_are_bars(capsys: pytest.CaptureFixture[str]) -> None:
    scores = [
        {"label": "seven", "score": 0.75},
        {"label": "one", "score": 0.25},
        {"label": "x", "score": None},
    ]
    outputs.show(ended({"name": "class", "type": "labels", "value": scores}), {})
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"seven  {'█' * 22}{'░' * 8}   75.0%"
    assert lines[1].startswith("one    ")
    assert lines[2] == "x"


def test_one_text_stands_alone_and_several_have_headings(capsys: pytest.CaptureFixture[str]) -> None:
    text = {"name": "text", "type": "text", "value": "hello\n"}
    outputs.show(ended(text), {})
    assert capsys.readouterr().out == "hello\n"
    label = {"name": "digit", "type": "label", "value": {"label": "7", "score": 0.98, "index": 7}}
    outputs.show(ended(text, label, {"name": "j", "type": "json", "value": {"a": [1]}}), {})
    shown = capsys.readouterr().out
    assert shown.startswith("text:\nhello\ndigit:\n7  98.0%\nj:\n{")


def test_files_say_how_to_save_them(capsys: pytest.CaptureFixture[str]) -> None:
    file = {"name": "image", "type": "image", "url": "/x", "media_type": "image/png", "size": 1500}
    outputs.show(ended(file | {"filename": "out.png"}), {})
    assert capsys.readouterr().out == "image: out.png (image/png, 1.5 kB); save it with -o DIR\n"


class Files:
    """Stands where runs are: saves what each output is named."""

    def save(self, output: Output, target: Path) -> Path:
        target.write_text(output.name)
        return target


def test_outputs_are_saved_below_the_directory_and_nowhere_else(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    results = [
        {"name": "a", "type": "file", "url": "/a", "filename": "../../etc/passwd"},
        {"name": "b", "type": "file", "url": "/b", "filename": "PASSWD"},
        {"name": "c", "type": "file", "url": "/c", "filename": "..", "media_type": "image/png"},
        {"name": "text", "type": "text", "value": "hello"},
        {"name": "scores", "type": "json", "value": [1]},
    ]
    saved = outputs.save(Files(), ended(*results), folder)  # type: ignore[arg-type]
    assert {path.name for paths in saved.values() for path in paths} == {
        "passwd",
        "PASSWD-2",
        "c.png",
        "text.txt",
        "scores.json",
    }
    assert {path.name for path in tmp_path.iterdir()} == {"out"}
    assert (folder / "text.txt").read_text() == "hello"
