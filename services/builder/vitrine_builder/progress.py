"""What a build does right now, for whoever watches."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

StepName = Literal[
    "queued",
    "resolve",
    "system",
    "download",
    "unpack",
    "compile",
    "assemble",
    "load",
    "push",
    "done",
    "failed",
]


@dataclass(frozen=True)
class Step:
    """One piece of news: the step, a line of log, and how much of how many is done."""

    name: StepName
    message: str = ""
    done: int | None = None
    total: int | None = None
    unit: Literal["packages", "bytes", "files"] | None = None


Report = Callable[[Step], None]


def silent(_step: Step) -> None:
    """Report to nobody."""


@dataclass
class Stopwatch:
    """Milliseconds that each part of a build took."""

    milliseconds: dict[str, float] = field(default_factory=dict)

    @contextlib.contextmanager
    def measure(self, name: str) -> Iterator[None]:
        """Add the time that the block takes to `name`."""
        started = time.perf_counter()
        try:
            yield
        finally:
            spent = (time.perf_counter() - started) * 1000
            self.milliseconds[name] = round(self.milliseconds.get(name, 0.0) + spent, 1)
