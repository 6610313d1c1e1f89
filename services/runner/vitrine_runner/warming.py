"""Having interpreters ready for models that nobody runs yet: of new versions, and after a restart."""

from __future__ import annotations

import asyncio
import json
import logging
from contextlib import suppress
from pathlib import Path

from vitrine_common.environments import system_root
from vitrine_common.errors import Invalid
from vitrine_common.ids import new_id
from vitrine_common.messages import WarmEnvironment
from vitrine_common.shelf import Shelf
from vitrine_engine import Engine, SandboxSpec, StartError
from vitrine_runner.settings import RunnerSettings
from vitrine_runner.workers import WorkerPool

log = logging.getLogger(__name__)

LOOK_SECONDS = 10.0
REMEMBERED = 8
"""Environments that are made ready again after a restart, the last ones used."""


class Warming:
    """Asks the engine to have environments ready.

    Args:
        engine: has interpreters with an environment's modules imported, or not.
        shelf: the environments of this host; one that is not here is not made for this.
        pool: whose environments are remembered; it asks for those of versions that are being fetched.
        settings: what every sandbox sees, and where to remember.
    """

    def __init__(self, engine: Engine, shelf: Shelf, pool: WorkerPool, settings: RunnerSettings) -> None:
        self._engine = engine
        self._shelf = shelf
        self._pool = pool
        self._binds = settings.binds
        self._wanted = settings.most_zygotes > 0
        self._file = settings.state_dir / "warm.json"
        self._recent: list[WarmEnvironment] = []
        pool.ahead = self.warm

    async def warm(self, environment: WarmEnvironment) -> None:
        """Have an environment ready for one owner's models, if it is on this host."""
        place = self._shelf.path(environment.environment_digest)
        if not self._wanted or not await asyncio.to_thread(place.is_dir):
            return
        try:
            async with self._shelf.held(environment.environment_digest):
                await self._engine.warm(self._spec(environment, place))
        except (StartError, Invalid, OSError) as error:
            log.warning("an environment is not ready ahead: %s", error, extra={"environment": str(place)})

    async def keep_forever(self) -> None:
        """Make ready what was used before a restart, then remember what is used, until cancelled."""
        for environment in await asyncio.to_thread(self._remembered):
            await self.warm(environment)
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            used = list(self._pool.standing.environments_in_use())
            kept = [item for item in self._recent if item not in used]
            if used and (recent := [*used, *kept][:REMEMBERED]) != self._recent:
                self._recent = recent
                await asyncio.to_thread(self._remember)

    def _spec(self, environment: WarmEnvironment, place: Path) -> SandboxSpec:
        return SandboxSpec(
            id=new_id("warm"),
            environment=place,
            system=system_root(self._shelf.directory, place),
            owner=environment.owner_id,
            binds=self._binds,
        )

    def _remembered(self) -> list[WarmEnvironment]:
        with suppress(OSError, ValueError, TypeError):
            found = [WarmEnvironment.model_validate(item) for item in json.loads(self._file.read_text())]
            self._recent = found[:REMEMBERED]
        return list(self._recent)

    def _remember(self) -> None:
        with suppress(OSError):
            draft = self._file.with_suffix(".draft")
            draft.write_text(json.dumps([item.model_dump() for item in self._recent]))
            draft.replace(self._file)
