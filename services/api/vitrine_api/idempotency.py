"""`Idempotency-Key`: a request for a run that is sent again makes one run, also when both come at once.

The key is written down, with the run's id, before the run is made: of two that do so, one succeeds, and the
other gets that run. See draft-ietf-httpapi-idempotency-key-header.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any

from vitrine_api.policy import Member, Visitor
from vitrine_api.run_bodies import HookWish
from vitrine_api.run_inputs import SentExample, SentFile
from vitrine_api.runs import RunRecord, Runs
from vitrine_common.clock import utcnow
from vitrine_common.digests import canonical_json, sha256_bytes
from vitrine_common.documents import IdempotencyKey, Version
from vitrine_common.errors import Conflict, Invalid, NotFound, Problem
from vitrine_common.ids import new_id
from vitrine_common.store import Collection

KEPT = timedelta(days=1)
WAIT_SECONDS = 10.0
"""How long the second of two equal requests waits for the first one's run."""
ABANDONED = timedelta(seconds=60)
"""A key without a run for so long belongs to a request that was killed."""
_LOOK_SECONDS = 0.1
_CHUNK = 1 << 20

Begin = Callable[[str | None], Awaitable[RunRecord]]


class Idempotency:
    """Makes runs once for each key.

    Args:
        keys: where they are written down.
        runs: reads the run of a key that was used.
    """

    def __init__(self, keys: Collection[IdempotencyKey], runs: Runs) -> None:
        self._keys = keys
        self._runs = runs

    async def begin(
        self,
        principal: Member | Visitor,
        key: str | None,
        version: Version,
        values: Mapping[str, Any],
        begin: Begin,
        *,
        hook: HookWish | None = None,
    ) -> RunRecord:
        """Return the run of a key, begun now unless it was before. Without a key, begin one.

        Raises Invalid when the key was used for something else, Conflict when its first request still goes
        on, and what `begin` raises; then the key is free again.
        """
        if key is None:
            return await begin(None)
        key_id = _key_id(principal, key)
        fingerprint = await asyncio.to_thread(_fingerprint, version, values, hook)
        ends = asyncio.get_running_loop().time() + WAIT_SECONDS
        while True:
            run_id = new_id("run")
            known = await self._taken(key_id, run_id, fingerprint)
            if known is None:
                return await self._first(key_id, run_id, begin)
            if known.fingerprint != fingerprint:
                message = "this key was used for another request; a new request needs a new key"
                raise Invalid(message, (Problem("Idempotency-Key", message),))
            try:
                return await self._runs.get(principal, known.run_id)
            except NotFound:
                if known.created_at < utcnow() - ABANDONED:
                    await self._keys.delete({"_id": key_id, "run_id": known.run_id})
                elif asyncio.get_running_loop().time() > ends:
                    raise Conflict(
                        "the first request with this key is still being read; try again in a moment"
                    ) from None
                await asyncio.sleep(_LOOK_SECONDS)

    async def sweep(self) -> None:
        """Forget keys that are over."""
        await self._keys.delete({"expires_at": {"$lt": utcnow()}})

    async def _taken(self, key_id: str, run_id: str, fingerprint: str) -> IdempotencyKey | None:
        """Write the key down and return None, or return how it was written down before."""
        document = IdempotencyKey(
            id=key_id, run_id=run_id, fingerprint=fingerprint, expires_at=utcnow() + KEPT
        )
        while True:
            try:
                await self._keys.insert(document)
            except Conflict:
                known = await self._keys.find_one({"_id": key_id})
                if known is not None:
                    return known
            else:
                return None

    async def _first(self, key_id: str, run_id: str, begin: Begin) -> RunRecord:
        try:
            return await begin(run_id)
        except Exception:
            await self._keys.delete({"_id": key_id, "run_id": run_id})
            raise


def _key_id(principal: Member | Visitor, key: str) -> str:
    whose = principal.id if isinstance(principal, Member) else f"{principal.link.id}:{principal.visitor_id}"
    return hashlib.sha256(f"{whose}\n{key}".encode()).hexdigest()


def _fingerprint(version: Version, values: Mapping[str, Any], hook: HookWish | None) -> str:
    """Return a digest of what is asked: forms of equal values have equal ones, whatever their boundaries."""
    plain = {name: _plain(value) for name, value in values.items()}
    told = {"webhook": [hook.url, *hook.events]} if hook is not None else {}
    try:
        return sha256_bytes(canonical_json({"version": version.id, "values": plain, **told}))
    except ValueError as error:
        raise Invalid(f"the values are no JSON: {error}") from None


def _plain(value: Any) -> Any:
    if isinstance(value, SentFile):
        digest = hashlib.sha256()
        while chunk := value.file.read(_CHUNK):
            digest.update(chunk)
        value.file.seek(0)
        return {"file": digest.hexdigest(), "name": value.filename, "type": value.media_type}
    if isinstance(value, SentExample):
        return {"example": value.path}
    return value
