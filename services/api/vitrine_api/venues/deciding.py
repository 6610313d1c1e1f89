"""The end: decisions, what authors are told, un-blinding."""

from __future__ import annotations

from vitrine_api import audit
from vitrine_api.notifications.news import News, Notices
from vitrine_api.repository import Accounts
from vitrine_api.venues.hosting import check_reviewing, takes_submissions
from vitrine_api.venues.repository import VenueRepository
from vitrine_api.venues.sharing import VenueLinks
from vitrine_api.venues.tokens import submit_token
from vitrine_common.clock import utcnow
from vitrine_common.documents import ShareLink, Venue, VenueReview, VenueSubmission
from vitrine_common.errors import Conflict, Invalid, NotFound, Problem
from vitrine_common.states import VenueState

MAX_NOTE = 10_000


class Deciding:
    """Decides, tells and un-blinds. Its methods trust their caller to have checked who owns the venue.

    Args:
        repository: where venues are kept.
        accounts: where the audit log is.
        links: the share links that are un-blinded.
        notices: tells authors.
    """

    def __init__(
        self, repository: VenueRepository, accounts: Accounts, links: VenueLinks, notices: Notices
    ) -> None:
        self._repository = repository
        self._accounts = accounts
        self._links = links
        self._notices = notices

    async def decide(
        self, venue: Venue, submission_id: str, decision: str, note: str = ""
    ) -> VenueSubmission:
        """Write down a decision; authors learn it by `publish`. An empty one takes it back.

        Raises NotFound, Conflict once it was published, Invalid.
        """
        check_reviewing(venue)
        if decision and decision not in venue.decisions:
            known = ", ".join(f"`{one}`" for one in venue.decisions)
            raise _invalid("decision", f"`{decision[:60]}` is none of this venue's decisions: {known}")
        if len(note) > MAX_NOTE:
            raise _invalid("note", f"take at most {MAX_NOTE} characters")
        await self._submission(venue, submission_id)
        changed = await self._repository.submissions.require(
            {"_id": submission_id}, {"decision": decision, "decision_note": note.strip()}
        )
        await audit.record(
            self._accounts, venue.chair_id, "submission.decided", changed, owner_id=venue.chair_id
        )
        return changed

    async def _submission(self, venue: Venue, submission_id: str) -> VenueSubmission:
        found = await self._repository.submissions.find_one({"_id": submission_id, "venue_id": venue.id})
        if found is None or found.withdrawn_at is not None:
            raise NotFound(f"there is no venue submission {submission_id}")
        return found

    async def release(self, venue: Venue, review_id: str, *, released: bool) -> VenueReview:
        """Let the author read a finished review once decisions are told, or not."""
        where = {"_id": review_id, "venue_id": venue.id}
        review = await self._repository.reviews.find_one(where)
        if review is None:
            raise NotFound(f"there is no venue review {review_id}")
        if released and review.finished_at is None:
            raise Conflict("this review is not finished")
        changed = await self._repository.reviews.require(where, {"released": released})
        action = "review.released" if released else "review.withheld"
        await audit.record(self._accounts, venue.chair_id, action, review, owner_id=venue.chair_id)
        return changed

    async def publish(self, venue: Venue, *, release_all: bool = False) -> Venue:
        """Tell every author what was decided. Reviewing ends with it.

        Args:
            venue: the venue.
            release_all: let authors read every finished review.

        Doing so again tells those who were not told because the first time was cut short. Raises Conflict
        before the deadline, and naming submissions without a decision.
        """
        submissions = await self._repository.submissions_of(venue.id)
        decided = venue if venue.state is VenueState.DECIDED else await self._end(venue, submissions)
        if release_all:
            for review in await self._repository.reviews_of(venue.id):
                if review.finished_at is not None:
                    await self._repository.reviews.update({"_id": review.id}, {"released": True})
        for submission in submissions:
            await self._tell(decided, submission)
        return decided

    async def _end(self, venue: Venue, submissions: list[VenueSubmission]) -> Venue:
        check_reviewing(venue)
        if takes_submissions(venue):
            raise Conflict("authors may still submit; publish after the deadline, or move it")
        left = [str(one.number) for one in submissions if not one.decision]
        if left:
            raise Conflict(f"not decided yet: submission {', '.join(left[:20])}")
        decided = await self._repository.advance(venue, VenueState.DECIDED, decided_at=utcnow())
        await audit.record(self._accounts, venue.chair_id, "venue.decided", venue, owner_id=venue.chair_id)
        return decided

    async def _tell(self, venue: Venue, submission: VenueSubmission) -> None:
        await self._notices.tell(
            News(
                user_id=submission.author_id,
                kind="review.decided",
                key=submission.id,
                title=f"“{venue.name}” has decided on {submission.paper_id}: {submission.decision}",
                text=submission.decision_note[:1000],
                path=f"/v/{submit_token(venue.id, venue.key)}",
                data={"submission_id": submission.id, "decision": submission.decision},
            )
        )

    async def unblind(self, venue: Venue, *, reveal: bool) -> Venue:
        """Tell the chair, and with `reveal` the reviewers, who submitted: after the decision, and for good.

        Links of reviewers then show whose model they run, and their receipts can be opened. Authors go on
        learning nothing about reviewers. Raises Conflict before the decision, and the second time.
        """
        if venue.decided_at is None:
            raise Conflict("decide first: un-blinding comes after the decisions are published")
        if not venue.blind:
            raise Conflict("this venue is not blind")
        if venue.unblinded_at is not None and (venue.revealed or not reveal):
            raise Conflict("this venue was un-blinded already")
        changed = await self._repository.venues.require(
            {"_id": venue.id}, {"unblinded_at": venue.unblinded_at or utcnow(), "revealed": reveal}
        )
        action = "venue.revealed" if reveal else "venue.unblinded"
        await audit.record(self._accounts, venue.chair_id, action, venue, owner_id=venue.chair_id)
        for submission in await self._repository.submissions_of(venue.id):
            await self._links.open_up(submission.chair_link_id)
        if reveal:
            for review in await self._repository.reviews_of(venue.id):
                await self._links.open_up(review.link_id)
        return changed

    async def openable(self, venue: Venue, submission_id: str) -> list[ShareLink]:
        """Return the links of a submission that are blind no more, for whoever opens their receipts.

        Raises NotFound, Conflict before un-blinding.
        """
        if venue.unblinded_at is None:
            raise Conflict("receipts are opened after un-blinding")
        submission = await self._submission(venue, submission_id)
        reviews = await self._repository.reviews_about(submission_id)
        ids = [submission.chair_link_id, *(one.link_id for one in reviews)]
        found = await self._repository.links_by_ids(ids)
        return [link for link in found.values() if not link.blind]


def _invalid(field: str, message: str) -> Invalid:
    return Invalid(f"{field}: {message}", (Problem(field, message),))
