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
    "assemble",
    "load",
    "push",
    "replicate",
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

    @property
    def sentence(self) -> str:
        """The news in words, with how much is done, for a line on a screen."""
        text = f"{_WORDS[self.name]} {self.message}".strip() if self.name in _WORDS else self.message
        if self.done is None or not self.total or self.name not in _WORDS:
            return text
        if self.unit == "bytes":
            return f"{text} ({self.done / 1e6:.0f} of {self.total / 1e6:.0f} MB)"
        return f"{text} ({self.done} of {self.total} {self.unit or ''})".replace(" )", ")")


_WORDS = {
    "download": "Downloading",
    "unpack": "Unpacking",
    "assemble": "Laying out",
    "load": "Loading into Docker:",
    "push": "Pushing",
    "replicate": "Packing for another host:",
}

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
