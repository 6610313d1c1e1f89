from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import vitrine_metrics
from vitrine_harness.metric_lines import MAX_LINE, Lines, parse


@pytest.mark.parametrize(
    ("line", "values", "step"),
    [
        ('{"step": 3, "loss": 0.5}', {"loss": 0.5}, 3),
        ('  {"loss": 1}\r', {"loss": 1.0}, None),
        ('{"metric": "f1", "value": 0.9, "step": 2}', {"f1": 0.9}, 2),
        ('{"step": 1.5, "loss": 1}', {"loss": 1.0}, None),
        ('{"step": true, "loss": 1}', {"loss": 1.0}, None),
        ('{"loss": 1, "note": "x", "ok": true, "bad": NaN, "more": Infinity}', {"loss": 1.0}, None),
    ],
)
def test_lines_that_report_numbers(line: str, values: dict[str, float], step: int | None) -> None:
    assert parse(line.encode()) == {"is": "metric", "values": values, "step": step}


@pytest.mark.parametrize(
    "line",
    [
        "",
        "text",
        "[1]",
        "{",
        '{"a": "b"}',
        '{"loss": NaN}',
        "{}",
        '{"step": 1}',
        '{"progress": "half"}',
        "[" * 9999,
        "{" * 9999,
        '{"a": 1' + "0" * 400 + "}",
        '{"a":1,"b":"' + "x" * MAX_LINE + '"}',
        '{"metric": "x"}',
    ],
)
def test_other_lines(line: str) -> None:
    assert parse(line.encode()) is None


def test_progress_is_kept_within_bounds() -> None:
    assert parse(b'{"progress": 7, "message": 3}') == {"is": "progress", "fraction": 1.0, "message": ""}


def test_lines_are_put_together_and_long_ones_dropped() -> None:
    lines = Lines()
    assert lines.feed(b"one\ntw") == [b"one"]
    assert lines.feed(b"o\n") == [b"two"]
    assert lines.feed(b"x" * (MAX_LINE + 1)) == []
    assert lines.feed(b"y" * MAX_LINE) == []
    assert lines.feed(b"end\nthree\n") == [b"three"]


def test_outside_of_a_sandbox_reports_are_printed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VITRINE_METRICS", raising=False)
    vitrine_metrics.log(3, loss=0.5, worse=float("inf"))
    vitrine_metrics.progress(2, "done")
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert printed == [{"step": 3, "loss": 0.5}, {"progress": 1.0, "message": "done"}]
    assert [parse(json.dumps(line).encode()) for line in printed] == [
        {"is": "metric", "values": {"loss": 0.5}, "step": 3},
        {"is": "progress", "fraction": 1.0, "message": "done"},
    ]


def test_what_is_no_number_is_named() -> None:
    with pytest.raises(TypeError, match="`name` is str"):
        vitrine_metrics.log(name="x")


def test_the_module_stands_alone(tmp_path: Path) -> None:
    copy = tmp_path / "vitrine_metrics.py"
    copy.write_bytes(Path(vitrine_metrics.__file__).read_bytes())
    code = "import vitrine_metrics; vitrine_metrics.log(a=1); print(vitrine_metrics.__file__)"
    environment = {key: value for key, value in os.environ.items() if key != "VITRINE_METRICS"}
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == ['{"a": 1.0}', str(copy)]
