"""New folders in parts of the disk of their own."""

from __future__ import annotations

import subprocess
from pathlib import Path

from servers import require
from vitrine_builder.spread import spread
from vitrine_builder.workspace import open_workspace


def attributes(folder: Path) -> str:
    """Return what lsattr says of a folder; nothing where its file system keeps no attributes."""
    said = subprocess.run([require("lsattr"), "-d", str(folder)], capture_output=True, text=True, check=False)
    return said.stdout.split()[0] if said.returncode == 0 else ""


def test_drafts_are_spread_where_the_file_system_can_be_told(tmp_path: Path) -> None:
    with open_workspace(tmp_path) as workspace:
        said = attributes(workspace.drafts)
        assert "T" in said or not attributes(tmp_path).startswith("-")
        assert "T" not in attributes(workspace.layers), "nothing is made there, only renamed"


def test_what_cannot_be_spread_stays_as_it_is(tmp_path: Path) -> None:
    spread(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()
    before = attributes(Path("/proc/self"))
    spread(Path("/proc/self"))
    assert attributes(Path("/proc/self")) == before
