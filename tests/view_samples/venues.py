"""Sample data of venues: for chairs, authors and reviewers."""

from __future__ import annotations

from dataclasses import replace

from view_samples.visitor import ANONYMOUS, LONG, OWNER, ago
from vitrine_api.views import RequestContext, View
from vitrine_api.views.links import VersionOption
from vitrine_api.views.page import FieldProblem
from vitrine_api.views.venues import (
    CallPage,
    Candidate,
    CellView,
    MatrixRow,
    MySubmission,
    Question,
    ReleasedReview,
    ReviewerPage,
    ReviewerRow,
    ReviewRow,
    ReviewSaved,
    TaskView,
    VenueForm,
    VenuePage,
    VenueRow,
    Venues,
    VenueSubmissionPage,
)

_DEADLINE = "1 December 2026, 23:59 (AoE)"
_CELLS = (
    CellView(title="Builds", words="yes", tone="good"),
    CellView(title="Runs on an example", words="yes", tone="good"),
    CellView(title="Claims reproduced", words="2 of 3", tone="warn", detail="cross-entropy differs"),
)
_ROWS = (
    MatrixRow(
        number=1,
        paper_id="42",
        title="Reading digits",
        url="/venues/venue_1/submissions/sub_1",
        author="ada",
        reference="ada/digits@3",
        cells=_CELLS,
        assigned=3,
        finished=2,
        overall="2 accept",
        decision="",
    ),
    MatrixRow(
        number=2,
        paper_id="43",
        title=LONG,
        url="/venues/venue_1/submissions/sub_2",
        author="",
        reference="",
        cells=(*_CELLS[:2], CellView(title="Claims reproduced", words="not checked", tone="plain")),
        assigned=0,
        finished=0,
        overall="",
        decision="reject",
    ),
)
_MINE = MySubmission(
    id="sub_1",
    number=1,
    paper_id="42",
    title="Reading digits",
    reference="ada/digits@3",
    version_url="/models/ada/digits/versions/3",
    updated_at=ago(days=1),
    venue="Workshop on small models",
    call_url="/v/token",
    decision="accept",
    note="Please publish the dataset's licence.",
    reviews=(
        ReleasedReview(
            title="Review 1",
            overall="accept",
            answers=(("The numbers come out", "yes"),),
            comment="Runs at once; the table is right.",
        ),
    ),
)
_VENUE = VenuePage(
    id="venue_1",
    name="Workshop on small models",
    description="Models of less than a million parameters.",
    state="open",
    tone="good",
    deadline=_DEADLINE,
    deadline_input="2026-12-01T23:59",
    time_zone="AoE",
    max_runs=50,
    blind=True,
    hidden_from_chair=False,
    submit_url="http://127.0.0.1:8300/v/token",
    items=("Builds", "Runs on an example", "Claims reproduced"),
    rows=_ROWS,
    reviewers=(
        ReviewerRow(
            id="rev_1",
            name="Grace",
            email="grace@example.org",
            url="http://127.0.0.1:8300/r/token",
            assigned=2,
            finished=1,
            conflicts="",
            opened_at=ago(hours=3),
            reminded_at=None,
        ),
        ReviewerRow(
            id="rev_2",
            name=LONG,
            email="x@example.edu",
            url="http://127.0.0.1:8300/r/other",
            assigned=0,
            finished=0,
            conflicts="example.org",
            opened_at=None,
            reminded_at=ago(days=1),
        ),
    ),
    unfinished_checks=1,
    is_open=True,
    takes_submissions=True,
    decided=False,
    closed=False,
    unblinded=False,
    revealed=True,
)
_TASK = TaskView(
    id="review_1",
    number=1,
    paper_id="42",
    title="Reading digits",
    author="",
    try_url="/s/token",
    runs_left=48,
    questions=(
        Question(key="numbers", title="The numbers come out", answer="yes"),
        Question(key="licence", title="The data may be used", answer=""),
    ),
    overall="accept",
    notes="Try rotated digits.",
    comment="",
    saved_at=ago(minutes=2),
    finished_at=None,
)
_REVIEWER = ReviewerPage(
    token="token",
    name="Grace",
    venue="Workshop on small models",
    description="Models of less than a million parameters.",
    blind=True,
    frozen=False,
    tasks=(_TASK, replace(_TASK, id="review_2", number=2, title=LONG, finished_at=ago(hours=1))),
    answers=(("yes", "Yes"), ("no", "No"), ("unsure", "Cannot say")),
    verdicts=(("accept", "Accept"), ("reject", "Reject")),
)
_FORM = VenueForm(
    automatic=(("builds", "It builds", True), ("runs", "It runs on an example", True)),
    manual="The numbers come out",
    decisions="accept\nreject",
)
_CHAIR = replace(OWNER, path="/venues")

VENUE_SAMPLES: dict[str, tuple[View, RequestContext]] = {
    "venues": (
        Venues(
            rows=(
                VenueRow(
                    name=_VENUE.name, url="/venues/venue_1", state="open", tone="good", deadline=_DEADLINE
                ),
            ),
            submissions=(_MINE,),
            form=_FORM,
        ),
        _CHAIR,
    ),
    "venues-author": (Venues(rows=(), submissions=(), form=None), _CHAIR),
    "venue": (_VENUE, _CHAIR),
    "venue-empty": (
        replace(
            _VENUE,
            rows=(),
            reviewers=(),
            unfinished_checks=0,
            problems=(FieldProblem(field="roster", message="Line 1 has no e-mail address."),),
            roster_text="Grace",
        ),
        _CHAIR,
    ),
    "venue-decided": (
        replace(_VENUE, decided=True, takes_submissions=False, unblinded=True, state="decided", tone="plain"),
        _CHAIR,
    ),
    "venue-submission": (
        VenueSubmissionPage(
            venue=_VENUE.name,
            venue_url="/venues/venue_1",
            url="/venues/venue_1/submissions/sub_1",
            number=1,
            paper_id="42",
            title="Reading digits",
            author="ada",
            reference="ada/digits@3",
            try_url="/s/token",
            updated_at=ago(days=1),
            cells=_CELLS,
            reviews=(
                ReviewRow(
                    id="review_1",
                    reviewer="Grace",
                    overall="accept",
                    answers=(("The numbers come out", "yes"),),
                    comment="Runs at once.",
                    finished_at=ago(hours=2),
                    released=False,
                ),
            ),
            candidates=(
                Candidate(id="rev_2", name="Alan", load=1),
                Candidate(id="rev_3", name="Edsger", load=0, conflict="same institution"),
            ),
            decisions=("accept", "reject"),
            decision="",
            note="",
            is_open=True,
        ),
        _CHAIR,
    ),
    "call": (
        CallPage(
            token="token",
            name=_VENUE.name,
            description=_VENUE.description,
            deadline=_DEADLINE,
            takes_submissions=True,
            blind=True,
            versions=(VersionOption(value="version_1", reference="ada/digits@3"),),
            mine=(_MINE,),
            warnings=("The model card names “ada”.",),
        ),
        replace(OWNER, path="/v/token"),
    ),
    "call-over": (
        CallPage(
            token="token",
            name=_VENUE.name,
            description="",
            deadline=_DEADLINE,
            takes_submissions=False,
            blind=True,
            versions=(),
            mine=(),
        ),
        replace(OWNER, path="/v/token"),
    ),
    "reviewer": (_REVIEWER, ANONYMOUS),
    "reviewer-frozen": (replace(_REVIEWER, frozen=True, blind=False), ANONYMOUS),
    "review-saved": (ReviewSaved(saved_at=ago(minutes=0)), ANONYMOUS),
}
