"""Every database call about venues."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vitrine_api.repository import by_ids
from vitrine_common.clock import utcnow
from vitrine_common.documents import (
    ClaimCheck,
    Run,
    ShareLink,
    User,
    Venue,
    VenueProbe,
    VenueReview,
    VenueReviewer,
    VenueSubmission,
    Version,
)
from vitrine_common.errors import Conflict
from vitrine_common.states import VENUE, ProbeState, VenueState
from vitrine_common.store import Database

MOST = 1000
"""Submissions, reviewers and the like that one venue has at most."""


class VenueRepository:
    """Venues and all that belongs to them; versions, users, runs and checks to read."""

    def __init__(self, database: Database) -> None:
        self.venues = database.collection(Venue)
        self.submissions = database.collection(VenueSubmission)
        self.reviewers = database.collection(VenueReviewer)
        self.reviews = database.collection(VenueReview)
        self.probes = database.collection(VenueProbe)
        self.links = database.collection(ShareLink)
        self._users = database.collection(User)
        self._versions = database.collection(Version)
        self._runs = database.collection(Run)
        self._checks = database.collection(ClaimCheck)

    async def by_submit_hash(self, submit_hash: str) -> Venue | None:
        """Return the venue of a link for authors, or None."""
        return await self.venues.find_one({"submit_hash": submit_hash})

    async def next_number(self, venue: Venue) -> int:
        """Return the number of the venue's next submission; no number is given twice."""
        changed = await self.venues.require(
            {"_id": venue.id}, {"chair_id": venue.chair_id}, increments={"last_number": 1}
        )
        return changed.last_number

    async def advance(self, venue: Venue, target: VenueState, **changes: Any) -> Venue:
        """Move a venue on. Raises Conflict when it has moved on already (compare-and-set on its state)."""
        where = {"_id": venue.id, "state": {"$in": VENUE.sources(target)}}
        changed = await self.venues.update(where, {**changes, "state": target})
        if changed is None:
            raise Conflict(f"this venue is {venue.state.value} already")
        return changed

    async def submissions_of(self, venue_id: str) -> list[VenueSubmission]:
        """Return what was submitted and not withdrawn, by number."""
        found = await self.submissions.find({"venue_id": venue_id}, (("number", 1),), MOST)
        return [one for one in found if one.withdrawn_at is None]

    async def submissions_by(self, venue_id: str, author_id: str) -> list[VenueSubmission]:
        """Return an author's submissions to a venue."""
        where = {"venue_id": venue_id, "author_id": author_id}
        return await self.submissions.find(where, (("number", 1),), MOST)

    async def submissions_of_author(self, author_id: str) -> list[VenueSubmission]:
        """Return an author's submissions to whatever venue, newest first."""
        return await self.submissions.find({"author_id": author_id}, limit=MOST)

    async def venues_by_ids(self, ids: Sequence[str]) -> dict[str, Venue]:
        """Return venues by id."""
        return await by_ids(self.venues, ids)

    async def reviewers_of(self, venue_id: str) -> list[VenueReviewer]:
        """Return the roster, in the order in which it was made."""
        return await self.reviewers.find({"venue_id": venue_id}, (("created_at", 1),), MOST)

    async def reviewer_by_hash(self, token_hash: str) -> VenueReviewer | None:
        """Return the reviewer of a personal page, or None."""
        return await self.reviewers.find_one({"token_hash": token_hash})

    async def reviews_of(self, venue_id: str) -> list[VenueReview]:
        """Return every review of a venue, in the order of assignment."""
        return await self.reviews.find({"venue_id": venue_id}, (("created_at", 1),), 10 * MOST)

    async def reviews_by(self, reviewer_id: str) -> list[VenueReview]:
        """Return what a reviewer has to review."""
        return await self.reviews.find({"reviewer_id": reviewer_id}, (("created_at", 1),), MOST)

    async def reviews_about(self, submission_id: str) -> list[VenueReview]:
        """Return the reviews of a submission."""
        return await self.reviews.find({"submission_id": submission_id}, (("_id", 1),), MOST)

    async def links_of(self, venue_id: str) -> list[ShareLink]:
        """Return the share links of a venue that were not revoked."""
        found = await self.links.find({"owner_id": venue_id}, (("created_at", 1),), 20 * MOST)
        return [link for link in found if link.revoked_at is None]

    async def links_by_ids(self, ids: Sequence[str]) -> dict[str, ShareLink]:
        """Return share links by id."""
        return await by_ids(self.links, ids)

    async def probes_of(self, venue_id: str) -> list[VenueProbe]:
        """Return every check that was asked for."""
        return await self.probes.find({"venue_id": venue_id}, (("created_at", 1),), 10 * MOST)

    async def probes_in(self, state: ProbeState, limit: int = MOST) -> list[VenueProbe]:
        """Return checks in a state, of whatever venue, the longest waiting first."""
        return await self.probes.find({"state": state}, (("created_at", 1),), limit)

    async def versions(self, ids: Sequence[str]) -> dict[str, Version]:
        """Return versions by id."""
        return await by_ids(self._versions, ids)

    async def users(self, ids: Sequence[str]) -> dict[str, User]:
        """Return accounts by id."""
        return await by_ids(self._users, ids)

    async def run(self, run_id: str) -> Run | None:
        """Return a run; None while no runner has taken note of it."""
        return await self._runs.find_one({"_id": run_id})

    async def check(self, check_id: str) -> ClaimCheck | None:
        """Return the check of a claim; None while no runner has taken note of it."""
        return await self._checks.find_one({"_id": check_id})

    async def note(self, reviewer: VenueReviewer, **changes: Any) -> VenueReviewer:
        """Change what is kept of a reviewer."""
        return await self.reviewers.require({"_id": reviewer.id}, changes)

    async def mark_opened(self, reviewer: VenueReviewer) -> None:
        """Note that a reviewer has looked at their page."""
        if reviewer.opened_at is None:
            await self.reviewers.update({"_id": reviewer.id}, {"opened_at": utcnow()})

    async def delete_all(self, venue: Venue) -> None:
        """Delete a venue and what belongs to it; its share links stay, revoked, for their runs' sake."""
        for collection in (self.probes, self.reviews, self.reviewers, self.submissions):
            await collection.delete({"venue_id": venue.id})
        await self.venues.delete({"_id": venue.id})
