"""Checks of claims: what was asked for (immutable, by the api) and what became of it (by the runner)."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar, Literal

from pydantic import BaseModel

from vitrine_common.documents.base import Document, Index, WorkDocument
from vitrine_common.documents.run import Conditions
from vitrine_common.states import ClaimState, Reason


class CheckDataset(BaseModel):
    """The pushed dataset of a check: `digest` names its manifest, `name` its directory below `/data`."""

    name: str
    number: int
    digest: str
    private: bool = False


class OwnInput(BaseModel):
    """A file that whoever asked for the check added to the dataset."""

    name: str
    """Its name in the dataset, chosen by the platform."""
    filename: str
    digest: str
    size: int
    label: str | None = None


class ClaimCheckRequest(Document):
    """An accepted wish to have a claim checked. Its id is the check's id.

    `claim` is the canonical JSON of the claim as the version states it.
    """

    COLLECTION: ClassVar[str] = "claim_requests"
    WRITER: ClassVar[str] = "api"
    TELLS: ClassVar[bool] = True
    INDEXES: ClassVar[tuple[Index, ...]] = (
        Index(keys=(("version_id", 1), ("created_at", -1))),
        Index(keys=(("link_id", 1), ("visitor_id", 1), ("created_at", -1))),
        Index(keys=(("owner_id", 1), ("created_at", -1))),
        Index(keys=(("created_at", 1),)),
    )

    version_id: str
    version_digest: str
    environment_digest: str
    owner_id: str
    user_id: str | None = None
    link_id: str | None = None
    visitor_id: str | None = None
    blind: bool = False
    """By a blind link: the single check is nobody's to see but the visitor's."""
    claim_name: str
    claim: str
    dataset: CheckDataset | None = None
    own_inputs: list[OwnInput] = []
    device: Literal["cpu", "gpu"] = "cpu"
    expires_at: datetime
    trace: dict[str, str] = {}


class Repeat(BaseModel):
    """One execution of a claim's command."""

    value: float | None = None
    """The number that it gave; None when it failed."""
    reason: Reason | None = None
    message: str = ""
    duration_ms: float | None = None
    exit_code: int | None = None
    peak_memory_bytes: int | None = None
    log_tail: str = ""


class ClaimCheck(WorkDocument):
    """What became of a wish to have a claim checked."""

    COLLECTION: ClassVar[str] = "claim_checks"
    WRITER: ClassVar[str] = "runner"
    TELLS: ClassVar[bool] = True
    INDEXES: ClassVar[tuple[Index, ...]] = (
        Index(keys=(("state", 1), ("created_at", 1))),
        Index(keys=(("state", 1), ("lease_expires_at", 1))),
        Index(keys=(("version_id", 1), ("tally", 1))),
        Index(keys=(("version_id", 1), ("finished_at", -1))),
        Index(keys=(("finished_at", 1),)),
    )

    version_id: str
    claim_name: str
    link_id: str | None = None
    blind: bool = False
    device: Literal["cpu", "gpu"] = "cpu"
    own_inputs: int = 0
    expires_at: datetime
    state: ClaimState = ClaimState.QUEUED
    reason: Reason | None = None
    message: str = ""
    cancel_requested: bool = False
    repeats: list[Repeat] = []
    expected: float | None = None
    tolerance: float | None = None
    measured: float | None = None
    spread: float | None = None
    peak_memory_bytes: int | None = None
    conditions: Conditions | None = None
    runner: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    tally: str = ""
    """`<claim>:<verdict>` of a check that counts in the claim's history; empty while it does not.

    That of a check by a blind link begins with `blind/`: it is told in groups alone.
    """
