"""One build from its request to its end: requirements, lock, environment."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace

from vitrine_builder.assembly import Ahead
from vitrine_builder.conda import Conda
from vitrine_builder.dossiers import Dossiers, KeepBlob
from vitrine_builder.failures import RETRIED, BuildFailure, FailureReason, from_requirements_error
from vitrine_builder.lock import Lock, LockedPackage, environment_digest
from vitrine_builder.materialise import EnvironmentStore, Materialised
from vitrine_builder.presets import preset_file
from vitrine_builder.progress import Report, Step, Stopwatch
from vitrine_builder.replication import Replication
from vitrine_builder.repository import Environments
from vitrine_builder.requirements import (
    MAX_FILE_BYTES,
    Requirements,
    RequirementsError,
    bare_list,
    parse_requirements,
    read_requirements,
)
from vitrine_builder.resolve import Resolver
from vitrine_builder.system import SystemStore
from vitrine_builder.system.wanted import wanted_packages
from vitrine_common.errors import NotFound, TooLarge, VitrineError
from vitrine_common.messages import EnvironmentRequest
from vitrine_common.replicas import read_mark

log = logging.getLogger(__name__)

_WAIT_SECONDS = 0.1

ReadBlob = Callable[[str, int], Awaitable[bytes]]
"""Returns a blob of at most so many bytes; raises NotFound or TooLarge."""


@dataclass(frozen=True)
class Recipe:
    """Makes the environment of a request.

    Attributes:
        read_blob: where requirements files are read.
        conda: provides what only conda has; None where no requirements can name such packages.
        dossiers: makes SBOM and provenance, which `keep_blob` stores; None where nobody reads them.
        replication: packs environments for hosts that do not see this store.
        make_room: removes what is not in use, when the disk is full.
        max_tries: how often a failure that may pass is tried, `retry_seconds` later, doubled each time.
    """

    read_blob: ReadBlob
    resolver: Resolver
    store: EnvironmentStore
    system: SystemStore
    environments: Environments
    max_tries: int
    retry_seconds: float
    conda: Conda | None = None
    dossiers: Dossiers | None = None
    keep_blob: KeepBlob | None = None
    replication: Replication | None = None
    make_room: Callable[[], object] | None = None

    async def make(self, request: EnvironmentRequest, report: Report, watch: Stopwatch) -> Materialised:
        """Return the environment of `request`, made or found.

        Raises:
            BuildFailure: it cannot be made; final.
        """
        for attempt in range(1, self.max_tries + 1):
            try:
                return await self._attempt(request, report, watch)
            except BuildFailure as failure:
                if failure.reason not in RETRIED or attempt == self.max_tries:
                    raise
                if failure.reason is FailureReason.DISK_FULL and self.make_room is not None:
                    await asyncio.to_thread(self.make_room)
                pause = self.retry_seconds * 2 ** (attempt - 1)
                report(Step("queued", f"{failure.sentence} Trying again in {pause:g} seconds."))
                await asyncio.sleep(pause)
        raise AssertionError("unreachable: the last try returns or raises")

    async def _attempt(self, request: EnvironmentRequest, report: Report, watch: Stopwatch) -> Materialised:
        try:
            if request.environment_digest is not None:
                environment = await self._again(request.environment_digest, report, watch)
                await self._replicate(environment, request.store, report, watch)
                return environment
            requirements = await self._requirements(request)
            async with self.store.ahead(requirements.text) as ahead:
                with watch.measure("resolve"):
                    report(Step("resolve", "Choosing versions"))
                    lock = await self._lock(request, requirements, report)
                self.store.guesses.remember(requirements.text.splitlines(), lock)
                with watch.measure("system"):
                    lock = await self._with_system(lock, request, report)
                with watch.measure("environment"):
                    return await self._environment(lock, report, watch, ahead)
        except (VitrineError, OSError) as error:
            log.exception("build attempt failed")
            sentence = "The builder could not do its work; the operator finds the cause in its log."
            raise BuildFailure(FailureReason.INTERNAL, sentence) from error

    async def _lock(self, request: EnvironmentRequest, requirements: Requirements, report: Report) -> Lock:
        python = self.store.target.python
        if request.python != python:
            sentence = f"Python {request.python} is not available; write `language: python-{python}`."
            raise BuildFailure(FailureReason.INVALID_REQUIREMENTS, sentence)
        lock = await self.resolver.resolve(requirements, report, refresh=request.refresh)
        if requirements.conda is None or self.conda is None:
            return lock
        part = await self.conda.lock(requirements.conda, requirements.name, report, refresh=request.refresh)
        return replace(lock, packages=(*lock.packages, part))

    async def _with_system(self, lock: Lock, request: EnvironmentRequest, report: Report) -> Lock:
        wanted = await wanted_packages(request, self.read_blob)
        return replace(lock, system=await self.system.provide(wanted, report)) if wanted else lock

    async def _requirements(self, request: EnvironmentRequest) -> Requirements:
        name = request.requirements_name
        try:
            if request.preset is not None:
                return parse_requirements(preset_file(request.preset), f"preset {request.preset}")
            if request.requirements_digest is None:
                return bare_list(request.requirements, name)
            data = await self.read_blob(request.requirements_digest, MAX_FILE_BYTES)
            return read_requirements(data, name, request.extras, request.python)
        except RequirementsError as error:
            raise from_requirements_error(error) from None
        except TooLarge:
            limit = f"{MAX_FILE_BYTES} bytes"
            sentence = f"{name}: the file has more than {limit}; name only what your code imports."
            raise BuildFailure(FailureReason.INVALID_REQUIREMENTS, sentence) from None
        except NotFound:
            sentence = f"{name}: the file's bytes are not on the platform; push the bundle again."
            raise BuildFailure(FailureReason.INVALID_REQUIREMENTS, sentence) from None

    async def _again(self, digest: str, report: Report, watch: Stopwatch) -> Materialised:
        """Return an environment that was made before, from the lock that is written down of it."""
        kept = await self.environments.kept(digest)
        if kept is None:
            sentence = f"Nothing is known of the environment {digest}; push the version again."
            raise BuildFailure(FailureReason.INVALID_REQUIREMENTS, sentence)
        with watch.measure("resolve"):
            lock = Lock.from_text(kept.lock, kept.sources)
            await self._sources(lock, report)
        async with self.store.ahead("") as ahead:
            with watch.measure("system"):
                if kept.system_digest is not None:
                    lock = replace(
                        lock, system=await self.system.again(kept.system_digest, kept.system, report)
                    )
            if environment_digest(lock, self.store.target) != digest:
                sentence = (
                    f"The environment {digest} was made for another platform or by an older builder, and "
                    "cannot be made again as it was; push the version again."
                )
                raise BuildFailure(FailureReason.INVALID_REQUIREMENTS, sentence)
            with watch.measure("environment"):
                return await self._environment(lock, report, watch, ahead)

    async def _replicate(
        self, environment: Materialised, store: str | None, report: Report, watch: Stopwatch
    ) -> None:
        """Pack an environment for whoever works in another folder than this builder."""
        if self.replication is not None and store not in {None, read_mark(self.store.workspace.root)}:
            with watch.measure("replicate"):
                await self.replication.provide(environment.digest, report)

    async def _sources(self, lock: Lock, report: Report) -> None:
        """See to it that wheels that were built here are, or are built again."""
        sources = self.resolver.sources
        for package in lock.packages if sources is not None else ():
            if package.source is not None and sources is not None and not sources.has(package):
                wheel = await sources.wheel(f"{package.name}=={package.version}", None, report)
                if wheel.hash not in package.hashes:
                    culprit = f"{package.name}=={package.version}"
                    sentence = f"The source of `{culprit}` no longer gives the wheel that it once gave."
                    raise BuildFailure(FailureReason.SOURCE_BUILD, sentence, culprit)

    async def _environment(self, lock: Lock, report: Report, watch: Stopwatch, ahead: Ahead) -> Materialised:
        async with self.store.in_use(lock):
            return await self._used(lock, report, watch, ahead)

    async def _used(self, lock: Lock, report: Report, watch: Stopwatch, ahead: Ahead) -> Materialised:
        if lock.system is not None:
            # It may have gone before it was in use.
            await self.system.again(lock.system.digest, lock.system.packages, report)
        environment = await asyncio.to_thread(self.store.find, lock)
        reused = frozenset(lock.packages)
        if environment is None:
            reused = self.dossiers.existing(lock) if self.dossiers else reused
            async with self._turn(lock, report):
                if self.conda is not None:
                    await self.conda.provide(lock.packages, report)
                environment = await self.store.materialise(lock, report, watch, ahead)
        is_documented = await self.environments.record(environment, lock, self.store.target)
        if not is_documented:
            with watch.measure("document"):
                await self._document(environment, lock, reused)
        return environment

    async def _document(
        self, environment: Materialised, lock: Lock, reused: frozenset[LockedPackage]
    ) -> None:
        """Store what tells what is in the environment and where that comes from."""
        if self.dossiers is None or self.keep_blob is None:
            return
        image = environment.image
        base, digest = (image.base, image.digest) if image else (None, None)
        dossier = await asyncio.to_thread(self.dossiers.make, lock, base, digest)
        sbom, provenance = await asyncio.gather(
            self.keep_blob(dossier.sbom, "application/vnd.cyclonedx+json"),
            self.keep_blob(dossier.provenance, "application/vnd.in-toto+json"),
        )
        wheels = self.dossiers.wheels(lock, reused)
        await self.environments.document(environment.digest, wheels, sbom, provenance)

    @contextlib.asynccontextmanager
    async def _turn(self, lock: Lock, report: Report) -> AsyncIterator[None]:
        """Wait until no other builder makes the environment of `lock`, and keep others waiting meanwhile."""
        digest = environment_digest(lock, self.store.target)
        token = await self.environments.claim(digest, lock, self.store.target)
        if token is None:
            report(Step("queued", "The same environment is being made already; waiting for it"))
        while token is None:
            await asyncio.sleep(_WAIT_SECONDS)
            token = await self.environments.claim(digest, lock, self.store.target)
        heartbeat = asyncio.create_task(self._renew(digest, token))
        try:
            yield
        finally:
            heartbeat.cancel()
            await asyncio.shield(self.environments.release(digest, token))

    async def _renew(self, digest: str, token: str) -> None:
        while True:
            await asyncio.sleep(self.environments.lease_seconds / 3)
            try:
                await self.environments.renew(digest, token)
            except Exception as error:  # noqa: BLE001 - the next renewal may still come in time
                log.warning("lease not renewed", extra={"environment": digest, "error": repr(error)})
