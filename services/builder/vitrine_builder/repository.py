"""Reads and writes of `builds` and `environments`; the builder is their only writer."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Any

from vitrine_builder.completion import is_complete
from vitrine_builder.failures import BuildFailure
from vitrine_builder.lock import Lock, Target
from vitrine_builder.materialise import Materialised
from vitrine_common.clock import after, utcnow
from vitrine_common.documents import LONG_AGO, Build, BuildProblem, Environment, EnvironmentWheel, PackedPart
from vitrine_common.errors import Conflict
from vitrine_common.leases import WorkQueue
from vitrine_common.messages import BuildFailed, BuildSucceeded
from vitrine_common.replicas import Archive
from vitrine_common.states import BUILD, BuildState
from vitrine_common.store import Collection, Database
from vitrine_common.telemetry import metrics

_NO_LEASE = {"lease_token": "", "lease_holder": "", "lease_expires_at": LONG_AGO}


class Builds:
    """Builds as documents that are queued, claimed, and ended with the fact that tells of it."""

    def __init__(self, database: Database, holder: str, lease_seconds: float) -> None:
        self._collection: Collection[Build] = database.collection(Build)
        self.queue: WorkQueue[Build] = WorkQueue(self._collection, BUILD, holder, lease_seconds)

    async def add(self, build: Build) -> bool:
        """Queue a build; False when it was asked for before."""
        try:
            await self._collection.insert(build)
        except Conflict:
            return False
        return True

    async def erase(self, build_id: str) -> None:
        """Delete a build whose version is gone; what it made stays for whoever asks for the same."""
        await self._collection.delete({"_id": build_id})

    async def queued(self, limit: int) -> list[Build]:
        """Return builds that nobody works on, the oldest first."""
        return await self._collection.find({"state": BuildState.QUEUED}, (("created_at", 1),), limit)

    async def claim(self, build_id: str) -> Build | None:
        """Take a queued build; None when another process was quicker."""
        return await self.queue.claim(build_id, BuildState.BUILDING)

    def held(self, build: Build) -> AbstractAsyncContextManager[None]:
        """Renew the lease while the block runs; see `WorkQueue.held`."""
        return self.queue.held(build)

    async def note_step(self, build: Build, step: str) -> None:
        """Write down which step a build is at; raises StaleState when its lease is lost."""
        await self.queue.note(build, {"step": step})

    async def succeed(self, build: Build, environment: Materialised, timings_ms: Mapping[str, float]) -> None:
        """End a build well and say so; raises StaleState when its lease is lost.

        Its step is `bytecode` as long as that is still to come, and `done` after that.
        """
        follows = not is_complete(environment.path)
        changes = {
            "step": "bytecode" if follows else "done",
            "environment_digest": environment.digest,
            "reused": not environment.made,
            "timings_ms": dict(timings_ms),
            "finished_at": utcnow(),
        }
        fact = BuildSucceeded(build_id=build.id, environment_digest=environment.digest)
        await self.queue.advance(build, BuildState.SUCCEEDED, changes, [fact])
        metrics.observe("vitrine_build_seconds", sum(timings_ms.values()) / 1000, outcome="succeeded")
        if follows and is_complete(environment.path):
            await self.completed(environment.digest)

    async def completed(self, environment_digest: str, milliseconds: float | None = None) -> None:
        """Write down that an environment's bytecode is there, and how long that took after its build."""
        for build in await self._collection.find({"environment_digest": environment_digest}):
            if build.step == "bytecode":
                spent = {} if milliseconds is None else {"bytecode": milliseconds}
                changes = {"step": "done", "timings_ms": {**build.timings_ms, **spent}}
                await self._collection.update({"_id": build.id, "step": "bytecode"}, changes)

    async def fail(self, build: Build, failure: BuildFailure, timings_ms: Mapping[str, float]) -> None:
        """End a build with the reason and say so; raises StaleState when its lease is lost."""
        changes = {**_ending(failure), "timings_ms": dict(timings_ms)}
        fact = BuildFailed(build_id=build.id, reason=failure.reason.value)
        await self.queue.advance(build, BuildState.FAILED, changes, [fact])
        metrics.observe(
            "vitrine_build_seconds", sum(timings_ms.values()) / 1000, outcome=failure.reason.value
        )

    async def give_back(self, build: Build) -> None:
        """Return a build that was begun and not ended by choice; this claim does not count."""
        await self.queue.advance(build, BuildState.QUEUED, {"attempt": build.attempt - 1, "step": "queued"})

    async def requeue(self, build: Build) -> None:
        """Return a build whose builder died; nothing happens when it lives after all."""
        await self.queue.settle(build.id, BuildState.BUILDING, BuildState.QUEUED, {"step": "queued"})


