"""The venue itself: made by a chair, altered, closed, deleted."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import Any

from vitrine_api import audit
from vitrine_api.credentials import hash_secret
from vitrine_api.policy import Action, Member, require
from vitrine_api.rates import RateLimit
from vitrine_api.repository import Accounts, Page, page_of
from vitrine_api.venues.plans import VenueWish, checklist_of, decisions_of, parse_deadline
from vitrine_api.venues.repository import VenueRepository
from vitrine_api.venues.sharing import VenueLinks
from vitrine_api.venues.tokens import submit_token
from vitrine_common.clock import utcnow
from vitrine_common.documents import Venue
from vitrine_common.documents.venue import new_key
from vitrine_common.errors import Conflict, Invalid, NotFound, Problem
from vitrine_common.ids import new_id
from vitrine_common.states import VenueState

MAX_NAME, MAX_TEXT = 200, 5000


def takes_submissions(venue: Venue) -> bool:
    """Say whether the venue is open and its deadline has not come; it is over in the second that it names."""
    return venue.state is VenueState.OPEN and utcnow() < venue.deadline


def check_takes(venue: Venue) -> None:
    """Raise Conflict unless authors may submit, replace and withdraw now."""
    if not takes_submissions(venue):
        raise Conflict(
            "the deadline of this venue is over" if venue.state is VenueState.OPEN else _over(venue)
        )


def check_reviewing(venue: Venue) -> None:
    """Raise Conflict unless reviewers may write now."""
    if venue.state is not VenueState.OPEN:
        raise Conflict(_over(venue))


def _over(venue: Venue) -> str:
    return "this venue has decided" if venue.state is VenueState.DECIDED else "this venue is closed"


class Venues:
    """Makes, finds, alters and ends venues.

    Args:
        repository: where they are kept.
        accounts: where the audit log is.
        links: the share links that end with them.
        guesses: unknown tokens, by address.
    """

    def __init__(
        self, repository: VenueRepository, accounts: Accounts, links: VenueLinks, guesses: RateLimit
    ) -> None:
        self._repository = repository
        self._accounts = accounts
        self._links = links
        self._guesses = guesses

    async def create(self, member: Member, wish: VenueWish) -> Venue:
        """Return a new venue. Raises Denied for who is no chair, Invalid naming each field that is wrong."""
        require(member, Action.CHAIR, None)
        name = _text("name", wish.name, MAX_NAME)
        if not name:
            raise _invalid("name", "give the venue a name")
        deadline = parse_deadline(wish.deadline, wish.time_zone)
        if deadline <= utcnow():
            raise _invalid("deadline", "the deadline is over already; take a later one")
        venue_id, key = new_id("venue"), new_key()
        venue = Venue(
            id=venue_id,
            chair_id=member.id,
            name=name,
            description=_text("description", wish.description, MAX_TEXT),
            deadline=deadline,
            time_zone=wish.time_zone,
            blind=wish.blind or wish.hidden_from_chair,
            hidden_from_chair=wish.hidden_from_chair,
            max_runs=wish.max_runs,
            checklist=checklist_of(wish.automatic, wish.manual),
            decisions=decisions_of(wish.decisions),
            key=key,
            submit_hash=hash_secret(submit_token(venue_id, key)),
        )
        await self._repository.venues.insert(venue)
        await audit.record(self._accounts, member, "venue.created", venue, owner_id=member.id)
        return venue

    async def page(self, member: Member, limit: int, after: str | None) -> Page[Venue]:
        """Return the member's venues, newest first."""
        require(member, Action.SEE, None)
        return await page_of(self._repository.venues, {"chair_id": member.id}, limit, after)

    async def get(self, member: Member, venue_id: str, action: Action = Action.SEE) -> Venue:
        """Return one of the member's venues. Raises NotFound."""
        venue = await self._repository.venues.get(venue_id)
        require(member, action, venue)
        return venue

    async def by_token(self, token: str, address: str) -> Venue:
        """Return the venue of a link for authors, open or not. Raises NotFound, RateLimited."""
        self._guesses.check(address)
        hashed = hash_secret(token)
        venue = await self._repository.by_submit_hash(hashed)
        if venue is None or not hmac.compare_digest(venue.submit_hash.encode(), hashed.encode()):
            self._guesses.take(address)
            raise NotFound("there is no such venue; check that the address is complete")
        return venue

    async def edit(self, member: Member, venue_id: str, changes: Mapping[str, Any]) -> Venue:
        """Alter a venue that is open.

        Args:
            member: who asks.
            venue_id: which.
            changes: of `name`, `description`, `deadline` and `time_zone` (as texts), `max_runs`; the
                quota counts for links made from then on.

        Raises NotFound, Conflict, Invalid.
        """
        venue = await self.get(member, venue_id, Action.CHANGE)
        check_reviewing(venue)
        written = dict(changes)
        if "deadline" in written or "time_zone" in written:
            zone = str(written.get("time_zone", venue.time_zone))
            given = written.get("deadline")
            written["deadline"] = parse_deadline(str(given), zone) if given else venue.deadline
        for field, most in (("name", MAX_NAME), ("description", MAX_TEXT)):
            if field in written:
                written[field] = _text(field, str(written[field]), most)
        if "name" in written and not written["name"]:
            raise _invalid("name", "give the venue a name")
        changed = await self._repository.venues.require({"_id": venue_id, "state": VenueState.OPEN}, written)
        await audit.record(self._accounts, member, "venue.changed", venue, owner_id=member.id)
        return changed

    async def close(self, member: Member, venue_id: str) -> Venue:
        """End a venue: its pages for authors and reviewers, and every link to a submission, at once."""
        venue = await self.get(member, venue_id, Action.CHANGE)
        closed = await self._repository.advance(venue, VenueState.CLOSED)
        await self._links.end_all(closed)
        await audit.record(self._accounts, member, "venue.closed", venue, owner_id=member.id)
        return closed

    async def delete(self, member: Member, venue_id: str) -> None:
        """Delete a venue with its roster, submissions and reviews; its links end first."""
        venue = await self.get(member, venue_id, Action.CHANGE)
        if venue.state is not VenueState.CLOSED:
            venue = await self._repository.advance(venue, VenueState.CLOSED)
        await self._links.end_all(venue)
        await self._repository.delete_all(venue)
        await audit.record(self._accounts, member, "venue.deleted", venue, owner_id=member.id)


def _text(field: str, text: str, most: int) -> str:
    text = text.strip()
    if len(text) > most:
        raise _invalid(field, f"take at most {most} characters")
    return text


def _invalid(field: str, message: str) -> Invalid:
    return Invalid(f"{field}: {message}", (Problem(field, message),))
