from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from vitrine_engine.process.layout import Layout


@pytest.fixture
def layout(tmp_path: Path) -> Iterator[Layout]:
    found = Layout(tmp_path / "state")
    yield found
    found.close()
