"""From venues to what pages show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vitrine_api.blind_use import runs_left
from vitrine_api.presenters.models import version_url
from vitrine_api.venues.hosting import takes_submissions
from vitrine_api.venues.matrix import Cell, Matrix, Progress, Row
from vitrine_api.venues.plans import local_input, local_words
from vitrine_api.venues.reviewing import ANSWERS, OVERALL, Task, released
from vitrine_api.venues.tokens import link_token, reviewer_url, submit_token, submit_url
from vitrine_api.views import venues as shown
from vitrine_api.views.page import FieldProblem, Tone
from vitrine_common.documents import Venue, VenueReview, VenueReviewer, VenueSubmission, Version
from vitrine_common.states import VenueState

_TONES: Mapping[str, Tone] = {
    "passed": "good",
    "failed": "bad",
    "partly": "warn",
    "running": "busy",
    "waiting": "busy",
    "none": "plain",
}


def state_words(venue: Venue) -> tuple[str, Tone]:
    """Return where a venue stands."""
    if venue.state is VenueState.CLOSED:
        return "Closed", "plain"
    if venue.state is VenueState.DECIDED:
        return "Decided", "good"
    return ("Takes submissions", "busy") if takes_submissions(venue) else ("Reviewing", "busy")


def venue_row(venue: Venue) -> shown.VenueRow:
    """Return a row of the list."""
    state, tone = state_words(venue)
    return shown.VenueRow(
        name=venue.name,
        url=f"/venues/{venue.id}",
        state=state,
        tone=tone,
        deadline=local_words(venue.deadline, venue.time_zone),
    )


def venue_page(
    matrix: Matrix, base_url: str, problems: tuple[FieldProblem, ...] = (), roster_text: str = ""
) -> shown.VenuePage:
    """Return the chair's page."""
    venue = matrix.venue
    state, tone = state_words(venue)
    return shown.VenuePage(
        id=venue.id,
        name=venue.name,
        description=venue.description,
        state=state,
        tone=tone,
        deadline=local_words(venue.deadline, venue.time_zone),
        deadline_input=local_input(venue.deadline, venue.time_zone),
        time_zone=venue.time_zone,
        max_runs=venue.max_runs,
        blind=bool(venue.blind),
        hidden_from_chair=bool(venue.hidden_from_chair),
        submit_url=submit_url(base_url, venue),
        items=tuple(item.title for item in venue.checklist),
        rows=tuple(_matrix_row(venue, row) for row in matrix.rows),
        reviewers=tuple(_reviewer_row(venue, one, base_url) for one in matrix.progress),
        unfinished_checks=matrix.unfinished_checks,
        is_open=venue.state is VenueState.OPEN,
        takes_submissions=takes_submissions(venue),
        decided=venue.decided_at is not None,
        closed=venue.state is VenueState.CLOSED,
        unblinded=venue.unblinded_at is not None,
        revealed=bool(venue.revealed),
        problems=problems,
        roster_text=roster_text,
    )


def _matrix_row(venue: Venue, row: Row) -> shown.MatrixRow:
    said = [f"{row.overall[key]} {title.lower()}" for key, title in OVERALL.items() if row.overall.get(key)]
    return shown.MatrixRow(
        number=row.submission.number,
        paper_id=row.submission.paper_id,
        title=row.submission.title,
        url=f"/venues/{venue.id}/submissions/{row.submission.id}",
        author=row.author,
        reference=row.reference,
        cells=_cells(venue, row.cells),
        assigned=len(row.reviews),
        finished=row.finished,
        overall=", ".join(said),
        decision=row.submission.decision,
    )


def _cells(venue: Venue, cells: Sequence[Cell]) -> tuple[shown.CellView, ...]:
    return tuple(
        shown.CellView(title=item.title, words=cell.words, tone=_TONES[cell.state], detail=cell.detail)
        for item, cell in zip(venue.checklist, cells, strict=True)
    )


def _reviewer_row(venue: Venue, one: Progress, base_url: str) -> shown.ReviewerRow:
    reviewer = one.reviewer
    return shown.ReviewerRow(
        id=reviewer.id,
        name=reviewer.name,
        email=reviewer.email,
        url=reviewer_url(base_url, venue, reviewer),
        assigned=one.assigned,
        finished=one.finished,
        conflicts=", ".join(reviewer.conflicts),
        opened_at=reviewer.opened_at,
        reminded_at=reviewer.reminded_at,
    )


