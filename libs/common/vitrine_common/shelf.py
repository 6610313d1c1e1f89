"""Environments as runner and trainer take them: kept while they are used, made again when they are gone.

The builder removes environments that nobody uses when its store is too large. Whoever wants one again has it
made from the lock that is written down, and waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from vitrine_common.blobs import BlobStore
from vitrine_common.bus import Bus
from vitrine_common.documents import Build
from vitrine_common.errors import Unavailable, VitrineError
from vitrine_common.ids import new_id
from vitrine_common.messages import BuildStart, EnvironmentRequest
from vitrine_common.references import is_made, mark
from vitrine_common.replicas import AREA, ReplicaFetcher, read_mark
from vitrine_common.service import Platform
from vitrine_common.states import BUILD, BuildState
from vitrine_common.store import Database
from vitrine_common.usage import environment_use, use_table

log = logging.getLogger(__name__)

_LOOK_SECONDS = 0.1


class EnvironmentGone(VitrineError):
    """An environment is not there and cannot be made again; says why."""


@dataclass
class Shelf:
    """The environments of the host folder `directory`.

    Without `bus` and `database`, an environment that is not there is not made again; without `replicas`, none
    is fetched that was made on another host.
    """

    directory: Path
    bus: Bus | None = None
    database: Database | None = None
    replicas: ReplicaFetcher | None = None
    _making: dict[str, asyncio.Task[None]] = field(default_factory=dict)

    def path(self, digest: str) -> Path:
        """Return where an environment is, or would be."""
        return self.directory / digest.removeprefix("sha256:")

    @contextlib.asynccontextmanager
    async def held(self, digest: str) -> AsyncIterator[Path]:
        """Give the folder of an environment, which stays while the block lasts; wait until it is made.

        Raises:
            EnvironmentGone: it cannot be made.
        """
        with use_table(self.directory).open() as uses:
            await uses.add(environment_use(digest))
            place = self.path(digest)
            while not is_made(place):
                # Its maker uses it as well: holding on keeps it from being removed as soon as it is there.
                await self._made_again(digest)
            await asyncio.to_thread(mark, place / "environment.json")
            yield place

    async def _made_again(self, digest: str) -> None:
        if self.bus is None or self.database is None:
            raise EnvironmentGone(
                f"The environment {digest} is not on this host ({self.path(digest)}); "
                "builder and runner must share VITRINE_ENVIRONMENTS_DIR."
            )
        making = self._making.get(digest)
        if making is None:
            making = asyncio.create_task(
                self._make(self.bus, self.database, digest), name="environment again"
            )
            self._making[digest] = making
            making.add_done_callback(lambda _done: self._making.pop(digest, None))
        # Of several who wait for one making, each may give up alone.
        await asyncio.shield(making)

    async def _make(self, bus: Bus, database: Database, digest: str) -> None:
        """Have an environment appear in the folder: fetched, or made by a builder, or both."""
        store = read_mark(self.directory)
        # Where no builder works, what one has packed before is the shortest way.
        if not store and await self._fetched(digest):
            return
        await self._build(bus, database, digest, store)
        if not is_made(self.path(digest)) and not await self._fetched(digest):
            raise EnvironmentGone(
                f"The environment {digest} was made and is not on this host ({self.path(digest)}); builder "
                "and runner must share VITRINE_ENVIRONMENTS_DIR, or this service must be able to write there."
            )

    async def _fetched(self, digest: str) -> bool:
        if self.replicas is None:
            return False
        try:
            return await self.replicas.fetch(digest)
        except Unavailable as error:
            raise EnvironmentGone(error.message) from error

    async def _build(self, bus: Bus, database: Database, digest: str, store: str) -> None:
        log.info("environment is made again", extra={"environment": digest})
        build_id = new_id("build")
        request = EnvironmentRequest(environment_digest=digest, store=store)
        await bus.send(BuildStart(build_id=build_id, request=request))
        build = None
        while build is None or not BUILD.is_final(build.state):
            await asyncio.sleep(_LOOK_SECONDS)
            with contextlib.suppress(VitrineError):  # a server is away: look again
                build = await database.collection(Build).find_one({"_id": build_id})
        if build.state is not BuildState.SUCCEEDED:
            told = build.problem.message if build.problem else "The builder did not say why."
            raise EnvironmentGone(f"The environment {digest} is not there and cannot be made again. {told}")


@contextlib.asynccontextmanager
async def open_shelf(platform: Platform) -> AsyncIterator[Shelf]:
    """Give the environments of this host, made again or fetched where the platform has them elsewhere."""
    settings = platform.settings
    archives = BlobStore(settings.s3, AREA)
    place = settings.environments_dir
    replicas = ReplicaFetcher(place, platform.database, archives, settings.environments_bytes)
    try:
        can_write = await asyncio.to_thread(replicas.open)
        if can_write:
            await replicas.resume()
        yield Shelf(place, platform.bus, platform.database, replicas if can_write else None)
    finally:
        await replicas.aclose()
