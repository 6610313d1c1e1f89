"""The JSON shapes of claims and checks, and what is told to whom."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from pydantic import BaseModel, Field

from vitrine_api.claims.checks import CheckRecord
from vitrine_api.claims.repository import Tally
from vitrine_api.claims.sight import ClaimSight
from vitrine_common.documents import CheckDataset, ClaimCheck, DatasetVersion, Version
from vitrine_common.documents.run import Conditions
from vitrine_common.spec import Claim
from vitrine_common.states import VERDICTS, ClaimState, Reason


class DatasetOut(BaseModel):
    """A version of a dataset."""

    id: str
    reference: str
    owner: str
    name: str
    number: int
    digest: str
    file_count: int
    total_bytes: int
    private: bool
    created_at: datetime


class DatasetFileOut(BaseModel):
    """A file of a dataset."""

    path: str
    digest: str
    size: int


class DatasetDetail(DatasetOut):
    """A version of a dataset with its files."""

    files: list[DatasetFileOut]


class ClaimDatasetOut(BaseModel):
    """What a claim is checked on. A private dataset is told by name and digest alone."""

    name: str
    digest: str
    private: bool


class ExtendOut(BaseModel):
    """Which files of one's own a claim takes."""

    max_files: int
    max_bytes: int
    accept: list[str]
    label: str | None


class TallyOut(BaseModel):
    """How the checks of a claim ended, everybody's together; those with files of somebody's own apart."""

    reproduced: int = 0
    differs: int = 0
    failed: int = 0
    last_day: date | None = None


class LastOut(BaseModel):
    """The newest check that gave a number."""

    state: ClaimState
    measured: float | None
    spread: float | None
    day: date | None


class ClaimOut(BaseModel):
    """A claim of a version, and how its checks ended."""

    name: str
    statement: str
    row: str
    column: str | None
    expected: float
    tolerance: float = Field(description="The distance that is allowed around `expected`.")
    direction: str | None
    unit: str | None
    repeats: int
    metric: dict[str, str] | None
    command: str | None
    dataset: ClaimDatasetOut | None
    extend: ExtendOut | None
    tally: TallyOut | None
    last: LastOut | None


class RepeatOut(BaseModel):
    """One execution of a claim's command."""

    value: float | None
    reason: Reason | None
    message: str
    duration_ms: float | None
    exit_code: int | None
    peak_memory_bytes: int | None
    log_tail: str


class OwnInputOut(BaseModel):
    """A file that was added to the dataset."""

    name: str
    filename: str
    size: int
    label: str | None


class CheckOut(BaseModel):
    """The check of a claim."""

    id: str
    claim: str
    statement: str
    state: ClaimState
    final: bool
    verdict: ClaimState | None
    reason: Reason | None
    message: str
    ahead: int | None = Field(description="Checks that wait before this one.")
    expected: float
    tolerance: float
    unit: str | None
    measured: float | None
    spread: float | None
    repeats: list[RepeatOut]
    repeats_wanted: int
    own_inputs: list[OwnInputOut]
    own_inputs_count: int
    dataset: ClaimDatasetOut | None
    version: str | None
    version_digest: str
    environment_digest: str
    hardware: Conditions | None
    peak_memory_bytes: int | None
    link_id: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    duration_ms: float | None
    url: str
    events_url: str
    receipt_url: str | None
    visitor: str | None = Field(default=None, description="Send it as X-Vitrine-Visitor from now on.")


def dataset_out(version: DatasetVersion) -> DatasetOut:
    """Describe a dataset to its owner."""
    told = version.model_dump(include=set(DatasetOut.model_fields))
    return DatasetOut(**told, reference=version.reference)


def claim_dataset_out(sight: ClaimSight, dataset: CheckDataset | None) -> ClaimDatasetOut | None:
    """Describe a claim's dataset to whoever may check the claim."""
    if dataset is None:
        return None
    return ClaimDatasetOut(
        name=sight.dataset_name(dataset),
        digest=sight.digest("dataset", dataset.digest),
        private=bool(dataset.private),
    )