class Environments:
    """Environments as documents, and the lease that makes one builder at a time work on one lock.

    The lease saves work and decides nothing: an environment is put in place by one rename, so two
    builders that both believe to hold it only do the work twice.
    """

    def __init__(self, database: Database, holder: str, lease_seconds: float) -> None:
        self._collection: Collection[Environment] = database.collection(Environment)
        self._holder = holder
        self.lease_seconds = lease_seconds

    async def claim(self, digest: str, lock: Lock, target: Target) -> str | None:
        """Take the making of an environment; return the lease's token, or None while another has it."""
        token = secrets.token_hex(16)
        lease = {"lease_token": token, "lease_holder": self._holder, "lease_expires_at": self._expiry()}
        try:
            await self._collection.insert(_describe(digest, lock, target, **lease))
        except Conflict:
            free = {"_id": digest, "lease_expires_at": {"$lt": utcnow()}}
            return None if await self._collection.update(free, lease) is None else token
        return token

    async def renew(self, digest: str, token: str) -> None:
        """Prolong a lease; raises StaleState when it is lost."""
        where = {"_id": digest, "lease_token": token}
        await self._collection.require(where, {"lease_expires_at": self._expiry()})

    async def release(self, digest: str, token: str) -> None:
        """Let another builder have it; nothing happens when one has it already."""
        await self._collection.update({"_id": digest, "lease_token": token}, _NO_LEASE)

    async def record(self, environment: Materialised, lock: Lock, target: Target) -> bool:
        """Write down that an environment exists, and what its image is; the first time it was so is kept.

        Return whether its documents are there already, which tell of the same image.
        """
        ready = {"ready_at": utcnow(), "size_bytes": environment.size}
        document = await self._collection.find_one({"_id": environment.digest})
        image = _image(environment)
        if document is None:
            with contextlib.suppress(Conflict):
                await self._collection.insert(_describe(environment.digest, lock, target, **ready, **image))
        elif document.ready_at is None:
            await self._collection.update({"_id": environment.digest, "ready_at": None}, {**ready, **image})
        elif image and document.image_digest != image["image_digest"]:
            await self._collection.update({"_id": environment.digest}, image)
        else:
            return document.sbom_digest is not None
        return False

    async def kept(self, digest: str) -> Environment | None:
        """Return what is written down of an environment, whether or not it is on this host."""
        return await self._collection.find_one({"_id": digest})

    async def document(
        self, digest: str, wheels: Sequence[EnvironmentWheel], sbom: str, provenance: str
    ) -> None:
        """Write down an environment's wheels and documents; which wheels were there before is told once."""
        told: dict[str, Any] = {"sbom_digest": sbom, "provenance_digest": provenance}
        known = await self._collection.find_one({"_id": digest})
        if known is None or not known.wheels:
            told["wheels"] = list(wheels)
        await self._collection.update({"_id": digest}, told)

    async def replicated(self, digest: str, replica: str) -> str | None:
        """Write down what other hosts put an environment together from; return what it was before."""
        while (document := await self._collection.find_one({"_id": digest})) is not None:
            known = {"_id": digest, "replica_digest": document.replica_digest}
            if await self._collection.update(known, {"replica_digest": replica}) is not None:
                return document.replica_digest
        return None

    async def withdraw(self, digest: str, replica: str) -> None:
        """Strike off what other hosts put an environment together from, unless it is another by now."""
        await self._collection.update({"_id": digest, "replica_digest": replica}, {"replica_digest": None})

    def _expiry(self) -> datetime:
        return after(self.lease_seconds)


class PackedParts:
    """Which layers lie in the blob store for other hosts."""

    def __init__(self, database: Database) -> None:
        self._collection: Collection[PackedPart] = database.collection(PackedPart)

    async def used(self, name: str) -> PackedPart | None:
        """Return a part, which now was used; None where it was never packed."""
        return await self._collection.update({"_id": name}, {"used_at": utcnow()})

    async def asked(self, names: Iterable[str]) -> None:
        """Write down that a host wants these parts now."""
        for name in names:
            await self._collection.update({"_id": name}, {"asked_at": utcnow()})

    async def wanted(self, within_seconds: float) -> bool:
        """Tell whether a host has asked for anything within so many seconds."""
        since = {"asked_at": {"$gt": after(-within_seconds)}}
        return await self._collection.find_one(since) is not None

    async def record(self, name: str, archive: Archive, used_at: datetime) -> None:
        """Write down what a part was packed to, and when it was used."""
        told = {
            "digest": archive.digest,
            "size_bytes": archive.size,
            "unpacked_bytes": archive.unpacked,
            "used_at": used_at,
        }
        try:
            await self._collection.insert(PackedPart(id=name, **told))
        except Conflict:
            await self._collection.update({"_id": name}, told)

    async def surplus(self, limit: int, recent_seconds: float) -> list[PackedPart]:
        """Return the parts that were not used for longest, without which the others have `limit` bytes."""
        found = await self._collection.find({}, (("used_at", 1),))
        over = sum(part.size_bytes for part in found) - limit
        surplus = []
        for part in found:
            if over <= 0 or part.used_at > after(-recent_seconds):
                break
            surplus.append(part)
            over -= part.size_bytes
        return surplus

    async def forget(self, part: PackedPart) -> bool:
        """Strike a part off; False where somebody has used it meanwhile."""
        return await self._collection.delete({"_id": part.id, "used_at": part.used_at}) == 1


def _describe(digest: str, lock: Lock, target: Target, **more: Any) -> Environment:
    if lock.system is not None:
        more |= {"system_digest": lock.system.digest, "system": list(lock.system.packages)}
    more["sources"] = {package.name: package.source for package in lock.packages if package.source}
    return Environment(id=digest, lock=lock.text, packages=len(lock.packages), python=target.python, **more)


def _image(environment: Materialised) -> dict[str, Any]:
    if environment.image is None:
        return {}
    return {
        "image_digest": environment.image.digest,
        "base_digest": environment.image.base,
        "layers": list(environment.image.layers),
    }


def _ending(failure: BuildFailure) -> dict[str, Any]:
    problem = BuildProblem(
        reason=failure.reason.value,
        message=failure.sentence,
        culprit=failure.culprit,
        log_tail="\n".join(failure.log),
    )
    return {"step": "failed", "problem": problem, "finished_at": utcnow()}
