"""What reviewers do: try what they were assigned, and write what they find, saved as they write."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from vitrine_api import blindness
from vitrine_api.link_states import link_state
from vitrine_api.notifications.news import News, Notices
from vitrine_api.policy import Action, Referee, require
from vitrine_api.venues.hosting import check_reviewing
from vitrine_api.venues.repository import VenueRepository
from vitrine_api.venues.tokens import link_token
from vitrine_common.clock import utcnow
from vitrine_common.documents import ShareLink, User, Venue, VenueReview, VenueSubmission
from vitrine_common.errors import Invalid, Problem

ANSWERS: Mapping[str, str] = {"yes": "Yes", "partly": "Partly", "no": "No", "na": "Not applicable"}
OVERALL: Mapping[str, str] = {
    "accept": "Accept",
    "weak_accept": "Rather accept",
    "weak_reject": "Rather reject",
    "reject": "Reject",
}
MAX_NOTES = 20_000


@dataclass(frozen=True)
class Task:
    """A review with all that its reviewer may know of the submission."""

    review: VenueReview
    submission: VenueSubmission
    token: str
    link: ShareLink | None
    author: str | None
    """Account name, where reviewers are told."""

    @property
    def open(self) -> bool:
        """Whether the model can be tried."""
        return self.link is not None and link_state(self.link) in {"active", "used_up"}


@dataclass(frozen=True)
class Written:
    """What a reviewer has written; None stays as it is."""

    verdicts: Mapping[str, str] | None = None
    overall: str | None = None
    notes: str | None = None
    comment: str | None = None
    finished: bool | None = None


class Reviews:
    """Reads and keeps reviews for their reviewers.

    Args:
        repository: where they are kept.
        notices: tells the chair.
    """

    def __init__(self, repository: VenueRepository, notices: Notices) -> None:
        self._repository = repository
        self._notices = notices

    async def tasks(self, referee: Referee, venue: Venue) -> list[Task]:
        """Return what a reviewer has to review, by number; what was withdrawn is left out."""
        require(referee, Action.SEE, venue)
        reviews = await self._repository.reviews_by(referee.reviewer.id)
        submissions = {one.id: one for one in await self._repository.submissions_of(venue.id)}
        links = await self._repository.links_by_ids([one.link_id for one in reviews])
        shown = blindness.authors_shown(venue, to_chair=False)
        wanted = [submissions[one.submission_id] for one in reviews if one.submission_id in submissions]
        authors = await self._repository.users([one.author_id for one in wanted]) if shown else {}
        tasks = [
            _task(venue, one, submissions[one.submission_id], links.get(one.link_id), authors)
            for one in reviews
            if one.submission_id in submissions
        ]
        return sorted(tasks, key=lambda task: task.submission.number)

    async def save(self, referee: Referee, venue: Venue, review_id: str, written: Written) -> VenueReview:
        """Keep what a reviewer wrote; saying that a review is finished tells the chair.

        Raises NotFound for another's, Conflict once the venue has decided, Invalid.
        """
        review = await self._repository.reviews.get(review_id)
        require(referee, Action.CHANGE, review)
        check_reviewing(venue)
        changes = _changes(venue, review, written)
        changed = await self._repository.reviews.require({"_id": review_id}, changes)
        if written.finished and review.finished_at is None:
            await self._tell(venue, changed)
        return changed

    async def _tell(self, venue: Venue, review: VenueReview) -> None:
        submission = await self._repository.submissions.get(review.submission_id)
        await self._notices.tell(
            News(
                user_id=venue.chair_id,
                kind="review.finished",
                key=review.id,
                title=f"A review of submission {submission.number} of “{venue.name}” is finished",
                path=f"/venues/{venue.id}/submissions/{submission.id}",
                data={"venue_id": venue.id, "submission_id": submission.id},
            )
        )


def _task(
    venue: Venue,
    review: VenueReview,
    submission: VenueSubmission,
    link: ShareLink | None,
    authors: Mapping[str, User],
) -> Task:
    author = authors.get(submission.author_id)
    return Task(review, submission, link_token(venue, review.link_id), link, author.name if author else None)


def _changes(venue: Venue, review: VenueReview, written: Written) -> dict[str, object]:
    problems = list(_problems(venue, review, written))
    if problems:
        raise Invalid("; ".join(f"{item.field}: {item.message}" for item in problems), tuple(problems))
    given = {"overall": written.overall, "notes": written.notes, "comment": written.comment}
    changes: dict[str, object] = {name: text for name, text in given.items() if text is not None}
    if written.verdicts is not None:
        changes["verdicts"] = {key: answer for key, answer in written.verdicts.items() if answer}
    if written.finished is not None:
        changes["finished_at"] = (review.finished_at or utcnow()) if written.finished else None
    return {**changes, "saved_at": utcnow()}


def _problems(venue: Venue, review: VenueReview, written: Written) -> Iterator[Problem]:
    known = {item.key for item in venue.checklist if not item.auto}
    for key, answer in (written.verdicts or {}).items():
        if key not in known or (answer and answer not in ANSWERS):
            yield Problem(f"verdicts.{key[:40]}", "is no answer to this checklist")
    if written.overall and written.overall not in OVERALL:
        yield Problem("overall", f"`{written.overall[:40]}` is no verdict")
    for name, text in (("notes", written.notes), ("comment", written.comment)):
        if len(text or "") > MAX_NOTES:
            yield Problem(name, f"take at most {MAX_NOTES} characters")
    chosen = review.overall if written.overall is None else written.overall
    if written.finished and not chosen:
        yield Problem("overall", "choose an overall verdict before you finish")


def released(reviews: Sequence[VenueReview]) -> list[VenueReview]:
    """Return the finished reviews that the chair released, in an order that tells nothing."""
    return sorted((one for one in reviews if one.released and one.finished_at), key=lambda one: one.id)
