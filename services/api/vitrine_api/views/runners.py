"""The operator's page of runners."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from vitrine_api.views.page import Fact, View


@dataclass(frozen=True, kw_only=True)
class WorkerRow:
    """A worker; `share` is its memory in percent of its limit."""

    name: str
    state: str
    tone: str
    since: datetime
    served: int
    memory: str
    share: float | None = None


@dataclass(frozen=True, kw_only=True)
class ZygoteRow:
    """An interpreter that workers start from."""

    environment: str
    owner: str
    pid: int
    memory: str
    modules: int
    sandboxes: int


@dataclass(frozen=True, kw_only=True)
class GpuRow:
    """A GPU."""

    name: str
    memory: str
    share: float | None
    users: int


@dataclass(frozen=True, kw_only=True)
class RunnerCard:
    """A runner. Without `told`, it is of another release and tells nothing."""

    holder: str
    version: str
    state: str
    tone: str
    heard_at: datetime | None
    told: bool = True
    busy: int = 0
    slots: int = 0
    busy_share: float = 0.0
    memory: str = ""
    memory_share: float = 0.0
    cold_starts: int = 0
    warm_starts: int = 0
    workers: tuple[WorkerRow, ...] = ()
    zygotes: tuple[ZygoteRow, ...] = ()
    gpus: tuple[GpuRow, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Runners(View):
    """`/operator/runners`."""

    template: ClassVar[str] = "runners.html"

    runners: tuple[RunnerCard, ...]
    facts: tuple[Fact, ...] = ()
