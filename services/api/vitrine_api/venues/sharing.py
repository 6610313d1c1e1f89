"""The share links of a venue: one for the chair and one for each review; they belong to no account."""

from __future__ import annotations

from vitrine_api import audit
from vitrine_api.blind_texts import BlindTexts
from vitrine_api.credentials import hash_secret
from vitrine_api.links import Links
from vitrine_api.venues.repository import VenueRepository
from vitrine_api.venues.tokens import link_token
from vitrine_common.documents import ShareLink, User, Venue, VenueSubmission, Version
from vitrine_common.errors import Gone
from vitrine_common.ids import new_id

CHAIRS_RUNS = 500
"""Runs and checks of one submission by its chair, those that the platform makes for it included."""


class VenueLinks:
    """Makes and ends the links of venues.

    Args:
        repository: where venues are kept.
        links: ends links and tells open pages.
        texts: what is read of a version that is shared blindly.
    """

    def __init__(self, repository: VenueRepository, links: Links, texts: BlindTexts) -> None:
        self._repository = repository
        self._links = links
        self._texts = texts

    async def version(self, submission: VenueSubmission) -> tuple[Version, User]:
        """Return the submitted version and its author. Raises Gone when either was deleted."""
        version = (await self._repository.versions([submission.version_id])).get(submission.version_id)
        author = (await self._repository.users([submission.author_id])).get(submission.author_id)
        if version is None or author is None:
            raise Gone(f"the version of submission {submission.number} was deleted by its author")
        return version, author

    async def for_review(self, venue: Venue, submission: VenueSubmission) -> ShareLink:
        """Return a new link for one reviewer and one submission."""
        blind = venue.blind and not (venue.unblinded_at and venue.revealed)
        return await self._new(venue, submission, blind=blind, max_runs=venue.max_runs)

    async def for_chair(self, venue: Venue, submission: VenueSubmission) -> ShareLink:
        """Return a new link for the chair, by which checks are made as well."""
        blind = venue.hidden_from_chair and venue.unblinded_at is None
        return await self._new(venue, submission, blind=blind, max_runs=CHAIRS_RUNS)

    async def _new(
        self, venue: Venue, submission: VenueSubmission, *, blind: bool, max_runs: int | None
    ) -> ShareLink:
        version, author = await self.version(submission)
        identities = (await self._texts.look(author, version))[0] if blind else []
        link_id = new_id("link")
        token = link_token(venue, link_id)
        link = ShareLink(
            id=link_id,
            token_hash=hash_secret(token),
            token_hint=token[:4],
            owner_id=venue.id,
            venue_id=venue.id,
            version_id=version.id,
            version_digest=version.digest,
            blind=blind,
            identities=identities,
            max_runs=max_runs,
        )
        return await self._repository.links.insert(link)

    async def end(self, link_id: str) -> None:
        """End a link at once, with what runs by it; one that does not exist or has ended is no error."""
        found = (await self._repository.links_by_ids([link_id])).get(link_id) if link_id else None
        if found is not None:
            await self._links.end(found, audit.SYSTEM)

    async def end_all(self, venue: Venue) -> None:
        """End every link of a venue."""
        for link in await self._repository.links_of(venue.id):
            await self._links.end(link, audit.SYSTEM)

    async def open_up(self, link_id: str) -> None:
        """Tell the holders of a blind link whose model it is; one that is not blind stays as it is."""
        link = (await self._repository.links_by_ids([link_id])).get(link_id)
        if link is not None and link.blind and link.revoked_at is None:
            await self._links.open_up(link, audit.SYSTEM)

    async def warnings(self, submission: VenueSubmission, title: str) -> list[str]:
        """Return what in a version's own texts, and in a submission's title, would tell who wrote them."""
        version, author = await self.version(submission)
        return await self._texts.warnings(author, version, {"the submission's title": title})
