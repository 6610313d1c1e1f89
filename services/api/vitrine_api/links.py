"""Share links: the right to run one version, for whoever holds the token."""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from vitrine_api import audit
from vitrine_api.accounts import EMAIL
from vitrine_api.blind_texts import BlindTexts
from vitrine_api.blind_use import was_blind
from vitrine_api.credentials import hash_secret, new_secret, visitor_id
from vitrine_api.link_doors import Doors, new_passcode
from vitrine_api.link_states import check_usable, link_state, seconds_left
from vitrine_api.models import Models, Reference
from vitrine_api.passwords import Passwords
from vitrine_api.policy import Action, Member, Visitor, require
from vitrine_api.progress import Follower, Hub
from vitrine_api.rates import RateLimit
from vitrine_api.repository import Page, Repository, page_of
from vitrine_api.runs import Runs
from vitrine_common.clock import utcnow
from vitrine_common.documents import ShareLink, Version
from vitrine_common.documents.link import Access
from vitrine_common.errors import Conflict, Invalid, NotFound, Problem
from vitrine_common.ids import new_id
from vitrine_common.messages import LinkChanged, LinkRevoked

TOKEN_BITS = 128
LISTED = 60
"""Public links looked at for the front page."""
WATCH_SECONDS = 20.0
"""Pause between looks at the database of an open page: what happens to its link is told by messages."""
MAX_RECIPIENTS = 100
MAX_EMAILS = 200
ANY_ORIGIN = "*"
_ORIGIN = re.compile(r"https?://(?:[a-z0-9-]+\.)*[a-z0-9-]+(?::\d{1,5})?", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What a link shall be like.

    `passcode` is None for none and empty for one that is made up; `lifetime`, `max_runs`, `rate_runs` and
    `max_input_bytes` are None for no limit.
    """

    access: Access = "link"
    passcode: str | None = None
    emails: Sequence[str] = ()
    lifetime: timedelta | None = None
    max_runs: int | None = None
    rate_runs: int | None = None
    rate_seconds: int = 3600
    max_input_bytes: int | None = None
    embed_origins: Sequence[str] = ()
    blind: bool = False
    label: str = ""


@dataclass(frozen=True)
class NewLink:
    """A link just made; token and passcode are told this once."""

    link: ShareLink
    version: Version
    token: str
    passcode: str | None = None
    warnings: tuple[str, ...] = ()
    """What in a blind link's texts would tell who wrote them."""


class Links:
    """Makes, resolves, alters and revokes links.

    Args:
        repository: where they are kept.
        models: the versions that they show.
        runs: what is cancelled with them.
        doors: of restricted links.
        passwords: how passcodes are hashed.
        texts: what is read of a version that is shared blindly.
        guesses: unknown tokens, by address.
        hub: news of links.
    """

    def __init__(  # noqa: PLR0917 - wired in one place
        self,
        repository: Repository,
        models: Models,
        runs: Runs,
        doors: Doors,
        passwords: Passwords,
        texts: BlindTexts,
        guesses: RateLimit,
        hub: Hub,
    ) -> None:
        self._links = repository.links
        self._accounts = repository.accounts
        self._models = models
        self._runs = runs
        self._doors = doors
        self._passwords = passwords
        self._texts = texts
        self._guesses = guesses
        self._hub = hub

    async def create(
        self, member: Member, reference: Reference, wish: Wish, recipients: Sequence[str] = ()
    ) -> list[NewLink]:
        """Return new links, pinned to the version that `reference` names now: one for each recipient.

        Without recipients it is one link. Raises Invalid naming each field that is wrong.
        """
        version = await self._models.version(member, reference)
        require(member, Action.CHANGE, version)
        wish = _checked(wish, recipients)
        identities, warnings = await self._texts.look(member.user, version) if wish.blind else ((), ())
        group = new_id("group") if recipients else ""
        made = []
        for recipient in recipients or [""]:
            link, token, passcode = await self._new(member, version, wish, list(identities))
            link.recipient, link.group_id = recipient, group
            await self._links.links.insert(link)
            await audit.record(self._accounts, member, "link.created", link)
            made.append(NewLink(link, version, token, passcode, tuple(warnings)))
        return made

    async def _new(
        self, member: Member, version: Version, wish: Wish, identities: list[str]
    ) -> tuple[ShareLink, str, str | None]:
        token = new_secret(TOKEN_BITS)
        passcode = new_passcode() if wish.passcode == "" else wish.passcode
        link = ShareLink(
            id=new_id("link"),
            token_hash=hash_secret(token),
            token_hint=token[:4],
            public_token=token if wish.access == "public" else None,
            owner_id=member.id,
            version_id=version.id,
            version_digest=version.digest,
            label=wish.label,
            access=wish.access,
            passcode_hash=await self._passwords.hash_passcode(passcode) if passcode is not None else None,
            emails=list(wish.emails),
            blind=wish.blind,
            identities=identities,
            embed_origins=list(wish.embed_origins),
            expires_at=utcnow() + wish.lifetime if wish.lifetime else None,
            max_runs=wish.max_runs,
            rate_runs=wish.rate_runs,
            rate_seconds=wish.rate_seconds,
            max_input_bytes=wish.max_input_bytes,
        )
        return link, token, passcode

    async def page(self, member: Member, limit: int, after: str | None) -> Page[ShareLink]:
        """Return the member's links."""
        require(member, Action.SEE, None)
        return await page_of(self._links.links, {"owner_id": member.id}, limit, after)

    async def get(self, member: Member, link_id: str) -> ShareLink:
        """Return one of the member's links. Raises NotFound."""
        link = await self._links.links.get(link_id)
        require(member, Action.SEE, link)
        return link

    async def listed(self) -> list[ShareLink]:
        """Return the public links that work now, for the front page, the newest first."""
        return [link for link in await self._links.public(LISTED) if link_state(link) == "active"]

    async def edit(self, member: Member, link_id: str, changes: Mapping[str, Any]) -> ShareLink:
        """Alter a link's end, quotas, name or pause, and tell open pages.

        Args:
            member: who asks.
            link_id: which.
            changes: of `expires_at`, `max_runs`, `rate_runs`, `rate_seconds`, `max_input_bytes`, `label`,
                `paused`, `embed_origins`.

        Raises NotFound, Conflict for a link that was revoked, Invalid for fewer runs of a blind link.
        """
        link = await self._links.links.get(link_id)
        require(member, Action.CHANGE, link)
        if link.revoked_at is not None:
            raise Conflict("this link was revoked, which is for good; make another")
        if was_blind(link) and _is_lower(changes.get("max_runs"), link.max_runs):
            message = (
                "a blind link's runs can only become more: with fewer, its end would tell how many there were"
            )
            raise Invalid(f"max_runs: {message}", (Problem("max_runs", message),))
        if "embed_origins" in changes:
            changes = {**changes, "embed_origins": _origins(changes["embed_origins"])}
        changed = await self._links.links.update(
            {"_id": link_id}, changes, messages=[LinkChanged(link_id=link_id)]
        )
        await audit.record(self._accounts, member, "link.changed", link)
        return changed or link

    async def revoke(self, member: Member, link_id: str) -> None:
        """End a link at once; what waits or works for it is cancelled. Doing so twice is no error."""
        link = await self._links.links.get(link_id)
        require(member, Action.CHANGE, link)
        await self.end(link, member)

    async def end(self, link: ShareLink, actor: Member | str) -> None:
        """End a link that `actor` may end: whether they may was decided before."""
        revoked = await self._links.links.update(
            {"_id": link.id, "revoked_at": None},
            {"revoked_at": utcnow()},
            messages=[LinkRevoked(link_id=link.id)],
        )
        if revoked is not None:
            await audit.record(self._accounts, actor, "link.revoked", link)
        await self._runs.cancel_of_link(link)

    async def unblind(self, member: Member, link_id: str) -> ShareLink:
        """Tell a blind link's holders whose model it is, from now on and for good.

        The other direction stays as it was promised: runs made until then stay aggregate.
        """
        link = await self._links.links.get(link_id)
        require(member, Action.CHANGE, link)
        return await self.open_up(link, member)

    async def open_up(self, link: ShareLink, actor: Member | str) -> ShareLink:
        """Un-blind a link that `actor` may un-blind: whether they may was decided before. Raises Conflict."""
        changed = await self._links.links.update(
            {"_id": link.id, "blind": True}, {"blind": False}, messages=[LinkChanged(link_id=link.id)]
        )
        if changed is None:
            raise Conflict("this link is not blind")
        await audit.record(self._accounts, actor, "link.unblinded", link)
        return changed

    async def held(self, token: str, address: str) -> ShareLink:
        """Return the link of a token, whether it works or not.

        An address that asked for too many unknown tokens gets RateLimited for known ones, too: neither
        that answer nor its time tells which exist. Raises NotFound.
        """
        self._guesses.check(address)
        hashed = hash_secret(token)
        link = await self._links.by_token_hash(hashed)
        if link is None or not hmac.compare_digest(link.token_hash.encode(), hashed.encode()):
            self._guesses.take(address)
            raise NotFound("there is no such link; check that the address is complete")
        return link

    async def visitor(
        self, token: str, secret: str, *, address: str = "", passed: str | None = None
    ) -> Visitor:
        """Return whoever holds `token`, told from other holders by `secret`.

        Args:
            token: the link's.
            secret: the visitor's.
            address: where the request comes from; guesses are counted by it.
            passed: the secret of a pass, for restricted links.

        Raises NotFound for an unknown token, Gone for a link that was revoked or has expired, LinkPaused,
        LinkLocked.
        """
        link = await self.held(token, address)
        check_usable(link)
        await self._doors.check(link, passed)
        return Visitor(link, visitor_id(link.id, secret))

    async def opened(self, visitor: Visitor) -> None:
        """Count a visitor who has just come."""
        await self._links.count_opened(visitor.link)

    def watch(self, visitor: Visitor) -> Follower[ShareLink]:
        """Return a follower of the visitor's link, to the second that it stops working."""
        return Follower(
            hub=self._hub,
            ids=(visitor.link.id,),
            read=lambda: self._links.links.get(visitor.link.id),
            mark=lambda link: (link.expires_at, link.max_runs),
            is_final=lambda link: link_state(link) in {"revoked", "expired", "paused"},
            recheck_seconds=WATCH_SECONDS,
            due_seconds=seconds_left,
        )

    async def version(self, visitor: Visitor) -> Version:
        """Return the version that a link runs."""
        return await self._models.version_by_id(visitor, visitor.link.version_id)

    async def versions_of(self, links: list[ShareLink]) -> dict[str, Version]:
        """Return the versions of links by id, for lists."""
        return await self._models.versions_by_ids([link.version_id for link in links])


def _checked(wish: Wish, recipients: Sequence[str]) -> Wish:
    """Return the wish in its stored form. Raises Invalid naming each field that is wrong."""
    problems: list[Problem] = []
    emails = list(dict.fromkeys(email.strip().lower() for email in wish.emails if email.strip()))
    problems += [
        Problem("emails", f"`{one[:80]}` is no e-mail address") for one in emails if not EMAIL.fullmatch(one)
    ]
    has_door = wish.passcode is not None or bool(emails)
    if wish.access == "restricted" and not has_door:
        problems.append(Problem("access", "a restricted link needs a passcode, or e-mail addresses, or both"))
    if wish.access == "public" and has_door:
        problems.append(Problem("access", "a public link has no passcode and no list of addresses"))
    if wish.access == "public" and (wish.blind or recipients):
        problems.append(
            Problem("access", "a public link is listed with its owner: it is neither blind nor personal")
        )
    if len(emails) > MAX_EMAILS or len(recipients) > MAX_RECIPIENTS:
        problems.append(
            Problem("emails", f"take at most {MAX_EMAILS} addresses and {MAX_RECIPIENTS} recipients")
        )
    if len(set(recipients)) < len(recipients):
        problems.append(Problem("recipients", "two recipients have the same name"))
    if problems:
        raise Invalid("; ".join(f"{item.field}: {item.message}" for item in problems), tuple(problems))
    access: Access = "restricted" if has_door else wish.access
    return replace(wish, access=access, emails=emails, embed_origins=_origins(wish.embed_origins))


def _origins(given: Iterable[str]) -> list[str]:
    """Return the origins that may frame a link. Raises Invalid."""
    found = []
    for text in given:
        text = text.strip().rstrip("/")  # noqa: PLW2901 - the same text, tidied
        if not text:
            continue
        if text != ANY_ORIGIN and not _ORIGIN.fullmatch(text):
            message = (
                f"`{text[:80]}` is no origin; write for example `https://conference.example`, or `*` for any"
            )
            raise Invalid(f"embed: {message}", (Problem("embed", message),))
        found.append(text if text == ANY_ORIGIN else _origin(text))
    return list(dict.fromkeys(found))[:20]


def _origin(text: str) -> str:
    parts = urlsplit(text)
    return f"{parts.scheme.lower()}://{parts.netloc.lower()}"


def ends_at(lifetime: timedelta | None) -> datetime | None:
    """Return when a link ends that gets so much time now."""
    return utcnow() + lifetime if lifetime else None


def _is_lower(wanted: int | None, now: int | None) -> bool:
    """Say whether a limit of runs is below the one that there is; None is no limit."""
    return wanted is not None and (now is None or wanted < now)
