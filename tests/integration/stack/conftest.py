"""A factory of stacks that are stopped after the test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stack_runs import StackRun


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Callable[..., StackRun]]:
    """Make a `StackRun` below the test's directory: `stack(services=…, options=…, extra=…)`."""
    made: list[StackRun] = []

    def make(**settings: Any) -> StackRun:
        made.append(StackRun(tmp_path / f"stack-{len(made)}", **settings))
        return made[-1]

    yield make
    for run in made:
        run.close()
