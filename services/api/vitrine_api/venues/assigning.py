"""Who reviews what: by hand or balanced, never against a conflict of interest."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vitrine_api import audit
from vitrine_api.repository import Accounts
from vitrine_api.venues.balancing import balanced, conflict
from vitrine_api.venues.hosting import check_reviewing
from vitrine_api.venues.repository import VenueRepository
from vitrine_api.venues.sharing import VenueLinks
from vitrine_common.documents import Venue, VenueReview, VenueReviewer, VenueSubmission
from vitrine_common.errors import Conflict, NotFound

MOST_EACH = 20


@dataclass(frozen=True)
class Balance:
    """What a balanced assignment came to."""

    made: int
    lacking: Mapping[int, int]
    """By number of the submission: how many reviewers could not be found without a conflict."""


class Assignments:
    """Assigns reviewers. Its methods trust their caller to have checked who owns the venue.

    Args:
        repository: where reviews are kept.
        accounts: where the audit log is.
        links: makes each review its link.
    """

    def __init__(self, repository: VenueRepository, accounts: Accounts, links: VenueLinks) -> None:
        self._repository = repository
        self._accounts = accounts
        self._links = links

    async def conflicts(
        self, submissions: Sequence[VenueSubmission], reviewers: Sequence[VenueReviewer]
    ) -> dict[tuple[str, str], str]:
        """Return by (submission, reviewer) why one must not review the other."""
        authors = await self._repository.users([one.author_id for one in submissions])
        found = {}
        for submission in submissions:
            author = authors.get(submission.author_id)
            for reviewer in reviewers:
                email = author.email if author else ""
                reason = conflict(reviewer.email, email, reviewer.conflicts, submission.conflicts)
                if reason:
                    found[submission.id, reviewer.id] = reason
        return found

    async def assign(self, venue: Venue, submission_id: str, reviewer_id: str) -> VenueReview:
        """Have somebody review a submission; doing so twice is no error.

        Raises NotFound, Conflict naming the conflict of interest.
        """
        check_reviewing(venue)
        where = {"venue_id": venue.id}
        submission = await self._repository.submissions.find_one({"_id": submission_id, **where})
        reviewer = await self._repository.reviewers.find_one({"_id": reviewer_id, **where})
        if submission is None or submission.withdrawn_at is not None:
            raise NotFound(f"there is no venue submission {submission_id}")
        if reviewer is None:
            raise NotFound(f"there is no venue reviewer {reviewer_id}")
        reasons = await self.conflicts([submission], [reviewer])
        if reasons:
            raise Conflict(f"{reviewer.name} cannot review it: {reasons[submission.id, reviewer.id]}")
        return await self._make(venue, submission, reviewer.id)

    async def _make(self, venue: Venue, submission: VenueSubmission, reviewer_id: str) -> VenueReview:
        review_id = _id_of(submission.id, reviewer_id)
        known = await self._repository.reviews.find_one({"_id": review_id})
        if known is not None:
            return known
        link = await self._links.for_review(venue, submission)
        review = VenueReview(
            id=review_id,
            venue_id=venue.id,
            chair_id=venue.chair_id,
            reviewer_id=reviewer_id,
            submission_id=submission.id,
            link_id=link.id,
            version_digest=submission.version_digest,
        )
        try:
            await self._repository.reviews.insert(review)
        except Conflict:  # somebody was quicker: one of the two links is of no use
            await self._links.end(link.id)
            return await self._repository.reviews.get(review_id)
        await audit.record(self._accounts, venue.chair_id, "review.assigned", review, owner_id=venue.chair_id)
        return review

    async def unassign(self, venue: Venue, review_id: str) -> None:
        """Take a review away, with what was written and its link."""
        check_reviewing(venue)
        review = await self._repository.reviews.find_one({"_id": review_id, "venue_id": venue.id})
        if review is None:
            raise NotFound(f"there is no venue review {review_id}")
        await self._repository.reviews.delete({"_id": review_id})
        await self._links.end(review.link_id)
        await audit.record(
            self._accounts, venue.chair_id, "review.unassigned", review, owner_id=venue.chair_id
        )

    async def balance(self, venue: Venue, per_submission: int) -> Balance:
        """Give every submission `per_submission` reviewers, evenly; what was assigned stays."""
        check_reviewing(venue)
        per_submission = max(1, min(per_submission, MOST_EACH))
        submissions = await self._repository.submissions_of(venue.id)
        reviewers = await self._repository.reviewers_of(venue.id)
        ids = {one.id: one for one in submissions}
        reviews = await self._repository.reviews_of(venue.id)
        pairs, lacking = balanced(
            list(ids),
            [one.id for one in reviewers],
            set(await self.conflicts(submissions, reviewers)),
            {(one.submission_id, one.reviewer_id) for one in reviews},
            per_submission,
        )
        for submission_id, reviewer_id in pairs:
            await self._make(venue, ids[submission_id], reviewer_id)
        return Balance(len(pairs), {ids[one].number: count for one, count in lacking.items()})


def _id_of(submission_id: str, reviewer_id: str) -> str:
    digest = hashlib.sha256(f"{submission_id}\n{reviewer_id}".encode()).hexdigest()
    return f"review_{digest[:32]}"
