"""What the chair sees: submission by check, how far reviewers are, what they say; as CSV, too."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from vitrine_api import blindness
from vitrine_api.claims.checks import claims_of
from vitrine_api.venues.probing import CLAIM, RUNS, by_submission
from vitrine_api.venues.repository import VenueRepository
from vitrine_api.venues.reviewing import ANSWERS, OVERALL
from vitrine_common.documents import (
    ChecklistItem,
    User,
    Venue,
    VenueProbe,
    VenueReview,
    VenueReviewer,
    VenueSubmission,
    Version,
)
from vitrine_common.states import ProbeState, VersionState

CellState = Literal["passed", "failed", "partly", "running", "waiting", "none"]


@dataclass(frozen=True)
class Cell:
    """One check of one submission: how it stands, in a word or two."""

    state: CellState
    words: str
    detail: str = ""


@dataclass(frozen=True)
class Row:
    """One submission."""

    submission: VenueSubmission
    reference: str
    """Where the chair may know it; else empty."""
    author: str
    cells: tuple[Cell, ...]
    """In the order of the checklist."""
    reviews: tuple[VenueReview, ...]
    overall: Mapping[str, int]
    """How many reviewers say so, by verdict."""

    @property
    def finished(self) -> int:
        """Reviews that are finished."""
        return sum(one.finished_at is not None for one in self.reviews)


@dataclass(frozen=True)
class Progress:
    """How far a reviewer is."""

    reviewer: VenueReviewer
    assigned: int
    finished: int


@dataclass(frozen=True)
class Matrix:
    """All of it."""

    venue: Venue
    rows: tuple[Row, ...]
    progress: tuple[Progress, ...]
    unfinished_checks: int


async def matrix_of(repository: VenueRepository, venue: Venue) -> Matrix:
    """Return the matrix of a venue; the caller has checked whose it is."""
    submissions = await repository.submissions_of(venue.id)
    versions = await repository.versions([one.version_id for one in submissions])
    shown = blindness.authors_shown(venue, to_chair=True)
    authors = await repository.users([one.author_id for one in submissions]) if shown else {}
    reviews = await repository.reviews_of(venue.id)
    probes = await repository.probes_of(venue.id)
    found = by_submission(probes)
    rows = [
        _row(
            venue,
            one,
            versions.get(one.version_id),
            authors,
            [review for review in reviews if review.submission_id == one.id],
            found.get(one.id, {}),
        )
        for one in submissions
    ]
    counted = {one.id for one in submissions}
    progress = [
        _progress(one, [review for review in reviews if review.submission_id in counted])
        for one in await repository.reviewers_of(venue.id)
    ]
    open_checks = sum(one.state not in {ProbeState.PASSED, ProbeState.FAILED} for one in probes)
    return Matrix(venue, tuple(rows), tuple(progress), open_checks)


def _progress(reviewer: VenueReviewer, reviews: Sequence[VenueReview]) -> Progress:
    own = [one for one in reviews if one.reviewer_id == reviewer.id]
    return Progress(reviewer, len(own), sum(one.finished_at is not None for one in own))


def _row(  # noqa: PLR0917 - one row of several tables
    venue: Venue,
    submission: VenueSubmission,
    version: Version | None,
    authors: Mapping[str, User],
    reviews: Sequence[VenueReview],
    probes: Mapping[str, VenueProbe],
) -> Row:
    author = authors.get(submission.author_id)
    finished = [one for one in reviews if one.finished_at is not None]
    return Row(
        submission=submission,
        reference=version.reference if version and author else "",
        author=author.name if author else "",
        cells=tuple(_cell(item, version, probes, finished) for item in venue.checklist),
        reviews=tuple(reviews),
        overall=Counter(one.overall for one in finished),
    )


def _cell(
    item: ChecklistItem,
    version: Version | None,
    probes: Mapping[str, VenueProbe],
    finished: Sequence[VenueReview],
) -> Cell:
    if item.auto and version is None:
        return Cell("failed", "deleted", "its author deleted the version")
    match item.auto:
        case "builds" if version:
            return _built(version)
        case "runs" if version:
            return _ran(probes.get(f"{version.digest}/{RUNS}"))
        case "claims" if version:
            return _reproduced(version, probes)
    return _said(item, finished)


def _built(version: Version) -> Cell:
    match version.state:
        case VersionState.READY:
            return Cell("passed", "builds")
        case VersionState.BUILD_FAILED:
            return Cell("failed", "does not build")
    return Cell("running", "building")


def _ran(probe: VenueProbe | None) -> Cell:
    match probe.state if probe else None:
        case None:
            return Cell("none", "not tried")
        case ProbeState.PASSED:
            return Cell("passed", "runs")
        case ProbeState.FAILED:
            return Cell("failed", "fails", probe.message if probe else "")
        case ProbeState.WAITING:
            return Cell("waiting", "waiting")
    return Cell("running", "running")


def _reproduced(version: Version, probes: Mapping[str, VenueProbe]) -> Cell:
    names = [claim.name for claim in claims_of(version)]
    if not names:
        return Cell("none", "no claims")
    found = {name: probes.get(f"{version.digest}/{CLAIM}{name}") for name in names}
    states = Counter(probe.state for probe in found.values() if probe)
    if not states:
        return Cell("none", "not tried")
    words = f"{states[ProbeState.PASSED]} of {len(names)}"
    if states[ProbeState.WAITING] + states[ProbeState.STARTING] + states[ProbeState.RUNNING]:
        return Cell("running", words)
    failed = [
        f"{name}: {probe.message or 'not reproduced'}"
        for name, probe in found.items()
        if probe and probe.state is ProbeState.FAILED
    ]
    if len(failed) == len(names):
        return Cell("failed", words, "; ".join(failed))
    return Cell("passed" if states[ProbeState.PASSED] == len(names) else "partly", words, "; ".join(failed))


def _said(item: ChecklistItem, finished: Sequence[VenueReview]) -> Cell:
    """Return what the finished reviews say to a line of the checklist, the worst deciding."""
    answers = Counter(answer for one in finished if (answer := one.verdicts.get(item.key)))
    if not answers:
        return Cell("none", "no answer yet")
    words = ", ".join(f"{answers[key]} {title.lower()}" for key, title in ANSWERS.items() if answers[key])
    if answers["no"]:
        return Cell("failed" if not answers["yes"] else "partly", words)
    return Cell("partly" if answers["partly"] else "passed", words)


def harmless(text: str) -> str:
    """Return a text that no spreadsheet takes for a formula (OWASP, CSV injection)."""
    return f"'{text}" if text[:1] in {"=", "+", "-", "@", "\t", "\r", "\n"} else text


def as_csv(matrix: Matrix) -> str:
    """Return the matrix as CSV (RFC 4180), with a byte order mark so that spreadsheets read UTF-8."""
    out = io.StringIO()
    out.write("\ufeff")
    writer = csv.writer(out)
    items = [item.title for item in matrix.venue.checklist]
    verdicts = list(OVERALL.values())
    head = [
        "Number",
        "Paper",
        "Title",
        "Author",
        "Version",
        "Digest",
        *items,
        "Reviews",
        "Finished",
        *verdicts,
    ]
    writer.writerow([harmless(text) for text in [*head, "Decision", "Note"]])
    blind = not blindness.authors_shown(matrix.venue, to_chair=True)
    for row in matrix.rows:
        one = row.submission
        texts = [one.paper_id, one.title, row.author, row.reference, "" if blind else one.version_digest]
        cells = [f"{cell.words} ({cell.detail})" if cell.detail else cell.words for cell in row.cells]
        said = [str(row.overall.get(key, 0)) for key in OVERALL]
        numbers = [str(len(row.reviews)), str(row.finished), *said]
        last = map(harmless, [one.decision, one.decision_note])
        writer.writerow([str(one.number), *map(harmless, [*texts, *cells]), *numbers, *last])
    return out.getvalue()
