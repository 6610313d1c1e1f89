"""Leases: long work belongs to whoever renews it, and to nobody once the renewals stop.

A claim is a compare-and-set that enters a state and writes a lease with a random token. Every later
change compares that token, so a worker that was presumed dead can change nothing when it comes back.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from enum import StrEnum
from itertools import pairwise
from typing import Any, Generic, TypeVar

from vitrine_common.clock import after, utcnow
from vitrine_common.documents.base import LONG_AGO, WorkDocument
from vitrine_common.errors import Conflict, StaleState
from vitrine_common.messages import Message
from vitrine_common.states import StateMachine
from vitrine_common.store import Collection

log = logging.getLogger(__name__)

W = TypeVar("W", bound=WorkDocument)

_NO_LEASE = {"lease_token": "", "lease_holder": "", "lease_expires_at": LONG_AGO}


class WorkQueue(Generic[W]):
    """The leased documents of one collection, moved through one state machine.

    Args:
        collection: the documents; their `state` field is assigned here and nowhere else.
        machine: which state may follow which.
        holder: names this process in leases, e.g. `runner@host:pid`.
        lease_seconds: how long a lease lives without renewal.
    """

    def __init__(
        self, collection: Collection[W], machine: StateMachine[Any], holder: str, lease_seconds: float
    ) -> None:
        self.collection = collection
        self._machine = machine
        self._holder = holder
        self._lease_seconds = lease_seconds
        self._ended: dict[str, bool] = {}
        """Tokens inside `held`, and whether this process itself has ended the lease."""

    def _fresh_lease(self) -> dict[str, Any]:
        return {
            "lease_token": secrets.token_hex(16),
            "lease_holder": self._holder,
            "lease_expires_at": after(self._lease_seconds),
        }

    async def claim(
        self, document_id: str, target: StrEnum, changes: Mapping[str, Any] | None = None
    ) -> W | None:
        """Enter `target` with a fresh lease; None when the state or another's lease forbids it."""
        where = {
            "_id": document_id,
            "state": {"$in": self._machine.sources(target)},
            "lease_expires_at": {"$lt": utcnow()},
        }
        written = {**(changes or {}), **self._fresh_lease(), "state": target, "updated_at": utcnow()}
        return await self.collection.update(where, written, increments={"attempt": 1})

    async def enlist(self, document: W, target: StrEnum) -> W | None:
        """Insert `document` as if it had been queued and claimed at once; None when it exists: see `claim`.

        Raises StaleState when `target` cannot follow the initial state.
        """
        if self._machine.initial not in self._machine.sources(target):
            raise StaleState(f"{self._machine.name}: {target} cannot follow {self._machine.initial}")
        claimed = {"state": target, "attempt": 1, "updated_at": utcnow(), **self._fresh_lease()}
        try:
            return await self.collection.insert(document.model_copy(update=claimed))
        except Conflict:
            return None

    async def advance(
        self,
        document: W,
        target: StrEnum,
        changes: Mapping[str, Any] | None = None,
        messages: Sequence[Message] = (),
        *,
        through: Sequence[StrEnum] = (),
    ) -> W:
        """Enter `target` while holding the lease; a final state or a return to the queue ends the lease.

        `through` are the states on the way that nobody needs to see, in order: work that is over in
        milliseconds passes them in the same step. Raises StaleState when the lease was lost or the state
        is no source of `target`.
        """
        where = {
            "_id": document.id,
            "state": {"$in": self._sources([*through, target])},
            "lease_token": document.lease_token,
        }
        written: dict[str, Any] = {**(changes or {}), "state": target, "updated_at": utcnow()}
        ends = target not in self._machine.active
        if ends:
            written |= _NO_LEASE
            self._note_end(document.lease_token, ended=True)
        try:
            return await self.collection.require(where, written, messages=messages)
        except BaseException:
            self._note_end(document.lease_token, ended=False)
            raise

    def _note_end(self, token: str, *, ended: bool) -> None:
        """Tell the heartbeat whether a lease that it cannot renew was ended here, or lost."""
        if token in self._ended:
            self._ended[token] = ended

    def _sources(self, way: Sequence[StrEnum]) -> list[StrEnum]:
        """Return the active states from which the last of `way` is reached, some steps possibly taken."""
        for before, following in pairwise(way):
            if before not in self._machine.sources(following):
                raise StaleState(f"{self._machine.name}: {following} cannot follow {before}")
        return sorted({source for step in way for source in self._machine.sources(step)})

    async def settle(
        self,
        document_id: str,
        source: StrEnum,
        target: StrEnum,
        changes: Mapping[str, Any] | None = None,
        messages: Sequence[Message] = (),
    ) -> W | None:
        """Move a document that nobody holds from `source` to `target`; None when it has moved on."""
        if source not in self._machine.sources(target):
            raise StaleState(f"{self._machine.name}: {target} cannot follow {source}")
        where = {"_id": document_id, "state": source, "lease_expires_at": {"$lt": utcnow()}}
        written = {**(changes or {}), **_NO_LEASE, "state": target, "updated_at": utcnow()}
        return await self.collection.update(where, written, messages=messages)

    async def note(self, document: W, changes: Mapping[str, Any]) -> None:
        """Write fields that are no state while holding the lease; raises StaleState when it is lost."""
        await self.collection.require({"_id": document.id, "lease_token": document.lease_token}, changes)

    async def renew(self, document: W) -> W:
        """Prolong the lease and return the document as it is now; raises StaleState when lost."""
        where = {"_id": document.id, "lease_token": document.lease_token}
        return await self.collection.require(where, {"lease_expires_at": after(self._lease_seconds)})

    async def expired(self, limit: int = 100) -> list[W]:
        """Return documents in an active state whose lease is dead."""
        where = {"state": {"$in": sorted(self._machine.active)}, "lease_expires_at": {"$lt": utcnow()}}
        return await self.collection.find(where, (("_id", 1),), limit)

    @asynccontextmanager
    async def held(self, document: W, on_renewed: Callable[[W], None] | None = None) -> AsyncIterator[None]:
        """Renew the lease while the block runs; cancel the block's task when the lease is lost.

        The block then ends with StaleState. `on_renewed` sees the document after each renewal, so
        that a wish written into it (such as a cancellation) is noticed even if its message was lost.
        """
        owner = asyncio.current_task()
        assert owner is not None
        lost = False

        async def renew_until_lost() -> None:
            nonlocal lost
            deadline = after(self._lease_seconds)
            while True:
                await asyncio.sleep(self._lease_seconds / 3)
                try:
                    renewed = await self.renew(document)
                except Exception as error:  # noqa: BLE001 - whatever failed, the lease is ours until it ends
                    if not isinstance(error, StaleState) and utcnow() < deadline:
                        log.warning("lease will be renewed later", extra={"error": repr(error)})
                        continue
                    if self._ended[document.lease_token]:
                        return
                    lost = True
                    owner.cancel()
                    return
                deadline = after(self._lease_seconds)
                if on_renewed is not None:
                    on_renewed(renewed)

        self._ended[document.lease_token] = False
        heartbeat = asyncio.create_task(renew_until_lost())
        try:
            yield
        except asyncio.CancelledError:
            if lost:
                owner.uncancel()
                raise StaleState(f"lost the lease on {document.id}") from None
            raise
        finally:
            heartbeat.cancel()
            with suppress(asyncio.CancelledError):
                await heartbeat
            del self._ended[document.lease_token]


async def reap_forever(
    queue: WorkQueue[W], requeue: Callable[[W], Awaitable[None]], pause_seconds: float
) -> None:
    """Hand every document with a dead lease to `requeue`, for ever. Several reapers may run at once."""
    while True:
        await asyncio.sleep(pause_seconds)
        try:
            expired = await queue.expired()
        except Exception:
            log.exception("reaper will look again")
            continue
        for document in expired:
            log.warning("lease expired", extra={"document": document.id, "attempt": document.attempt})
            try:
                await requeue(document)
            except Exception:  # one that cannot be requeued must not keep the others waiting
                log.exception("reaper will look again", extra={"document": document.id})
