"""Who may call which model: read from the database at most once a second, dropped when told of a change.

What is remembered is what the ordinary way found: whose token it is, the version, the link and that its
door was passed. An entry lives less than a second, so that a revocation takes effect within one even where
its message is lost; ends by the clock are looked at in each call.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from vitrine_api.credentials import hash_secret
from vitrine_api.link_states import check_usable
from vitrine_api.links import Links
from vitrine_api.models import Models, Reference
from vitrine_api.policy import Action, Member, Principal, Visitor, require
from vitrine_api.runs import check_ready, check_ready_for_visitors
from vitrine_api.tokens import Tokens
from vitrine_common.clock import utcnow
from vitrine_common.documents import ShareLink, Version
from vitrine_common.errors import Unauthenticated
from vitrine_common.spec import ModelKind, Spec

KEPT_SECONDS = 0.9
"""How old what is remembered may be."""
FRESH_SECONDS = 0.4
"""Older than this it is read again in the background, while calls go on with it."""
MAX_KEPT = 10_000


@dataclass(frozen=True, slots=True)
class Admitted:
    """A principal that may run a version."""

    principal: Principal
    version: Version
    spec: Spec
    rate_key: str
    device: Literal["cpu", "gpu"] = "cpu"
    ends_at: datetime | None = None
    """When the token or link ends by the clock."""

    @property
    def link(self) -> ShareLink | None:
        """The link by which it came."""
        return self.principal.link if isinstance(self.principal, Visitor) else None

    @property
    def takes_tensors(self) -> bool:
        """Whether the model itself takes and gives tensors."""
        return self.spec.kind() is ModelKind.ONNX

    def check(self) -> None:
        """Raise what the version's state or the clock has to say. Raises Gone, Unauthenticated, Conflict."""
        link = self.link
        if link is not None:
            check_usable(link)
            check_ready_for_visitors(self.version)
            return
        if self.ends_at is not None and self.ends_at <= utcnow():
            raise Unauthenticated("this token has expired; log in again")
        check_ready(self.version)


@dataclass(slots=True)
class _Entry:
    admitted: Admitted
    since: float
    refreshing: asyncio.Task[Admitted] | None = None


class Admissions:
    """Admits calls.

    Args:
        tokens: of accounts.
        models: versions by reference.
        links: share links and their doors.
    """

    def __init__(self, tokens: Tokens, models: Models, links: Links) -> None:
        self._tokens = tokens
        self._models = models
        self._links = links
        self._entries: OrderedDict[tuple[str, ...], _Entry] = OrderedDict()
        self._forgotten = 0

    async def by_token(self, secret: str, reference: Reference) -> Admitted:
        """Return the account behind a token, and the version. Raises Unauthenticated, NotFound, Denied."""
        key = ("token", hash_secret(secret), reference.owner, reference.model, reference.version)
        return await self._remembered(key, lambda: self._read_by_token(secret, reference))

    async def by_link(self, token: str, visitor: str | None, passed: str | None, address: str) -> Admitted:
        """Return whoever holds a link, and its version. Raises NotFound, Gone, LinkPaused, LinkLocked.

        `visitor` tells calls of one holder from others'; without it, those of one address are one visitor's.
        """
        secret = visitor or hash_secret(f"{token}:{address}")
        key = ("link", hash_secret(token), secret, hash_secret(passed or ""))
        return await self._remembered(key, lambda: self._read_by_link(token, secret, passed, address))

    def forget(self) -> None:
        """Read everything again: something was revoked, deleted or changed."""
        self._entries.clear()
        self._forgotten += 1

    async def _remembered(self, key: tuple[str, ...], read: Callable[[], Awaitable[Admitted]]) -> Admitted:
        entry, now = self._entries.get(key), time.monotonic()
        if entry is not None and now - entry.since < KEPT_SECONDS:
            if now - entry.since > FRESH_SECONDS and entry.refreshing is None:
                entry.refreshing = asyncio.create_task(self._refreshed(key, entry, read), name="admission")
                entry.refreshing.add_done_callback(lambda task: task.cancelled() or task.exception())
            return entry.admitted
        if entry is not None and entry.refreshing is not None:
            return await asyncio.shield(entry.refreshing)
        return await self._read(key, read)

    async def _refreshed(
        self, key: tuple[str, ...], entry: _Entry, read: Callable[[], Awaitable[Admitted]]
    ) -> Admitted:
        try:
            return await self._read(key, read)
        finally:
            if self._entries.get(key) is entry:
                del self._entries[key]

    async def _read(self, key: tuple[str, ...], read: Callable[[], Awaitable[Admitted]]) -> Admitted:
        began, forgotten = time.monotonic(), self._forgotten
        admitted = await read()
        if forgotten != self._forgotten:
            return admitted  # it may have been read before what was told since
        self._entries[key] = _Entry(admitted, began)
        self._entries.move_to_end(key)
        while len(self._entries) > MAX_KEPT:
            self._entries.popitem(last=False)
        return admitted

    async def _read_by_token(self, secret: str, reference: Reference) -> Admitted:
        member: Member | None = await self._tokens.member(secret)
        if member is None:
            raise Unauthenticated("this token does not exist, was revoked, or has expired; log in again")
        version = await self._models.version(member, reference)
        require(member, Action.RUN, version)
        return _admitted(member, version, f"account:{member.id}", member.ends_at)

    async def _read_by_link(self, token: str, secret: str, passed: str | None, address: str) -> Admitted:
        visitor = await self._links.visitor(token, secret, address=address, passed=passed)
        version = await self._links.version(visitor)
        require(visitor, Action.RUN, version)
        return _admitted(visitor, version, f"link:{visitor.link.id}:{address}", visitor.link.expires_at)


def _admitted(principal: Principal, version: Version, rate_key: str, ends_at: datetime | None) -> Admitted:
    spec = Spec.model_validate(version.spec)
    device: Literal["cpu", "gpu"] = "gpu" if spec.limits().gpu else "cpu"
    return Admitted(principal, version, spec, rate_key, device, ends_at)
