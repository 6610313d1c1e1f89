"""The JSON shapes of the API: what is told of each resource, and to whom."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, Field

from vitrine_api.links import link_state
from vitrine_api.monitoring import WINDOW, Percentiles, Summary
from vitrine_api.policy import Action, Principal, allows
from vitrine_api.runs import RunRecord
from vitrine_api.training import TrialRecord
from vitrine_common.documents import (
    ApiToken,
    BuildProblem,
    Checkpoint,
    Invite,
    Lineage,
    Model,
    Output,
    ScoringRecord,
    ShareLink,
    Version,
)
from vitrine_common.documents.run import Timings
from vitrine_common.spec import Spec
from vitrine_common.states import Reason, RunState, TrialState, VersionState

R = TypeVar("R")
API = "/api/v1"


class Listed(BaseModel, Generic[R]):
    """A page of a list; `next` goes into `after` of the next request."""

    items: list[R]
    next: str | None = None


class AccountOut(BaseModel):
    """An account, for itself."""

    id: str
    email: str
    name: str
    operator: bool = False
    scopes: list[str]


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


class LinkOut(BaseModel):
    """A share link; `token` and `url` are shown once."""

    id: str
    label: str
    access: Literal["public", "link"]
    version: str | None
    version_id: str
    version_digest: str
    token_hint: str
    expires_at: datetime | None
    max_runs: int | None
    runs_used: int
    revoked_at: datetime | None
    state: Literal["active", "expired", "revoked", "used_up"]
    created_at: datetime
    token: str | None = None
    url: str | None = None


class LinkView(BaseModel):
    """What a link's holder may know: nothing about its owner, whose note the label is."""

    model: str
    version_digest: str
    description: str
    state: Literal["active", "used_up"]
    inputs: list[dict[str, Any]]
    outputs: list[dict[str, Any]]
    runs_left: int | None
    expires_at: datetime | None


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


def token_out(token: ApiToken, secret: str | None = None) -> TokenOut:
    """Describe a token."""
    return TokenOut(**token.model_dump(include=set(TokenOut.model_fields) - {"token"}), token=secret)


def invite_out(invite: Invite, code: str | None = None, base_url: str = "") -> InviteOut:
    """Describe an invite."""
    url = f"{base_url}/signup?invite={code}" if code else None
    told = invite.model_dump(include={"id", "email", "created_at", "expires_at"})
    return InviteOut(**told, used=invite.used_by is not None, code=code, url=url)


def model_out(model: Model) -> ModelOut:
    """Describe a model."""
    told = model.model_dump(include=set(ModelOut.model_fields))
    return ModelOut(**told, reference=f"{model.owner}/{model.name}")


def interface(version: Version) -> dict[str, list[dict[str, Any]]]:
    """Return the effective inputs and outputs."""
    spec = Spec.model_validate(version.spec)
    return {
        "inputs": [_plain(item) for item in spec.effective_inputs()],
        "outputs": [_plain(item) for item in spec.effective_outputs()],
    }


def _plain(section: BaseModel) -> dict[str, Any]:
    return section.model_dump(mode="json", by_alias=True, exclude_none=True)


def version_out(version: Version) -> VersionOut:
    """Describe a version."""
    told = version.model_dump(include=set(VersionOut.model_fields))
    url = f"{API}/versions/{version.id}/events"
    return VersionOut(**told, **interface(version), reference=version.reference, events_url=url)


def run_out(
    principal: Principal, record: RunRecord, base: str = f"{API}/runs", version: Version | None = None
) -> RunOut:
    """Describe a run as far as `principal` may know; `base` is where its addresses begin."""
    request, run = record.request, record.run
    may_open = allows(principal, Action.OPEN, request)
    is_member = version is not None
    url = f"{base}/{request.id}"
    outputs = run.outputs if run is not None and may_open else []
    return RunOut(
        id=request.id,
        state=record.state,
        final=record.final,
        reason=run.reason if run else None,
        message=run.message if run and may_open else "",
        version=version.reference if version else None,
        version_id=request.version_id if is_member else None,
        version_digest=request.version_digest,
        link_id=request.link_id if is_member else None,
        inputs=json.loads(request.inputs) if may_open else {},
        outputs=outputs_out(outputs, url),
        timings=run.timings if run else Timings(),
        cold=run.cold if run else None,
        exit_code=run.exit_code if run else None,
        peak_memory_bytes=run.peak_memory_bytes if run else None,
        log_tail=run.log_tail if run and may_open else "",
        created_at=request.created_at,
        started_at=run.started_at if run else None,
        finished_at=run.finished_at if run else None,
        expires_at=request.expires_at,
        url=url,
        events_url=f"{url}/events",
    )