def claim_out(
    sight: ClaimSight,
    claim: Claim,
    dataset: CheckDataset | None,
    tally: Tally | None,
    last: ClaimCheck | None,
) -> ClaimOut:
    """Describe a claim and its history."""
    extend = claim.extend
    return ClaimOut(
        name=claim.name,
        statement=claim.statement,
        row=claim.row or claim.name,
        column=claim.column,
        expected=claim.expected,
        tolerance=claim.allowance.around(claim.expected),
        direction=claim.direction,
        unit=claim.unit,
        repeats=claim.repeats,
        metric=None if sight.is_blind else claim.metric.model_dump(),
        command=None if sight.is_blind else claim.command,
        dataset=claim_dataset_out(sight, dataset),
        extend=ExtendOut(**extend.model_dump(include=set(ExtendOut.model_fields))) if extend else None,
        tally=tally_out(tally) if sight.shows_history else None,
        last=_last_out(last) if last is not None and sight.shows_history else None,
    )


def tally_out(tally: Tally | None) -> TallyOut:
    """Describe how checks ended."""
    if tally is None:
        return TallyOut()
    return TallyOut(**tally.counts, last_day=tally.last.date() if tally.last else None)


def _last_out(check: ClaimCheck) -> LastOut:
    day = check.finished_at.date() if check.finished_at else None
    return LastOut(state=check.state, measured=check.measured, spread=check.spread, day=day)


def check_out(sight: ClaimSight, record: CheckRecord, base: str, version: Version | None = None) -> CheckOut:
    """Describe a check as far as the reader may know; `base` is where the addresses of checks begin."""
    request, check, claim = record.request, record.check, record.claim
    url = f"{base}/{request.id}"
    may_open, numbers = sight.may_open(record), check is not None and sight.shows_numbers(record)
    texts = sight.shows_texts(record)
    verdict = record.state if record.state in VERDICTS and numbers else None
    return CheckOut(
        id=request.id,
        claim=claim.name,
        statement=claim.statement,
        state=record.state,
        final=record.final,
        verdict=verdict,
        reason=check.reason if check else None,
        message=check.message if check and texts else "",
        ahead=record.ahead,
        expected=claim.expected,
        tolerance=claim.allowance.around(claim.expected),
        unit=claim.unit,
        measured=check.measured if check and numbers else None,
        spread=check.spread if check and numbers else None,
        repeats=_repeats(check, texts=texts) if check and numbers else [],
        repeats_wanted=claim.repeats,
        own_inputs=[
            OwnInputOut(**item.model_dump(exclude={"digest"})) for item in request.own_inputs if may_open
        ],
        own_inputs_count=len(request.own_inputs),
        dataset=claim_dataset_out(sight, request.dataset),
        version=version.reference if version else None,
        version_digest=sight.digest("bundle", request.version_digest),
        environment_digest=sight.digest("environment", request.environment_digest),
        hardware=check.conditions if check else None,
        peak_memory_bytes=check.peak_memory_bytes if check else None,
        link_id=request.link_id if version else None,
        created_at=request.created_at,
        started_at=check.started_at if check else None,
        finished_at=check.finished_at if check else None,
        duration_ms=duration_of(check),
        url=url,
        events_url=f"{url}/events",
        receipt_url=f"{url}/receipt" if verdict is not None and may_open else None,
    )


def _repeats(check: ClaimCheck, *, texts: bool) -> list[RepeatOut]:
    hidden: dict[str, Any] = {} if texts else {"message": "", "log_tail": ""}
    return [RepeatOut(**{**repeat.model_dump(), **hidden}) for repeat in check.repeats]


def duration_of(check: ClaimCheck | None) -> float | None:
    """Return how long a check was worked on, in milliseconds."""
    if check is None or check.started_at is None or check.finished_at is None:
        return None
    return (check.finished_at - check.started_at).total_seconds() * 1000
