"""What authors do: submit a version until the deadline, replace it, withdraw it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from vitrine_api import audit, blindness
from vitrine_api.models import Models, Reference
from vitrine_api.notifications.news import News, Notices
from vitrine_api.policy import Action, Member, require
from vitrine_api.repository import Accounts
from vitrine_api.venues.hosting import check_takes
from vitrine_api.venues.plans import parse_conflicts
from vitrine_api.venues.repository import MOST, VenueRepository
from vitrine_api.venues.sharing import VenueLinks
from vitrine_common.clock import utcnow
from vitrine_common.documents import Venue, VenueSubmission, Version
from vitrine_common.errors import Conflict, Invalid, Problem
from vitrine_common.states import VersionState

MAX_TITLE, MAX_PAPER = 300, 60


@dataclass(frozen=True)
class Entry:
    """What an author writes about a submission.

    `conflicts` are addresses and domains of those who must not review it.
    """

    paper_id: str
    title: str
    conflicts: Sequence[str] = ()

    def checked(self) -> Entry:
        """Return it in its stored form. Raises Invalid."""
        return Entry(
            _one_line("paper_id", self.paper_id, MAX_PAPER),
            _one_line("title", self.title, MAX_TITLE),
            parse_conflicts("conflicts", self.conflicts),
        )


@dataclass(frozen=True)
class Submitted:
    """A submission, and what in its texts would tell who wrote it."""

    submission: VenueSubmission
    warnings: tuple[str, ...] = ()


class Submissions:
    """Takes and reads submissions.

    Args:
        repository: where they are kept.
        accounts: where the audit log is.
        models: the authors' versions.
        links: the share links of a venue.
        notices: tells the chair.
    """

    def __init__(
        self,
        repository: VenueRepository,
        accounts: Accounts,
        models: Models,
        links: VenueLinks,
        notices: Notices,
    ) -> None:
        self._repository = repository
        self._accounts = accounts
        self._models = models
        self._links = links
        self._notices = notices

    async def submit(self, member: Member, venue: Venue, reference: Reference, entry: Entry) -> Submitted:
        """Pin a version of the member's for a venue; the same paper id again replaces it.

        Raises Conflict after the deadline and for a version that is not ready, NotFound, Invalid.
        """
        check_takes(venue)
        version = await self._models.version(member, reference)
        require(member, Action.CHANGE, version)
        if version.state is not VersionState.READY:
            raise Conflict(f"{version.reference} cannot be run yet; submit it once it is ready")
        entry = entry.checked()
        known = await self._known(venue, member, entry.paper_id)
        if known is None:
            submission = await self._insert(venue, member, version, entry)
        else:
            submission = await self._replace(venue, known, version, entry)
        await self._note(venue, submission, "submission.made" if known is None else "submission.replaced")
        hidden = not all(blindness.authors_shown(venue, to_chair=chair) for chair in (True, False))
        found = await self._links.warnings(submission, f"{entry.title}\n{entry.paper_id}") if hidden else []
        return Submitted(submission, tuple(found))

    async def _known(self, venue: Venue, member: Member, paper_id: str) -> VenueSubmission | None:
        submission_id = _id_of(venue, member, paper_id)
        return await self._repository.submissions.find_one({"_id": submission_id})

    async def _insert(self, venue: Venue, member: Member, version: Version, entry: Entry) -> VenueSubmission:
        if len(await self._repository.submissions_of(venue.id)) >= MOST:
            raise Conflict(f"this venue has {MOST} submissions, which is all that it takes")
        submission = VenueSubmission(
            id=_id_of(venue, member, entry.paper_id),
            venue_id=venue.id,
            chair_id=venue.chair_id,
            author_id=member.id,
            number=await self._repository.next_number(venue),
            paper_id=entry.paper_id,
            title=entry.title,
            version_id=version.id,
            version_digest=version.digest,
            conflicts=list(entry.conflicts),
            updated_at=utcnow(),
        )
        submission.chair_link_id = (await self._links.for_chair(venue, submission)).id
        try:
            return await self._repository.submissions.insert(submission)
        except Conflict:
            await self._links.end(submission.chair_link_id)
            raise Conflict("this paper is being submitted already; look at the page again") from None

    async def _replace(
        self, venue: Venue, known: VenueSubmission, version: Version, entry: Entry
    ) -> VenueSubmission:
        changed = await self._repository.submissions.require(
            {"_id": known.id},
            {
                "title": entry.title,
                "conflicts": list(entry.conflicts),
                "version_id": version.id,
                "version_digest": version.digest,
                "withdrawn_at": None,
                "updated_at": utcnow(),
            },
        )
        if known.version_digest == version.digest and known.withdrawn_at is None:
            return changed
        link = await self._links.for_chair(venue, changed)
        changed = await self._repository.submissions.require({"_id": known.id}, {"chair_link_id": link.id})
        await self._links.end(known.chair_link_id)
        for review in await self._repository.reviews_about(known.id):
            new = await self._links.for_review(venue, changed)
            await self._repository.reviews.update(
                {"_id": review.id}, {"link_id": new.id, "version_digest": version.digest}
            )
            await self._links.end(review.link_id)
        return changed

    async def _note(self, venue: Venue, submission: VenueSubmission, action: str) -> None:
        # Who submitted stands in no log: the operator reads it, and must not learn it either.
        await audit.record(self._accounts, audit.SYSTEM, action, submission, owner_id=venue.chair_id)
        words = "has a new submission" if action == "submission.made" else "has a new version of a submission"
        await self._notices.tell(
            News(
                user_id=venue.chair_id,
                kind="review.submitted",
                key=f"{submission.id}:{submission.version_digest}",
                title=f"“{venue.name}” {words}",
                text=f"Submission {submission.number}: {submission.title}",
                path=f"/venues/{venue.id}",
                data={"venue_id": venue.id, "submission_id": submission.id},
            )
        )

    async def withdraw(self, member: Member, submission_id: str) -> VenueSubmission:
        """Take a submission back, until the deadline; its links end. Raises NotFound, Conflict."""
        submission = await self._repository.submissions.get(submission_id)
        require(member, Action.CHANGE, submission)
        venue = await self._repository.venues.get(submission.venue_id)
        check_takes(venue)
        changed = await self._repository.submissions.require(
            {"_id": submission_id}, {"withdrawn_at": submission.withdrawn_at or utcnow()}
        )
        await self._links.end(submission.chair_link_id)
        for review in await self._repository.reviews_about(submission_id):
            await self._links.end(review.link_id)
        await audit.record(
            self._accounts, audit.SYSTEM, "submission.withdrawn", submission, owner_id=venue.chair_id
        )
        return changed

    async def mine(self, member: Member, venue: Venue) -> list[VenueSubmission]:
        """Return the member's submissions to a venue, withdrawn ones left out."""
        found = await self._repository.submissions_by(venue.id, member.id)
        return [one for one in found if one.withdrawn_at is None]

    async def all_mine(self, member: Member) -> list[tuple[VenueSubmission, Venue]]:
        """Return the member's submissions to whatever venue, newest first."""
        require(member, Action.SEE, None)
        found = await self._repository.submissions_of_author(member.id)
        venues = await self._repository.venues_by_ids([one.venue_id for one in found])
        return [(one, venues[one.venue_id]) for one in found if one.venue_id in venues]


def _id_of(venue: Venue, member: Member, paper_id: str) -> str:
    digest = hashlib.sha256(f"{venue.id}\n{member.id}\n{paper_id.lower()}".encode()).hexdigest()
    return f"submission_{digest[:32]}"


def _one_line(field: str, text: str, most: int) -> str:
    text = " ".join(text.split())
    if text and len(text) <= most:
        return text
    message = f"give it, in at most {most} characters"
    raise Invalid(f"{field}: {message}", (Problem(field, message),))
