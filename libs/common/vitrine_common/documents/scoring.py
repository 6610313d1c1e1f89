"""Scoring data: one record per run, without anybody's raw data beyond the configured retention."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from pydantic import BaseModel

from vitrine_common.documents.base import LONG_AGO, Document, Index
from vitrine_common.states import Reason, RunState


class InputSummary(BaseModel):
    """What one input was like: its type, size and a few facts, never its content.

    The digest of a file stays; that of a value, from which a short value could be guessed, is empty
    outside of the retention of raw values.
    """

    name: str
    type: str
    digest: str
    size: int
    facts: dict[str, float | int | str] = {}


class OutputSummary(BaseModel):
    """What one output was like. `prediction` is a label, for the distribution of predictions."""

    name: str
    type: str
    digest: str
    size: int
    prediction: str | None = None
    facts: dict[str, float | int | str] = {}


class ScoringRecord(Document):
    """The record of one run; `_id` is the run's id."""

    COLLECTION: ClassVar[str] = "scoring"
    WRITER: ClassVar[str] = "monitor"
    INDEXES: ClassVar[tuple[Index, ...]] = (
        Index(keys=(("version_id", 1), ("finished_at", -1))),
        Index(keys=(("raw_expires_at", 1),)),
        Index(keys=(("link_id", 1), ("finished_at", 1))),
    )

    version_id: str
    version_digest: str
    link_id: str | None = None
    outcome: RunState
    reason: Reason | None = None
    cold: bool | None = None
    queued_ms: float | None = None
    compute_ms: float | None = None
    total_ms: float | None = None
    peak_memory_bytes: int | None = None
    inputs: list[InputSummary] = []
    outputs: list[OutputSummary] = []
    finished_at: datetime
    raw_inputs: str | None = None
    raw_expires_at: datetime = LONG_AGO
