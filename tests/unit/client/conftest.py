"""Every test has a configuration directory of its own, never the one of whoever runs it."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def own_configuration(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory that `config.json` and interrupted uploads are kept in."""
    folder = tmp_path_factory.mktemp("config")
    monkeypatch.setenv("VITRINE_CONFIG_DIR", str(folder))
    return folder
