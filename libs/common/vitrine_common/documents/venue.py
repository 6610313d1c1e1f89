"""Venues: what a chair collects, who reviews it, and what they say."""

from __future__ import annotations

import secrets
from datetime import datetime
from typing import ClassVar, Literal

from pydantic import BaseModel, Field

from vitrine_common.documents.base import Document, Index, WorkDocument
from vitrine_common.states import ProbeState, VenueState

Automatic = Literal["", "builds", "runs", "claims"]


def new_key() -> str:
    """Return 256 random bits as text."""
    return secrets.token_hex(32)


class ChecklistItem(BaseModel):
    """One line of a venue's artifact checklist; `auto` names what the platform finds out by itself."""

    key: str
    title: str
    auto: Automatic = ""


class Venue(Document):
    """A call for submissions with a deadline, reviewers and a decision; `chair_id` is its chair's account.

    All tokens of a venue (for authors, reviewers, and of its share links) follow from `key`, so that they
    can be shown and mailed again; of each a hash is kept to find it by.
    """

    COLLECTION: ClassVar[str] = "venues"
    WRITER: ClassVar[str] = "api"
    INDEXES: ClassVar[tuple[Index, ...]] = (
        Index(keys=(("chair_id", 1), ("created_at", -1))),
        Index(keys=(("submit_hash", 1),), unique=True),
    )

    chair_id: str
    name: str
    description: str = ""
    state: VenueState = VenueState.OPEN
    deadline: datetime
    time_zone: str = "UTC"
    """In which the deadline is told: an IANA name, or `AoE`."""
    blind: bool = True
    """Whether reviewers do not learn who the authors are."""
    hidden_from_chair: bool = False
    """Whether the chair does not learn it either until un-blinding."""
    max_runs: int | None = None
    """Runs of each reviewer for each submission."""
    checklist: list[ChecklistItem] = []
    decisions: list[str] = []
    """What may be decided."""
    key: str = Field(default_factory=new_key)
    """256 random bits, told to nobody."""
    submit_hash: str
    last_number: int = 0
    decided_at: datetime | None = None
    unblinded_at: datetime | None = None
    revealed: bool = False
    """Whether reviewers learn the authors since un-blinding."""


class VenueSubmission(Document):
    """A version pinned for a venue by its author. `_id` follows from venue, author and paper id."""

    COLLECTION: ClassVar[str] = "venue_submissions"
    WRITER: ClassVar[str] = "api"
    INDEXES: ClassVar[tuple[Index, ...]] = (
        Index(keys=(("venue_id", 1), ("number", 1))),
        Index(keys=(("author_id", 1), ("created_at", -1))),
        Index(keys=(("version_id", 1),)),
    )

    venue_id: str
    chair_id: str
    author_id: str
    number: int
    paper_id: str
    title: str
    version_id: str
    version_digest: str
    conflicts: list[str] = []
    """Addresses and domains of those who must not review it, as the author declares them."""
    chair_link_id: str = ""
    """The link by which the chair looks at it, and checks are made."""
    decision: str = ""
    decision_note: str = ""
    """To the author."""
    updated_at: datetime
    withdrawn_at: datetime | None = None


class VenueReviewer(Document):
    """Somebody on a venue's roster, who has no account: a personal page instead."""

    COLLECTION: ClassVar[str] = "venue_reviewers"
    WRITER: ClassVar[str] = "api"
    INDEXES: ClassVar[tuple[Index, ...]] = (
        Index(keys=(("venue_id", 1), ("email", 1)), unique=True),
        Index(keys=(("token_hash", 1),), unique=True),
    )

    venue_id: str
    chair_id: str
    name: str
    email: str
    token_hash: str
    revision: int = 0
    """Counts the addresses of the page: a new one ends those before."""
    conflicts: list[str] = []
    """Addresses and domains of authors whom they must not review."""
    opened_at: datetime | None = None
    reminded_at: datetime | None = None


class VenueReview(Document):
    """One reviewer's review of one submission, from its assignment on. `_id` follows from both."""

    COLLECTION: ClassVar[str] = "venue_reviews"
    WRITER: ClassVar[str] = "api"
    INDEXES: ClassVar[tuple[Index, ...]] = (
        Index(keys=(("venue_id", 1), ("reviewer_id", 1))),
        Index(keys=(("reviewer_id", 1),)),
        Index(keys=(("submission_id", 1),)),
    )

    venue_id: str
    chair_id: str
    reviewer_id: str
    submission_id: str
    link_id: str
    version_digest: str
    verdicts: dict[str, str] = {}
    """By key of the checklist's items: `yes`, `partly`, `no`, `na`."""
    overall: str = ""
    notes: str = ""
    """The reviewer's own; nobody else reads them."""
    comment: str = ""
    """For the chair, and for the author once the chair releases it."""
    saved_at: datetime | None = None
    finished_at: datetime | None = None
    released: bool = False


class VenueProbe(WorkDocument):
    """A check of a submitted version that the chair asked for: a run on an example, or a claim.

    `_id` follows from submission, version and check.
    """

    COLLECTION: ClassVar[str] = "venue_probes"
    WRITER: ClassVar[str] = "api"
    INDEXES: ClassVar[tuple[Index, ...]] = (
        Index(keys=(("venue_id", 1),)),
        Index(keys=(("submission_id", 1),)),
        Index(keys=(("state", 1), ("created_at", 1))),
    )

    state: ProbeState = ProbeState.WAITING
    venue_id: str
    submission_id: str
    version_digest: str
    check: str
    """`runs`, or `claim:NAME`."""
    work_id: str = ""
    """Of the run or claim check."""
    message: str = ""
