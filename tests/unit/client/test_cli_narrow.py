"""What is shown of environments on terminals that are narrower than a digest."""

from __future__ import annotations

import io

import pytest

from vitrine.cli import formats
from vitrine.cli.env_commands import _show, _show_diff
from vitrine.environments import Change, Environment, EnvironmentDiff, Layer

ONE, TWO = "sha256:" + "1" * 64, "sha256:" + "2" * 64


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def show() -> None:
    layer = Layer(kind="packages", digest=TWO, size_bytes=1, reused=True, packages=("numpy",))
    _show(Environment(digest=ONE, python="3.11", base_digest=TWO, layers=(layer,)))


def compare() -> None:
    base = Change(name="base", before=ONE, after=TWO)
    counts = {"layers_shared": 1, "layers_added": 2, "layers_removed": 3}
    _show_diff(
        EnvironmentDiff(before="somebody/classifier@3", after="somebody/classifier@4", base=base, **counts)
    )


def test_no_line_is_longer_than_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    monkeypatch.setenv("COLUMNS", "60")
    show()
    compare()
    lines = formats.harmless(terminal.getvalue()).splitlines()
    assert max(map(len, lines)) <= 60
    assert f"environment  {'1' * 12}" in lines
    assert f"  ~ base {'1' * 12} → {'2' * 12}" in lines
    assert "2 only in somebody/classifier@4 (0 B)" in lines


def test_a_pipe_gets_whole_digests_and_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    show()
    compare()
    out = capsys.readouterr().out
    assert f"environment  {ONE}\n" in out
    assert f"  ~ base {ONE} → {TWO}\n" in out
    assert "1 layers in both (0 B), 2 only in somebody/classifier@4 (0 B), 3 only" in out
