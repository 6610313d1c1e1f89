"""Venues, as their chairs, authors and reviewers see them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from vitrine_api.views.links import VersionOption
from vitrine_api.views.page import FieldProblem, Tone, View


@dataclass(frozen=True, kw_only=True)
class VenueRow:
    """A venue in the list of its chair."""

    name: str
    url: str
    state: str
    tone: Tone
    deadline: str


@dataclass(frozen=True, kw_only=True)
class VenueForm:
    """Fields `name`, `description`, `deadline`, `time_zone`, `blind`, `hidden_from_chair`, `max_runs`.

    Further `automatic` (repeated), `manual` and `decisions`, one a line.
    """

    name: str = ""
    description: str = ""
    deadline: str = ""
    time_zone: str = "UTC"
    blind: bool = True
    hidden_from_chair: bool = False
    max_runs: str = "50"
    automatic: tuple[tuple[str, str, bool], ...] = ()
    """Value, words, whether it is chosen."""
    manual: str = ""
    decisions: str = ""
    problems: tuple[FieldProblem, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ReleasedReview:
    """What an author reads of a review."""

    title: str
    overall: str
    answers: tuple[tuple[str, str], ...]
    comment: str


@dataclass(frozen=True, kw_only=True)
class MySubmission:
    """A submission, for its author."""

    id: str
    number: int
    paper_id: str
    title: str
    reference: str
    version_url: str
    updated_at: datetime
    venue: str = ""
    call_url: str = ""
    decision: str = ""
    note: str = ""
    reviews: tuple[ReleasedReview, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Venues(View):
    """`/venues`: venues that one chairs, what one submitted, and the form to make a venue."""

    template: ClassVar[str] = "venues.html"

    rows: tuple[VenueRow, ...]
    submissions: tuple[MySubmission, ...]
    form: VenueForm | None
    """None for who is no chair."""


@dataclass(frozen=True, kw_only=True)
class CellView:
    """A check of a submission."""

    title: str
    words: str
    tone: Tone
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class MatrixRow:
    """A submission in the matrix."""

    number: int
    paper_id: str
    title: str
    url: str
    author: str
    reference: str
    cells: tuple[CellView, ...]
    assigned: int
    finished: int
    overall: str
    decision: str


@dataclass(frozen=True, kw_only=True)
class ReviewerRow:
    """A reviewer on the roster; `url` is their page."""

    id: str
    name: str
    email: str
    url: str
    assigned: int
    finished: int
    conflicts: str
    opened_at: datetime | None
    reminded_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class VenuePage(View):
    """`/venues/{id}`: the chair's page."""

    template: ClassVar[str] = "venue.html"

    id: str
    name: str
    description: str
    state: str
    tone: Tone
    deadline: str
    deadline_input: str
    time_zone: str
    max_runs: int | None
    blind: bool
    hidden_from_chair: bool
    submit_url: str
    items: tuple[str, ...]
    rows: tuple[MatrixRow, ...]
    reviewers: tuple[ReviewerRow, ...]
    unfinished_checks: int
    is_open: bool
    takes_submissions: bool
    decided: bool
    closed: bool
    unblinded: bool
    revealed: bool
    problems: tuple[FieldProblem, ...] = ()
    roster_text: str = ""
    """What was written and refused."""


@dataclass(frozen=True, kw_only=True)
class ReviewRow:
    """A review, for the chair."""

    id: str
    reviewer: str
    overall: str
    answers: tuple[tuple[str, str], ...]
    comment: str
    finished_at: datetime | None
    released: bool


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """Somebody who may, or must not, review it."""

    id: str
    name: str
    load: int
    conflict: str = ""


@dataclass(frozen=True, kw_only=True)
class VenueSubmissionPage(View):
    """`/venues/{id}/submissions/{id}`: a submission, its reviews and the decision."""

    template: ClassVar[str] = "venue_submission.html"

    venue: str
    venue_url: str
    url: str
    number: int
    paper_id: str
    title: str
    author: str
    reference: str
    try_url: str
    updated_at: datetime
    cells: tuple[CellView, ...]
    reviews: tuple[ReviewRow, ...]
    candidates: tuple[Candidate, ...]
    decisions: tuple[str, ...]
    decision: str
    note: str
    is_open: bool
    problems: tuple[FieldProblem, ...] = ()


@dataclass(frozen=True, kw_only=True)
class CallPage(View):
    """`/v/{token}`: where authors submit. Fields `version`, `paper_id`, `title`, `conflicts`."""

    template: ClassVar[str] = "call.html"

    token: str
    name: str
    description: str
    deadline: str
    takes_submissions: bool
    blind: bool
    versions: tuple[VersionOption, ...]
    mine: tuple[MySubmission, ...]
    version: str = ""
    paper_id: str = ""
    title: str = ""
    conflicts: str = ""
    warnings: tuple[str, ...] = ()
    problems: tuple[FieldProblem, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Question:
    """A line of the checklist that reviewers answer, and what was answered."""

    key: str
    title: str
    answer: str


@dataclass(frozen=True, kw_only=True)
class TaskView:
    """A submission to review. Fields `verdict.KEY`, `overall`, `notes`, `comment`."""

    id: str
    number: int
    paper_id: str
    title: str
    author: str
    try_url: str | None
    runs_left: int | None
    questions: tuple[Question, ...]
    overall: str
    notes: str
    comment: str
    saved_at: datetime | None
    finished_at: datetime | None
    problems: tuple[FieldProblem, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ReviewerPage(View):
    """`/r/{token}`: everything that a reviewer has to review."""

    template: ClassVar[str] = "reviewer.html"

    token: str
    name: str
    venue: str
    description: str
    blind: bool
    frozen: bool
    """Whether the venue has decided, so that nothing can be written any more."""
    tasks: tuple[TaskView, ...]
    answers: tuple[tuple[str, str], ...]
    verdicts: tuple[tuple[str, str], ...]

    @property
    def finished(self) -> int:
        """How many reviews are finished."""
        return sum(task.finished_at is not None for task in self.tasks)


@dataclass(frozen=True, kw_only=True)
class ReviewSaved(View):
    """What became of writing: a fragment."""

    template: ClassVar[str] = "fragments/review_saved.html"

    saved_at: datetime | None
    problem: str = ""