def outputs_out(outputs: list[Output], url: str) -> list[OutputOut]:
    """Describe outputs; several files of one name are told apart by `index`."""
    seen: dict[str, int] = {}
    described = []
    for output in outputs:
        index = seen[output.name] = seen.get(output.name, -1) + 1
        address = f"{url}/outputs/{output.name}" + (f"?index={index}" if index else "")
        told = output.model_dump(exclude={"value"})
        value = None if output.value is None else json.loads(output.value)
        described.append(OutputOut(**told, value=value, url=address if output.digest else None))
    return described


def link_out(
    link: ShareLink, version: Version | None, token: str | None = None, base_url: str = ""
) -> LinkOut:
    """Describe a link to its owner."""
    told = link.model_dump(include=set(LinkOut.model_fields) - {"token", "url"})
    return LinkOut(
        **told,
        version=version.reference if version else None,
        state=link_state(link),
        token=token,
        url=f"{base_url}/s/{token}" if token else None,
    )


def link_view(link: ShareLink, version: Version) -> LinkView:
    """Describe a link to its holder."""
    left = None if link.max_runs is None else max(0, link.max_runs - link.runs_used)
    return LinkView(
        model=version.model,
        version_digest=version.digest,
        description=str(version.spec.get("description") or ""),
        state="used_up" if left == 0 else "active",
        runs_left=left,
        expires_at=link.expires_at,
        **interface(version),
    )


def trial_out(record: TrialRecord) -> TrialOut:
    """Describe a training."""
    request, trial = record.request, record.trial
    url = f"{API}/trials/{request.id}"
    version = record.version
    return TrialOut(
        id=request.id,
        state=record.state,
        final=record.final,
        reason=trial.reason if trial else None,
        message=trial.message if trial else "",
        owner=request.owner,
        model=request.model,
        source_digest=request.manifest_digest,
        environment_digest=trial.environment_digest if trial else None,
        metrics=trial.metrics if trial else {},
        outputs=outputs_out(trial.outputs, url) if trial else [],
        peak_memory_bytes=trial.peak_memory_bytes if trial else None,
        exit_code=trial.exit_code if trial else None,
        log_tail=trial.log_tail if trial else "",
        version_id=version.id if version else (trial.version_id if trial else None),
        version_digest=trial.version_digest if trial else None,
        version=version.reference if version else None,
        created_at=request.created_at,
        started_at=trial.started_at if trial else None,
        finished_at=trial.finished_at if trial else None,
        url=url,
        events_url=f"{url}/events",
    )


def checkpoint_out(checkpoint: Checkpoint) -> CheckpointOut:
    """Describe a checkpoint."""
    return CheckpointOut(**checkpoint.model_dump(include=set(CheckpointOut.model_fields)))


def monitor_out(version: Version, summary: Summary) -> MonitorOut:
    """Describe how a version does."""
    window = WindowOut(runs=summary.runs, limit=WINDOW, since=summary.since, until=summary.until)
    return MonitorOut(
        version=version.reference,
        version_id=version.id,
        window=window,
        outcomes=summary.outcomes,
        reasons=summary.reasons,
        cold_starts=summary.cold_starts,
        latency_ms=summary.latency_ms,
        predictions=summary.predictions,
    )


def scoring_out(record: ScoringRecord) -> dict[str, Any]:
    """Describe a scoring record; raw values, kept for a while by the monitor, are left out."""
    return record.model_dump(mode="json", exclude={"raw_inputs", "raw_expires_at"})
