"""The JSON shapes of venues."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from vitrine_api.routes.accounts import Short, Strict
from vitrine_api.venues.hosting import takes_submissions
from vitrine_api.venues.matrix import Matrix
from vitrine_api.venues.plans import AUTOMATIC, DECISIONS, MANUAL, VenueWish, local_words
from vitrine_api.venues.tokens import reviewer_url, submit_url
from vitrine_common.documents import ChecklistItem, Venue, VenueReviewer, VenueSubmission
from vitrine_common.documents.venue import Automatic
from vitrine_common.states import VenueState

Quota = Annotated[int | None, Field(default=None, ge=1, le=1_000_000)]
Line = Annotated[str, Field(max_length=300)]


class VenueIn(Strict):
    """A wish for a venue; `deadline` is a local time in `time_zone`, a date alone means its last second."""

    name: Line
    description: str = Field(default="", max_length=5000)
    deadline: Short
    time_zone: Short = "UTC"
    blind: bool = True
    hidden_from_chair: bool = False
    max_runs: Quota = None
    automatic: list[Automatic] = Field(default=list(AUTOMATIC), max_length=10)
    manual: list[Line] = Field(default=list(MANUAL), max_length=30)
    decisions: list[Line] = Field(default=list(DECISIONS), max_length=30)

    def wish(self) -> VenueWish:
        """Return it as a wish."""
        return VenueWish(**{name: getattr(self, name) for name in type(self).model_fields})


class VenueEdit(Strict):
    """What shall be other than it is; what is left out stays."""

    name: Line = ""
    description: str = Field(default="", max_length=5000)
    deadline: Short = ""
    time_zone: Short = "UTC"
    max_runs: Quota = None

    def changes(self) -> dict[str, Any]:
        """Return the fields that were sent."""
        return {name: getattr(self, name) for name in self.model_fields_set}


class VenueOut(BaseModel):
    """A venue, for its chair."""

    id: str
    name: str
    description: str
    state: VenueState
    deadline: datetime
    deadline_text: str
    time_zone: str
    takes_submissions: bool
    blind: bool
    hidden_from_chair: bool
    max_runs: int | None
    checklist: list[ChecklistItem]
    decisions: list[str]
    submit_url: str
    unblinded_at: datetime | None
    revealed: bool
    created_at: datetime


class ReviewerIn(Strict):
    """Somebody who shall review; `conflicts` are addresses and domains of authors."""

    name: Line = ""
    email: Short
    conflicts: list[Short] = Field(default=[], max_length=100)


class ReviewersIn(Strict):
    """Reviewers, one by one or as lines `Name <address>; not: domain`."""

    reviewers: list[ReviewerIn] = Field(default=[], max_length=200)
    lines: str = Field(default="", max_length=50_000)


class ReviewerOut(BaseModel):
    """A reviewer, for the chair; `url` is their page."""

    id: str
    name: str
    email: str
    conflicts: list[str]
    url: str
    assigned: int = 0
    finished: int = 0
    opened_at: datetime | None
    reminded_at: datetime | None


class SubmissionIn(Strict):
    """A version for a venue; the same `paper_id` again replaces it until the deadline."""

    ref: str = Field(max_length=200)
    paper_id: Line
    title: Line
    conflicts: list[Short] = Field(default=[], max_length=200)


class SubmissionOut(BaseModel):
    """A submission, for its author; decision and reviews once the venue has told them."""

    id: str
    venue: str
    number: int
    paper_id: str
    title: str
    version_id: str
    version_digest: str
    updated_at: datetime
    withdrawn: bool
    decision: str = ""
    note: str = ""
    warnings: list[str] = []


class CallOut(BaseModel):
    """A venue, for authors."""

    name: str
    description: str
    deadline: datetime
    deadline_text: str
    takes_submissions: bool
    blind: bool
    mine: list[SubmissionOut]


class CellOut(BaseModel):
    """A check of a submission."""

    check: str
    state: Literal["passed", "failed", "partly", "running", "waiting", "none"]
    words: str
    detail: str


class RowOut(BaseModel):
    """A submission with its checks; author and version where the chair may know them."""

    id: str
    number: int
    paper_id: str
    title: str
    author: str
    version: str
    checks: list[CellOut]
    reviews: int
    finished: int
    overall: dict[str, int]
    decision: str


class MatrixOut(BaseModel):
    """What the chair sees of a venue."""

    rows: list[RowOut]
    reviewers: list[ReviewerOut]
    unfinished_checks: int


class BalanceIn(Strict):
    """How many reviewers each submission shall have."""

    per_submission: int = Field(ge=1, le=20)


class PairIn(Strict):
    """Who shall review what."""

    submission_id: Short
    reviewer_id: Short


class DecisionIn(Strict):
    """What is decided on a submission; `note` is for its author."""

    decision: Line
    note: str = Field(default="", max_length=10_000)


class PublishIn(Strict):
    """Whether authors may read every finished review."""

    release_reviews: bool = False


class UnblindIn(Strict):
    """Whether reviewers learn the authors, too."""

    reveal_to_reviewers: bool = False


def venue_out(venue: Venue, base_url: str) -> VenueOut:
    """Describe a venue."""
    fields = {name: getattr(venue, name) for name in VenueOut.model_fields if hasattr(venue, name)}
    return VenueOut(
        **fields,
        deadline_text=local_words(venue.deadline, venue.time_zone),
        takes_submissions=takes_submissions(venue),
        submit_url=submit_url(base_url, venue),
    )


def submission_out(
    submission: VenueSubmission, venue: Venue, warnings: tuple[str, ...] = ()
) -> SubmissionOut:
    """Describe a submission to its author."""
    told = venue.decided_at is not None
    return SubmissionOut(
        id=submission.id,
        venue=venue.name,
        number=submission.number,
        paper_id=submission.paper_id,
        title=submission.title,
        version_id=submission.version_id,
        version_digest=submission.version_digest,
        updated_at=submission.updated_at,
        withdrawn=submission.withdrawn_at is not None,
        decision=submission.decision if told else "",
        note=submission.decision_note if told else "",
        warnings=list(warnings),
    )


def reviewer_out(
    base_url: str, venue: Venue, one: VenueReviewer, assigned: int = 0, finished: int = 0
) -> ReviewerOut:
    """Describe a reviewer to the chair."""
    fields = {name: getattr(one, name) for name in ReviewerOut.model_fields if hasattr(one, name)}
    url = reviewer_url(base_url, venue, one)
    return ReviewerOut(**fields, url=url, assigned=assigned, finished=finished)


def matrix_out(base_url: str, matrix: Matrix) -> MatrixOut:
    """Describe a matrix."""
    items = matrix.venue.checklist
    rows = [
        RowOut(
            id=row.submission.id,
            number=row.submission.number,
            paper_id=row.submission.paper_id,
            title=row.submission.title,
            author=row.author,
            version=row.reference,
            checks=[
                CellOut(check=item.title, state=cell.state, words=cell.words, detail=cell.detail)
                for item, cell in zip(items, row.cells, strict=True)
            ],
            reviews=len(row.reviews),
            finished=row.finished,
            overall=dict(row.overall),
            decision=row.submission.decision,
        )
        for row in matrix.rows
    ]
    people = [
        reviewer_out(base_url, matrix.venue, one.reviewer, one.assigned, one.finished)
        for one in matrix.progress
    ]
    return MatrixOut(rows=rows, reviewers=people, unfinished_checks=matrix.unfinished_checks)
