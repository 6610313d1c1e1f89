"""Share links: the right to run one version, for whoever holds the token."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from vitrine_api import audit
from vitrine_api.credentials import hash_secret, new_secret, visitor_id
from vitrine_api.models import Models, Reference
from vitrine_api.policy import Action, Member, Visitor, require
from vitrine_api.repository import Page, Repository, page_of
from vitrine_api.runs import Runs, check_usable
from vitrine_common.clock import utcnow
from vitrine_common.documents import ShareLink, Version
from vitrine_common.errors import NotFound
from vitrine_common.ids import new_id
from vitrine_common.messages import LinkRevoked

TOKEN_BITS = 128
LISTED = 60
"""Public links looked at for the front page."""
Access = Literal["public", "link"]


class Links:
    """Makes, resolves and revokes links."""

    def __init__(self, repository: Repository, models: Models, runs: Runs) -> None:
        self._links = repository.links
        self._bundles = repository.bundles
        self._accounts = repository.accounts
        self._models = models
        self._runs = runs

    async def create(
        self,
        member: Member,
        reference: Reference,
        *,
        access: Access = "link",
        lifetime: timedelta | None = None,
        max_runs: int | None = None,
        label: str = "",
    ) -> tuple[ShareLink, Version, str]:
        """Return a new link, pinned to the version that `reference` names now, and its token."""
        version = await self._models.version(member, reference)
        require(member, Action.CHANGE, version)
        token = new_secret(TOKEN_BITS)
        link = ShareLink(
            id=new_id("link"),
            token_hash=hash_secret(token),
            token_hint=token[:4],
            public_token=token if access == "public" else None,
            owner_id=member.id,
            version_id=version.id,
            version_digest=version.digest,
            label=label,
            access=access,
            expires_at=utcnow() + lifetime if lifetime else None,
            max_runs=max_runs,
        )
        await self._links.links.insert(link)
        await audit.record(self._accounts, member, "link.created", link)
        return link, version, token

    async def page(self, member: Member, limit: int, after: str | None) -> Page[ShareLink]:
        """Return the member's links."""
        require(member, Action.SEE, None)
        return await page_of(self._links.links, {"owner_id": member.id}, limit, after)

    async def listed(self) -> list[ShareLink]:
        """Return the public links that work now, for the front page, the newest first."""
        return [link for link in await self._links.public(LISTED) if link_state(link) == "active"]

    async def revoke(self, member: Member, link_id: str) -> None:
        """End a link at once; what waits or works for it is cancelled. Doing so twice is no error."""
        link = await self._links.links.get(link_id)
        require(member, Action.CHANGE, link)
        revoked = await self._links.links.update(
            {"_id": link_id, "revoked_at": None},
            {"revoked_at": utcnow()},
            messages=[LinkRevoked(link_id=link_id)],
        )
        if revoked is not None:
            await audit.record(self._accounts, member, "link.revoked", link)
        await self._runs.cancel_of_link(link)

    async def visitor(self, token: str, secret: str) -> Visitor:
        """Return whoever holds `token`, told from other holders by `secret`.

        Raises NotFound for an unknown token, Gone for a link that was revoked or has expired.
        """
        link = await self._links.by_token_hash(hash_secret(token))
        if link is None:
            raise NotFound("there is no such link; check that the address is complete")
        check_usable(link)
        return Visitor(link, visitor_id(link.id, secret))

    async def version(self, visitor: Visitor) -> Version:
        """Return the version that a link runs."""
        return await self._models.version_by_id(visitor, visitor.link.version_id)

    async def versions_of(self, links: list[ShareLink]) -> dict[str, Version]:
        """Return the versions of links by id, for lists."""
        return await self._models.versions_by_ids([link.version_id for link in links])


def link_state(link: ShareLink) -> Literal["active", "expired", "revoked", "used_up"]:
    """Return why a link does or does not work now."""
    if link.revoked_at is not None:
        return "revoked"
    if link.expires_at is not None and link.expires_at <= utcnow():
        return "expired"
    if link.max_runs is not None and link.runs_used >= link.max_runs:
        return "used_up"
    return "active"
