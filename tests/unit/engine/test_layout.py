from __future__ import annotations

import os
from pathlib import Path

import pytest

from vitrine_engine.process.layout import Layout
from vitrine_engine.protocol import StartError


def test_everything_that_sandboxes_see_is_readable_by_all(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        layout = Layout(tmp_path / "state")
    finally:
        os.umask(before)
    for root in (layout.harness, layout.etc, layout.bare, layout.empty):
        for path in (root, *root.rglob("*")):
            if not path.is_symlink():
                assert path.stat().st_mode & 0o004, path
    assert (layout.harness / "shims" / "conda").stat().st_mode & 0o001
    assert (layout.harness / "metrics" / "vitrine_metrics.py").exists()
    assert list((layout.harness / "vitrine_harness" / "__pycache__").glob("boot.*.pyc"))
    layout.close()


def test_a_directory_is_held_by_one_engine(layout: Layout) -> None:
    with pytest.raises(StartError, match="used by another engine"):
        Layout(layout.root)


def test_leftovers_of_a_killed_engine_are_removed(tmp_path: Path) -> None:
    left = tmp_path / "spool" / "sandbox" / "run" / "1"
    left.parent.mkdir(parents=True)
    left.write_text("output")
    layout = Layout(tmp_path)
    assert not left.exists()
    layout.close()
