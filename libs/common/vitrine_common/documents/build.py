"""Builds and the environments that they make."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from vitrine_common.documents.base import Index, Leased, WorkDocument
from vitrine_common.documents.model import BuildProblem
from vitrine_common.messages.build import EnvironmentRequest
from vitrine_common.states import BuildState


class Build(WorkDocument):
    """One answer to `build.start`."""

    COLLECTION: ClassVar[str] = "builds"
    WRITER: ClassVar[str] = "builder"
    INDEXES: ClassVar[tuple[Index, ...]] = (Index(keys=(("state", 1), ("lease_expires_at", 1))),)

    request: EnvironmentRequest
    correlation_id: str | None = None
    trace: dict[str, str] = {}
    state: BuildState = BuildState.QUEUED
    step: str = "queued"
    environment_digest: str | None = None
    problem: BuildProblem | None = None
    timings_ms: dict[str, float] = {}
    reused: bool = False
    finished_at: datetime | None = None


class Environment(Leased):
    """An environment that exists; `_id` is its digest. `lock` is the requirements text with hashes."""

    COLLECTION: ClassVar[str] = "environments"
    WRITER: ClassVar[str] = "builder"

    lock: str
    packages: int
    python: str
    size_bytes: int = 0
    ready_at: datetime | None = None
