"""Runs: what was asked for (immutable, by the api) and what became of it (by the runner)."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar, Literal

from pydantic import BaseModel

from vitrine_common.documents.base import LONG_AGO, Document, Index, WorkDocument
from vitrine_common.fairness import Flow
from vitrine_common.states import Reason, RunState


class Output(BaseModel):
    """One result. Either `value` (canonical JSON) or a stored file (`digest`) is set."""

    name: str
    type: str
    value: str | None = None
    digest: str | None = None
    size: int | None = None
    media_type: str | None = None
    filename: str | None = None


class Timings(BaseModel):
    """Where the time went, in milliseconds; None where it does not apply."""

    queued_ms: float | None = None
    start_ms: float | None = None
    compute_ms: float | None = None
    save_ms: float | None = None
    total_ms: float | None = None


class CallOutcome(BaseModel):
    """How a synchronous call ended; it was answered before it was written down here."""

    state: RunState
    reason: Reason | None = None
    message: str = ""
    cold: bool | None = None
    outputs: list[Output] = []
    timings: Timings = Timings()
    finished_at: datetime
    runner: str | None = None


class RunRequest(Document):
    """An accepted request. Its id is the run's id.

    `inputs` is the canonical JSON of the checked values by input name; a file-like value is an object
    `{"digest", "size", "media_type", "filename"}` whose bytes are stored. Tensors of a synchronous call stand
    there as `tensor:NAME`, described and not stored.
    """

    COLLECTION: ClassVar[str] = "run_requests"
    WRITER: ClassVar[str] = "api"
    TELLS: ClassVar[bool] = True
    INDEXES: ClassVar[tuple[Index, ...]] = (
        Index(keys=(("version_id", 1), ("created_at", -1))),
        Index(keys=(("link_id", 1), ("visitor_id", 1), ("created_at", -1))),
        Index(keys=(("link_id", 1), ("created_at", -1))),
        Index(keys=(("owner_id", 1), ("created_at", -1))),
        Index(keys=(("expires_at", 1),)),
    )

    version_id: str
    version_digest: str
    environment_digest: str
    owner_id: str
    user_id: str | None = None
    link_id: str | None = None
    visitor_id: str | None = None
    blind: bool = False
    """By a blind link: its single run is nobody's to see but the visitor's."""
    hooked: bool = False
    """Whether an address of its own is told of it (`RunHook`)."""
    inputs: str
    device: Literal["cpu", "gpu"] = "cpu"
    gpus: int = 0
    """GPUs that the run needs, and of each so many bytes; 0 bytes: the whole of it."""
    gpu_memory: int = 0
    expires_at: datetime
    trace: dict[str, str] = {}
    call: CallOutcome | None = None
    """Of a synchronous call, which waits for no runner any more."""

    @property
    def flow(self) -> Flow:
        """With whom the run shares a place in the queue."""
        return Flow(self.owner_id, self.link_id or self.user_id or "", self.version_id)


class IdempotencyKey(Document):
    """A request that may be sent again and makes one run. `_id` is a hash of its sender and key."""

    COLLECTION: ClassVar[str] = "idempotency_keys"
    WRITER: ClassVar[str] = "api"
    INDEXES: ClassVar[tuple[Index, ...]] = (Index(keys=(("expires_at", 1),)),)

    run_id: str
    fingerprint: str
    """Digest of what was asked: the same key may not ask for something else."""
    expires_at: datetime


class Conditions(BaseModel):
    """What a run ran on, as the runner found it; nothing here names one host among equal ones."""

    engine: str
    image: str | None = None
    """Digest of the container image, where the engine uses one."""
    harness: str
    """Digest of the code that ran inside the sandbox."""
    platform: str
    cpu: str | None = None
    cores: int | None = None
    memory_bytes: int | None = None
    gpus: list[str] = []
    cpu_limit: float | None = None
    memory_limit: int | None = None


class Run(WorkDocument):
    """What became of a request."""

    COLLECTION: ClassVar[str] = "runs"
    WRITER: ClassVar[str] = "runner"
    TELLS: ClassVar[bool] = True
    INDEXES: ClassVar[tuple[Index, ...]] = (
        Index(keys=(("version_id", 1), ("state", 1), ("created_at", -1))),
        Index(keys=(("link_id", 1), ("state", 1), ("created_at", -1))),
        Index(keys=(("owner_id", 1), ("state", 1), ("created_at", -1))),
        Index(keys=(("state", 1), ("lease_expires_at", 1))),
        Index(keys=(("state", 1), ("device", 1), ("flow", 1), ("created_at", 1))),
        Index(keys=(("device", 1), ("started_at", -1))),
    )

    version_id: str
    version_digest: str
    owner_id: str
    link_id: str | None = None
    visitor_id: str | None = None
    blind: bool = False
    """As the request's, like the next six."""
    flow: str = ""
    environment_digest: str = ""
    device: Literal["cpu", "gpu"] = "cpu"
    gpus: int = 0
    gpu_memory: int = 0
    expires_at: datetime = LONG_AGO
    state: RunState = RunState.QUEUED
    reason: Reason | None = None
    message: str = ""
    cancel_requested: bool = False
    cold: bool | None = None
    outputs: list[Output] = []
    timings: Timings = Timings()
    exit_code: int | None = None
    peak_memory_bytes: int | None = None
    log_tail: str = ""
    conditions: Conditions | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    runner: str | None = None
    synchronous: bool = False
    """Whether it was a synchronous call. Its receipt is issued when somebody asks for it."""

    def output_values(self) -> dict[str, Any]:
        """Return the JSON texts of the outputs that are values, by name."""
        return {output.name: output.value for output in self.outputs if output.value is not None}