def submission_page(
    venue: Venue,
    row: Row,
    progress: Sequence[Progress],
    conflicts: Mapping[tuple[str, str], str],
    problems: tuple[FieldProblem, ...] = (),
) -> shown.VenueSubmissionPage:
    """Return the chair's page of one submission."""
    submission = row.submission
    names = {one.reviewer.id: one.reviewer.name for one in progress}
    assigned = {review.reviewer_id for review in row.reviews}
    return shown.VenueSubmissionPage(
        venue=venue.name,
        venue_url=f"/venues/{venue.id}",
        url=f"/venues/{venue.id}/submissions/{submission.id}",
        number=submission.number,
        paper_id=submission.paper_id,
        title=submission.title,
        author=row.author,
        reference=row.reference,
        try_url=f"/s/{link_token(venue, submission.chair_link_id)}",
        updated_at=submission.updated_at,
        cells=_cells(venue, row.cells),
        reviews=tuple(_review_row(venue, one, names) for one in row.reviews),
        candidates=tuple(
            shown.Candidate(
                id=one.reviewer.id,
                name=one.reviewer.name,
                load=one.assigned,
                conflict=conflicts.get((submission.id, one.reviewer.id), ""),
            )
            for one in sorted(progress, key=lambda one: one.assigned)
            if one.reviewer.id not in assigned
        ),
        decisions=tuple(venue.decisions),
        decision=submission.decision,
        note=submission.decision_note,
        is_open=venue.state is VenueState.OPEN,
        problems=problems,
    )


def _answers(venue: Venue, review: VenueReview) -> tuple[tuple[str, str], ...]:
    found = ((item.title, review.verdicts.get(item.key, "")) for item in venue.checklist)
    return tuple((title, ANSWERS[answer]) for title, answer in found if answer in ANSWERS)


def _review_row(venue: Venue, review: VenueReview, names: Mapping[str, str]) -> shown.ReviewRow:
    return shown.ReviewRow(
        id=review.id,
        reviewer=names.get(review.reviewer_id, "removed"),
        overall=OVERALL.get(review.overall, ""),
        answers=_answers(venue, review),
        comment=review.comment,
        finished_at=review.finished_at,
        released=bool(review.released),
    )


def my_submission(
    venue: Venue, submission: VenueSubmission, version: Version | None, reviews: Sequence[VenueReview] = ()
) -> shown.MySubmission:
    """Return a submission for its author; decision and reviews once they are told."""
    told = venue.decided_at is not None
    return shown.MySubmission(
        id=submission.id,
        number=submission.number,
        paper_id=submission.paper_id,
        title=submission.title,
        reference=version.reference if version else "deleted",
        version_url=version_url(version) if version else "/",
        updated_at=submission.updated_at,
        venue=venue.name,
        call_url=f"/v/{submit_token(venue.id, venue.key)}",
        decision=submission.decision if told else "",
        note=submission.decision_note if told else "",
        reviews=tuple(
            shown.ReleasedReview(
                title=f"Review {number}",
                overall=OVERALL.get(one.overall, ""),
                answers=_answers(venue, one),
                comment=one.comment,
            )
            for number, one in enumerate(released(reviews) if told else (), 1)
        ),
    )


def reviewer_page(
    venue: Venue,
    reviewer: VenueReviewer,
    token: str,
    tasks: Sequence[Task],
    refused: Mapping[str, tuple[FieldProblem, ...]],
) -> shown.ReviewerPage:
    """Return a reviewer's page; `refused` says by review what was wrong with what was sent."""
    return shown.ReviewerPage(
        token=token,
        name=reviewer.name,
        venue=venue.name,
        description=venue.description,
        blind=bool(venue.blind) and not venue.revealed,
        frozen=venue.state is not VenueState.OPEN,
        tasks=tuple(_task(venue, task, refused.get(task.review.id, ())) for task in tasks),
        answers=tuple(ANSWERS.items()),
        verdicts=tuple(OVERALL.items()),
    )


def _task(venue: Venue, task: Task, problems: tuple[FieldProblem, ...]) -> shown.TaskView:
    review, link = task.review, task.link
    return shown.TaskView(
        id=review.id,
        number=task.submission.number,
        paper_id=task.submission.paper_id,
        title=task.submission.title,
        author=task.author or "",
        try_url=f"/s/{task.token}" if task.open else None,
        runs_left=runs_left(link) if link else None,
        questions=tuple(
            shown.Question(key=item.key, title=item.title, answer=review.verdicts.get(item.key, ""))
            for item in venue.checklist
            if not item.auto
        ),
        overall=review.overall,
        notes=review.notes,
        comment=review.comment,
        saved_at=review.saved_at,
        finished_at=review.finished_at,
        problems=problems,
    )
