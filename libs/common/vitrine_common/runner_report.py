"""What a runner tells operators of itself: workers, zygotes, memory, GPUs, starts."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel

from vitrine_common.messages import GpuState


class WorkerReport(BaseModel):
    """A worker. Memory in bytes, None where it could not be measured in time."""

    id: str
    """Empty until its sandbox is there."""
    version_digest: str
    owner_id: str
    environment_digest: str
    state: Literal["starting", "busy", "free"]
    since: datetime
    """When its start began."""
    served: int
    """Runs that it was lent for, those at work included."""
    users: int
    places: int
    memory_bytes: int | None = None
    memory_limit: int


class ZygoteReport(BaseModel):
    """An interpreter with its imports done, from which one owner's workers in one environment start."""

    environment_digest: str
    owner_id: str
    pid: int
    memory_bytes: int
    modules: int
    sandboxes: int


class RunnerReport(BaseModel):
    """A runner as a whole. Memory in bytes; `memory_promised` is the sum of its workers' limits."""

    slots: int
    busy: int
    devices: list[str]
    draining: bool
    memory_bytes: int
    memory_promised: int
    memory_used: int
    workers: list[WorkerReport]
    zygotes: list[ZygoteReport] = []
    gpus: list[GpuState] = []
    cold_starts: int
    """Runs of the last hour that waited for a worker to start."""
    warm_starts: int
    """Those that found one ready."""
