"""Who reviews: a personal page for each, by mail and shown to the chair."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from datetime import timedelta

from vitrine_api import audit
from vitrine_api.credentials import hash_secret
from vitrine_api.mail_outbox import MailOutbox
from vitrine_api.policy import Action, Referee, require
from vitrine_api.rates import RateLimit
from vitrine_api.repository import Accounts
from vitrine_api.venues.hosting import check_reviewing
from vitrine_api.venues.plans import Seat, local_words
from vitrine_api.venues.repository import MOST, VenueRepository
from vitrine_api.venues.sharing import VenueLinks
from vitrine_api.venues.tokens import reviewer_token, reviewer_url
from vitrine_common.clock import utcnow
from vitrine_common.documents import Venue, VenueReviewer
from vitrine_common.errors import Conflict, Gone, NotFound
from vitrine_common.ids import new_id
from vitrine_common.states import VenueState

BETWEEN_REMINDERS = timedelta(hours=12)


class Roster:
    """Keeps a venue's reviewers. Its methods trust their caller to have checked who owns the venue.

    Args:
        repository: where they are kept.
        accounts: where the audit log is.
        links: the share links that end with a reviewer.
        mail: tells them where their page is.
        guesses: unknown tokens, by address.
        base_url: where the pages are.
    """

    def __init__(  # noqa: PLR0917 - wired in one place
        self,
        repository: VenueRepository,
        accounts: Accounts,
        links: VenueLinks,
        mail: MailOutbox,
        guesses: RateLimit,
        base_url: str,
    ) -> None:
        self._repository = repository
        self._accounts = accounts
        self._links = links
        self._mail = mail
        self._guesses = guesses
        self._base_url = base_url

    async def add(self, venue: Venue, seats: Sequence[Seat]) -> list[VenueReviewer]:
        """Put reviewers on the roster and mail each their page. Those who are on it stay as they are."""
        check_reviewing(venue)
        known = {one.email for one in await self._repository.reviewers_of(venue.id)}
        if len(known) + len(seats) > MOST:
            raise Conflict(f"a venue has at most {MOST} reviewers")
        added = []
        for seat in seats:
            if seat.email in known:
                continue
            reviewer_id = new_id("reviewer")
            reviewer = VenueReviewer(
                id=reviewer_id,
                venue_id=venue.id,
                chair_id=venue.chair_id,
                name=seat.name,
                email=seat.email,
                conflicts=list(seat.conflicts),
                token_hash=hash_secret(reviewer_token(venue, reviewer_id, 0)),
            )
            await self._repository.reviewers.insert(reviewer)
            await audit.record(
                self._accounts, venue.chair_id, "reviewer.added", reviewer, owner_id=venue.chair_id
            )
            await self._invite(venue, reviewer)
            added.append(reviewer)
        return added

    async def _invite(self, venue: Venue, reviewer: VenueReviewer) -> None:
        text = (
            f"Hello {reviewer.name},\n\n"
            f"you are asked to review for “{venue.name}”. Your page, without an account:\n\n"
            f"{reviewer_url(self._base_url, venue, reviewer)}\n\n"
            "There you try the submitted models and note your verdicts; all is saved as you write. "
            "The address is yours alone: whoever has it writes in your name. "
            "Authors do not learn who you are.\n"
        )
        await self._mail.post(reviewer.email, f"You are asked to review for {venue.name}", text)

    async def get(self, venue: Venue, reviewer_id: str) -> VenueReviewer:
        """Return a reviewer of a venue. Raises NotFound."""
        found = await self._repository.reviewers.find_one({"_id": reviewer_id, "venue_id": venue.id})
        if found is None:
            raise NotFound(f"there is no venue reviewer {reviewer_id}")
        return found

    async def renew(self, venue: Venue, reviewer_id: str) -> VenueReviewer:
        """Give a reviewer's page a new address, which is mailed; the one before ends."""
        check_reviewing(venue)
        reviewer = await self.get(venue, reviewer_id)
        revision = reviewer.revision + 1
        hashed = hash_secret(reviewer_token(venue, reviewer.id, revision))
        reviewer = await self._repository.note(reviewer, revision=revision, token_hash=hashed)
        await audit.record(
            self._accounts, venue.chair_id, "reviewer.renewed", reviewer, owner_id=venue.chair_id
        )
        await self._invite(venue, reviewer)
        return reviewer

    async def remove(self, venue: Venue, reviewer_id: str) -> None:
        """Take a reviewer off the roster, with their reviews and links."""
        check_reviewing(venue)
        reviewer = await self.get(venue, reviewer_id)
        for review in await self._repository.reviews_by(reviewer.id):
            await self._links.end(review.link_id)
        await self._repository.reviews.delete({"reviewer_id": reviewer.id})
        await self._repository.reviewers.delete({"_id": reviewer.id})
        await audit.record(
            self._accounts, venue.chair_id, "reviewer.removed", reviewer, owner_id=venue.chair_id
        )

    async def remind(self, venue: Venue, reviewer_ids: Sequence[str] | None = None) -> int:
        """Mail those who have not finished; return how many. Nobody is reminded twice within twelve hours.

        Args:
            venue: the venue.
            reviewer_ids: whom; None for all.
        """
        check_reviewing(venue)
        now, reminded = utcnow(), 0
        reviews = await self._repository.reviews_of(venue.id)
        for reviewer in await self._repository.reviewers_of(venue.id):
            wanted = reviewer_ids is None or reviewer.id in reviewer_ids
            own = [one for one in reviews if one.reviewer_id == reviewer.id]
            left = sum(one.finished_at is None for one in own)
            lately = reviewer.reminded_at is not None and now - reviewer.reminded_at < BETWEEN_REMINDERS
            if not wanted or not left or lately:
                continue
            # Marked first: were this cut short in between, nobody is mailed twice.
            await self._repository.note(reviewer, reminded_at=now)
            text = (
                f"Hello {reviewer.name},\n\n{left} of your {len(own)} reviews for “{venue.name}” "
                f"{'is' if left == 1 else 'are'} not finished. Your page:\n\n"
                f"{reviewer_url(self._base_url, venue, reviewer)}\n\n"
                f"Submissions closed, or close, on {local_words(venue.deadline, venue.time_zone)}.\n"
            )
            await self._mail.post(reviewer.email, f"Your reviews for {venue.name}", text)
            reminded += 1
        return reminded

    async def referee(self, token: str, address: str) -> tuple[Referee, Venue]:
        """Return whoever holds the address of a reviewer's page. Raises NotFound, Gone, RateLimited."""
        self._guesses.check(address)
        hashed = hash_secret(token)
        reviewer = await self._repository.reviewer_by_hash(hashed)
        if reviewer is None or not hmac.compare_digest(reviewer.token_hash.encode(), hashed.encode()):
            self._guesses.take(address)
            raise NotFound("there is no such page; check that the address is complete, or ask the chair")
        venue = await self._repository.venues.get(reviewer.venue_id)
        if venue.state is VenueState.CLOSED:
            raise Gone("this venue is closed, and your page with it; thank you for reviewing")
        referee = Referee(reviewer)
        require(referee, Action.SEE, venue)
        await self._repository.mark_opened(reviewer)
        return referee, venue
