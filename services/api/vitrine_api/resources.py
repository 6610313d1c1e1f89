"""The JSON shapes of the API."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, Field

from vitrine_api.monitoring import Percentiles
from vitrine_common.documents import (
    BuildProblem,
    Lineage,
)
from vitrine_common.documents.run import Timings
from vitrine_common.states import Reason, RunState, TrialState, VersionState

R = TypeVar("R")
API = "/api/v1"


class Listed(BaseModel, Generic[R]):
    """A page of a list; `next` goes into `after` of the next request."""

    items: list[R]
    next: str | None = None


class QuotaOut(BaseModel):
    """A quota of an account, and what is used of it."""

    name: str
    title: str
    unit: str
    used: int
    limit: int


class AccountOut(BaseModel):
    """An account, for itself."""

    id: str
    email: str
    name: str
    operator: bool = False
    roles: list[str] = []
    scopes: list[str]
    quotas: list[QuotaOut] = []


class TokenOut(BaseModel):
    """An API token; `token` is its secret, shown once."""

    id: str
    label: str
    scopes: list[str]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    token: str | None = None


class InviteOut(BaseModel):
    """An invite; `code` and `url` are shown once."""

    id: str
    email: str | None
    created_at: datetime
    expires_at: datetime
    model: str = ""
    """What it lets its taker work on; empty for an invite to the instance."""
    roles: list[str] = []
    used: bool
    code: str | None = None
    url: str | None = None


class ModelOut(BaseModel):
    """A model."""

    id: str
    owner: str
    name: str
    reference: str
    description: str
    last_number: int
    created_at: datetime


class VersionOut(BaseModel):
    """A version; `inputs` and `outputs` are the effective ones, as they are written in vitrine.yaml."""

    id: str
    reference: str
    owner: str
    model: str
    number: int
    digest: str
    state: VersionState
    spec: dict[str, Any]
    inputs: list[dict[str, Any]]
    outputs: list[dict[str, Any]]
    file_count: int
    total_bytes: int
    build_id: str | None
    environment_digest: str | None
    build_problem: BuildProblem | None
    warnings: list[str]
    lineage: Lineage | None
    created_at: datetime
    updated_at: datetime | None
    events_url: str


class ModelWithLatest(ModelOut):
    """A model with its newest version that is ready, else its newest."""

    latest: VersionOut | None


class OutputOut(BaseModel):
    """One result: `value`, or a file at `url`."""

    name: str
    type: str
    value: Any = None
    digest: str | None = None
    size: int | None = None
    media_type: str | None = None
    filename: str | None = None
    url: str | None = None


class RunOut(BaseModel):
    """A run. Inputs, outputs, message and log of a visitor's run are for that visitor alone."""

    id: str
    state: RunState
    final: bool
    reason: Reason | None
    message: str
    version: str | None
    version_id: str | None
    version_digest: str
    link_id: str | None
    inputs: dict[str, Any]
    outputs: list[OutputOut]
    timings: Timings
    cold: bool | None
    attempt: int = Field(description="How often it was begun: more than once where a worker stopped.")
    exit_code: int | None
    peak_memory_bytes: int | None
    log_tail: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    expires_at: datetime
    url: str
    events_url: str
    visitor: str | None = Field(default=None, description="Send it as X-Vitrine-Visitor from now on.")
    webhook_secret: str | None = Field(
        default=None, description="What messages to the request's webhook are signed with; shown this once."
    )


class UseOut(BaseModel):
    """A blind link's use over some days: enough runs together that none stands out."""

    since: datetime = Field(serialization_alias="from")
    until: datetime = Field(serialization_alias="to")
    runs: int
    failed: int
    p50_ms: float | None
    p95_ms: float | None


class LinkOut(BaseModel):
    """A share link; `token`, `url`, `embed_url`, `passcode` and `warnings` are shown once.

    Of a blind link `runs_used` counts what `use` tells, and `opened` is not told.
    """

    id: str
    label: str
    recipient: str
    group_id: str
    access: Literal["public", "link", "restricted"]
    passcode_set: bool
    emails: list[str]
    blind: bool
    embed_origins: list[str]
    version: str | None
    version_id: str
    version_digest: str
    token_hint: str
    expires_at: datetime | None
    max_runs: int | None
    runs_used: int
    rate_runs: int | None
    rate_seconds: int
    max_input_bytes: int | None
    opened: int | None
    use: list[UseOut]
    paused: bool
    revoked_at: datetime | None
    state: Literal["active", "paused", "expired", "revoked", "used_up"]
    created_at: datetime
    token: str | None = None
    url: str | None = None
    embed_url: str | None = None
    passcode: str | None = None
    warnings: list[str] = []


class LinkView(BaseModel):
    """What a link's holder may know: nothing about its owner, whose note the label is."""

    model: str
    version_digest: str
    description: str
    state: Literal["active", "used_up"]
    inputs: list[dict[str, Any]]
    outputs: list[dict[str, Any]]
    runs_left: int | None = Field(description="Null without a limit, and for blind links until none is left.")
    expires_at: datetime | None
    max_input_bytes: int | None


class PassOut(BaseModel):
    """A pass for a restricted link; send `secret` as `X-Vitrine-Pass`."""

    secret: str
    expires_at: datetime


class TrialOut(BaseModel):
    """A training."""

    id: str
    state: TrialState
    final: bool
    reason: Reason | None
    message: str
    owner: str
    model: str
    source_digest: str
    environment_digest: str | None
    metrics: dict[str, float]
    outputs: list[OutputOut]
    peak_memory_bytes: int | None
    exit_code: int | None
    log_tail: str
    version_id: str | None
    version_digest: str | None
    version: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    url: str
    events_url: str


class CheckpointOut(BaseModel):
    """A checkpoint of a trial."""

    path: str
    digest: str
    size: int
    created_at: datetime


class WindowOut(BaseModel):
    """Which runs a summary is about: the newest `limit`."""

    runs: int
    limit: int
    since: datetime | None = Field(serialization_alias="from")
    until: datetime | None = Field(serialization_alias="to")


class MonitorOut(BaseModel):
    """How a version does."""

    version: str
    version_id: str
    window: WindowOut
    outcomes: dict[str, int]
    reasons: dict[str, int]
    cold_starts: int
    latency_ms: dict[str, Percentiles]
    predictions: dict[str, dict[str, int]]
