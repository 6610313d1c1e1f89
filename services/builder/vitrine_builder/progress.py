"""What a build does right now, for whoever watches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
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
