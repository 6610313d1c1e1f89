"""What the platform answers, typed. Fields that a newer platform adds are kept, too."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field


class Result(BaseModel):
    """Base of the answers; `document()` is the answer as it came."""

    model_config = ConfigDict(frozen=True, extra="allow", protected_namespaces=())

    def document(self) -> dict[str, Any]:
        """Return the answer as plain JSON."""
        return self.model_dump(mode="json")


R = TypeVar("R", bound=Result)


class Page(Result, Generic[R]):
    """A part of a list, newest first; `next` is the `after` of the next part."""

    items: tuple[R, ...] = ()
    next: str | None = None


class Login(Result):
    """A fresh token; it is shown only here."""

    token: str
    token_id: str
    email: str
    name: str = ""
    operator: bool = False
    expires_at: datetime | None = None


class Quota(Result):
    """One quota of an account, and what is used of it."""

    name: str
    title: str
    unit: str
    used: int
    limit: int


class Account(Result):
    """Who is logged in, what the token may do, and what is used of the quotas."""

    id: str
    email: str
    name: str = ""
    operator: bool = False
    roles: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    quotas: tuple[Quota, ...] = ()


class ApiToken(Result):
    """An API token; `token` is set only in the answer that made it."""

    id: str
    label: str = ""
    scopes: tuple[str, ...] = ()
    created_at: datetime | None = None
    expires_at: datetime | None = None
    last_used_at: datetime | None = None
    token: str | None = None


class Invite(Result):
    """An invitation; `code` and `url` are shown only to the one who made it."""

    id: str
    code: str | None = None
    url: str | None = None
    email: str | None = None
    expires_at: datetime | None = None


class BuildProblem(Result):
    """Why an environment could not be made."""

    reason: str = ""
    message: str = ""
    culprit: str | None = None
    log_tail: str = ""


class Version(Result):
    """A model version. `state` is building, ready or build_failed."""

    id: str
    reference: str
    owner: str
    model: str
    number: int | None = None
    digest: str
    state: str
    inputs: list[dict[str, Any]] = Field(default_factory=list)
    outputs: list[dict[str, Any]] = Field(default_factory=list)
    file_count: int = 0
    total_bytes: int = 0
    environment_digest: str | None = None
    build_problem: BuildProblem | None = None
    warnings: list[str] = Field(default_factory=list)
    created_at: datetime | None = None
    events_url: str | None = None

    @property
    def is_ready(self) -> bool:
        """Tell whether it can be run."""
        return self.state == "ready"


class Model(Result):
    """A model: the name that versions share."""

    id: str
    owner: str
    name: str
    reference: str
    description: str | None = None
    last_number: int | None = None
    created_at: datetime | None = None
    latest: Version | None = None


class Output(Result):
    """One output of a run: a JSON `value`, or a file behind `url`. Sizes in bytes."""

    name: str
    type: str
    value: Any = None
    digest: str | None = None
    size: int | None = None
    media_type: str | None = None
    filename: str | None = None
    url: str | None = None


class Work(Result):
    """What runs and ends: a run or a training."""

    id: str
    state: str
    final: bool = False
    reason: str | None = None
    message: str | None = None
    version: str | None = None
    exit_code: int | None = None
    peak_memory_bytes: int | None = None
    log_tail: str | None = None
    created_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    events_url: str | None = None

    @property
    def succeeded(self) -> bool:
        """Tell whether it ended well."""
        return self.state == "succeeded"


class Run(Work):
    """One execution of a version. Timings are milliseconds."""

    inputs: dict[str, Any] = Field(default_factory=dict)
    outputs: list[Output] = Field(default_factory=list)
    timings: dict[str, Any] = Field(default_factory=dict)
    cold: bool | None = None
    attempt: int = 1
    version_digest: str | None = None
    visitor: str | None = None
    webhook_secret: str | None = None
    """What messages to the webhook of the request are signed with; only in the answer to it."""


class Trial(Work):
    """One training; `version` is what it registered."""

    owner: str | None = None
    model: str | None = None
    metrics: dict[str, Any] = Field(default_factory=dict)
    outputs: list[dict[str, Any]] = Field(default_factory=list)
    version_id: str | None = None
    version_digest: str | None = None


class Link(Result):
    """A share link; `token`, `url`, `passcode` and `warnings` are set only in the answer that made it."""

    id: str
    label: str | None = None
    recipient: str = ""
    group_id: str = ""
    access: str = "link"
    blind: bool = False
    emails: tuple[str, ...] = ()
    rate_runs: int | None = None
    rate_seconds: int = 3600
    max_input_bytes: int | None = None
    opened: int | None = None
    paused: bool = False
    version: str | None = None
    version_digest: str | None = None
    token_hint: str | None = None
    expires_at: datetime | None = None
    max_runs: int | None = None
    runs_used: int = 0
    state: str = "active"
    created_at: datetime | None = None
    token: str | None = None
    url: str | None = None
    embed_url: str | None = None
    passcode: str | None = None
    warnings: tuple[str, ...] = ()


class SharedModel(Result):
    """What a link shows to whoever holds it."""

    model: str | None = None
    label: str | None = None
    description: str | None = None
    version_digest: str | None = None
    state: str = ""
    inputs: list[dict[str, Any]] = Field(default_factory=list)
    outputs: list[dict[str, Any]] = Field(default_factory=list)
    runs_left: int | None = None
    expires_at: datetime | None = None


class Monitoring(Result):
    """What the last runs of a version were like. Latencies are milliseconds."""

    version: str
    version_id: str
    window: dict[str, Any] = Field(default_factory=dict)
    outcomes: dict[str, int] = Field(default_factory=dict)
    reasons: dict[str, int] = Field(default_factory=dict)
    cold_starts: int = 0
    latency_ms: dict[str, dict[str, float | None]] = Field(default_factory=dict)
    predictions: dict[str, dict[str, int]] = Field(default_factory=dict)


class PlatformStatus(Result):
    """Which services and servers answer."""

    services: dict[str, dict[str, Any]] = Field(default_factory=dict)
    servers: dict[str, dict[str, Any]] = Field(default_factory=dict)


class Dataset(Result):
    """A version of a dataset; `files` only where it was asked for by itself."""

    id: str
    reference: str
    name: str
    number: int
    digest: str
    file_count: int = 0
    total_bytes: int = 0
    private: bool = False
    created_at: datetime | None = None
    files: tuple[dict[str, Any], ...] = ()


class Claim(Result):
    """A claim of a version, and how its checks ended."""

    name: str
    statement: str = ""
    row: str = ""
    column: str | None = None
    expected: float
    tolerance: float = 0.0
    unit: str | None = None
    repeats: int = 1
    extend: dict[str, Any] | None = None
    tally: dict[str, Any] | None = None


class Check(Result):
    """The check of a claim; `verdict` is set once there is one."""

    id: str
    claim: str
    state: str
    final: bool = False
    verdict: str | None = None
    reason: str | None = None
    message: str = ""
    ahead: int | None = None
    expected: float
    tolerance: float = 0.0
    unit: str | None = None
    measured: float | None = None
    spread: float | None = None
    repeats: tuple[dict[str, Any], ...] = ()
    repeats_wanted: int = 1
    own_inputs_count: int = 0
    duration_ms: float | None = None
    environment_digest: str = ""
    receipt_url: str | None = None
    visitor: str | None = None

    @property
    def reproduced(self) -> bool:
        """Whether the claim holds."""
        return self.verdict == "reproduced"
