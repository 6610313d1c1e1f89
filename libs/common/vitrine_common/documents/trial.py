"""Training: the request (by the api), the trial, its metrics and its resource samples (by the trainer)."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from vitrine_common.documents.base import Document, Index, WorkDocument
from vitrine_common.documents.run import Output
from vitrine_common.states import Reason, TrialState


class TrainRequest(Document):
    """An accepted request to train. Its id is the trial's id; the manifest is the blob of its digest."""

    COLLECTION: ClassVar[str] = "train_requests"
    WRITER: ClassVar[str] = "api"
    TELLS: ClassVar[bool] = True
    INDEXES: ClassVar[tuple[Index, ...]] = (Index(keys=(("owner_id", 1), ("created_at", -1))),)

    owner_id: str
    owner: str
    model: str
    manifest_digest: str
    register_version: bool = True
    trace: dict[str, str] = {}


class Trial(WorkDocument):
    """What became of a training request."""

    COLLECTION: ClassVar[str] = "trials"
    WRITER: ClassVar[str] = "trainer"
    TELLS: ClassVar[bool] = True
    INDEXES: ClassVar[tuple[Index, ...]] = (
        Index(keys=(("owner_id", 1), ("created_at", -1))),
        Index(keys=(("state", 1), ("lease_expires_at", 1))),
        Index(keys=(("build_id", 1),)),
    )

    owner_id: str
    owner: str
    model: str
    source_digest: str
    state: TrialState = TrialState.QUEUED
    reason: Reason | None = None
    message: str = ""
    cancel_requested: bool = False
    build_id: str | None = None
    environment_digest: str | None = None
    outputs: list[Output] = []
    metrics: dict[str, float] = {}
    peak_memory_bytes: int | None = None
    exit_code: int | None = None
    log_tail: str = ""
    log_digest: str | None = None
    version_id: str | None = None
    version_digest: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None


class MetricPoint(Document):
    """Metrics that a trial logged at one step; `_id` is `<trial>:<attempt>:<sequence>`."""

    COLLECTION: ClassVar[str] = "trial_metrics"
    WRITER: ClassVar[str] = "trainer"
    INDEXES: ClassVar[tuple[Index, ...]] = (Index(keys=(("trial_id", 1), ("created_at", 1))),)

    trial_id: str
    attempt: int
    sequence: int
    step: float | None = None
    values: dict[str, float]


class ResourceSample(Document):
    """What a trial used in one second. GPU fields are None where NVML does not answer."""

    COLLECTION: ClassVar[str] = "trial_samples"
    WRITER: ClassVar[str] = "trainer"
    INDEXES: ClassVar[tuple[Index, ...]] = (Index(keys=(("trial_id", 1), ("created_at", 1))),)

    trial_id: str
    attempt: int
    sequence: int
    cpu_percent: float
    memory_bytes: int
    gpu_utilisation_percent: float | None = None
    gpu_memory_utilisation_percent: float | None = None
    gpu_framebuffer_bytes: int | None = None


class Checkpoint(Document):
    """A checkpoint stored while the trial ran; `_id` is `<trial>:<digest>`."""

    COLLECTION: ClassVar[str] = "checkpoints"
    WRITER: ClassVar[str] = "trainer"
    INDEXES: ClassVar[tuple[Index, ...]] = (Index(keys=(("trial_id", 1),)),)

    trial_id: str
    path: str
    digest: str
    size: int
