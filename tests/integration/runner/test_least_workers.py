"""`scaling.min`: workers stand ready before anybody asks; engines are doubles, everything else is real."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import pytest

from runner_doubles import EngineDouble
from runner_site import BARE, Host, Site
from vitrine_common.clock import utcnow
from vitrine_common.documents import ShareLink, Version
from vitrine_common.ids import new_id
from vitrine_common.spec import Spec
from vitrine_common.states import VersionState
from vitrine_common.store import Database
from vitrine_engine import StartError
from vitrine_runner import keeping
from vitrine_runner.least import LeastWorkers


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "SETTLE_SECONDS", 0.05)
    monkeypatch.setattr(keeping, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr(keeping, "BEAT_SECONDS", 0.1)
    monkeypatch.setattr(keeping, "TURN_SECONDS", 0.4)
    monkeypatch.setattr(keeping, "PAUSES", (0.2,))


class Registry:
    """Versions, as the api writes them."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.database = Database(site.settings.mongo, "api", site.bus)
        self.versions = self.database.collection(Version)
        self.links = self.database.collection(ShareLink)

    async def change(self, made: Version, **changes: Any) -> None:
        await self.versions.require({"_id": made.id}, changes)


@pytest.fixture
async def registry(site: Site) -> AsyncIterator[Registry]:
    """Empty at first, and afterwards."""
    made = Registry(site)
    yield made
    for host in list(site.hosts):
        await host.stop()
        site.hosts.remove(host)
    await made.versions.delete({"owner": "ann"})
    made.database.close()


async def version(registry: Registry, model: str = "model_1", number: int = 1, **scaling: Any) -> Version:
    """A version that can be run, as the api writes it."""
    digest = await registry.site.script(f"print('{model} {number}')", scaling={"min": 1, **scaling})
    spec = {"name": model, "model": {"command": "python main.py"}, "scaling": {"min": 1, **scaling}}
    made = Version(
        id=new_id("version"),
        model_id=model,
        owner_id="usr_1",
        owner="ann",
        model=model,
        number=number,
        digest=digest,
        spec=Spec.model_validate(spec).model_dump(mode="json", by_alias=True, exclude_none=True),
        file_count=1,
        total_bytes=1,
        state=VersionState.READY,
        environment_digest=BARE,
    )
    return await registry.versions.insert(made)


def ready(*hosts: Host) -> int:
    return sum(worker.is_ready for host in hosts for worker in host.pool.workers)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not holds():
            await asyncio.sleep(0.02)


async def test_a_worker_is_there_before_the_first_request(site: Site, registry: Registry) -> None:
    host = await site.start(EngineDouble())
    made = await version(registry)
    await until(lambda: ready(host) == 1)
    run = await site.run(made.digest)
    assert run.cold is False


async def test_a_new_runner_starts_what_others_had_before(site: Site, registry: Registry) -> None:
    await version(registry)
    first = await site.start(EngineDouble())
    await until(lambda: ready(first) == 1)
    await first.stop()
    site.hosts.remove(first)
    second = await site.start(EngineDouble())
    await until(lambda: ready(second) == 1)


async def test_a_worker_that_died_is_replaced(site: Site, registry: Registry) -> None:
    engine = EngineDouble()
    host = await site.start(engine, idle_seconds=0.2)
    await version(registry)
    await until(lambda: ready(host) == 1)
    engine.living[0].die()
    await until(lambda: len(engine.sandboxes) == 2 and ready(host) == 1)


async def test_the_worker_of_a_runner_that_died_is_started_by_another(
    site: Site, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vitrine_common.fleet.FRESH_SECONDS", 3.0)
    hosts = [await site.start(EngineDouble(), lease_seconds=1.0) for _ in range(2)]
    await until(lambda: all(len(host.fleet.others("")) == 2 for host in hosts))
    await version(registry)
    await until(lambda: ready(*hosts) == 1)
    holder, other = sorted(hosts, key=ready, reverse=True)
    for task in list(holder.platform._tasks):  # as if it had been killed: no lease renewed, no beat told
        task.cancel()
    await until(lambda: ready(other) == 1)


async def test_several_workers_are_spread_and_no_more_than_wished(site: Site, registry: Registry) -> None:
    hosts = [await site.start(EngineDouble(), idle_seconds=0.2, memory_bytes=64 << 30) for _ in range(2)]
    await until(lambda: all(len(host.fleet.others("")) == 2 for host in hosts))
    await version(registry, min=2)
    await version(registry, "model_2", max=1)
    await until(lambda: ready(*hosts) == 3)
    await asyncio.sleep(0)  # whoever looks at this moment ends first
    assert {ready(host) for host in hosts} == {1, 2}


async def test_only_the_newest_version_and_linked_ones_are_kept(site: Site, registry: Registry) -> None:
    least = LeastWorkers(site.database)
    old, linked, expired, new = [await version(registry, number=number) for number in (1, 2, 3, 4)]
    building = await version(registry, number=5)
    await registry.change(building, state=VersionState.BUILDING)
    for one, expires in ((linked, None), (expired, utcnow() - timedelta(seconds=1))):
        link = ShareLink(
            id=new_id("link"),
            owner_id="usr_1",
            version_id=one.id,
            version_digest=one.digest,
            token_hash=new_id("hash"),
            token_hint="abcd",
            expires_at=expires,
        )
        await registry.links.insert(link)
    wished = {wish.need.version_digest for wish in await least.wished()}
    assert wished == {linked.digest, new.digest}
    assert old.digest not in wished


async def test_models_are_looked_at_in_one_query_and_one_deleted_meanwhile_is_left_out(
    site: Site, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    least = LeastWorkers(site.database)
    made = [await version(registry, model) for model in ("a", "b", "c")]
    find, asked = least._versions.find, []

    async def find_and_delete(*args: Any) -> list[Version]:
        asked.append(args)
        found = await find(*args)
        await registry.versions.delete({"_id": made[0].id})
        return found

    monkeypatch.setattr(least._versions, "find", find_and_delete)
    wished = {wish.need.version_digest for wish in await least.wished()}
    assert wished == {made[1].digest, made[2].digest}
    assert len(asked) == 1


async def test_a_version_that_is_wished_no_more_is_stopped_when_idle(site: Site, registry: Registry) -> None:
    host = await site.start(EngineDouble(), idle_seconds=0.2)
    old = await version(registry)
    await until(lambda: ready(host) == 1)
    await version(registry, number=2)
    await until(lambda: ready(host) == 1 and host.pool.workers[0].need.version_digest != old.digest)


async def test_owners_take_turns_and_half_of_the_host_stays_free(site: Site, registry: Registry) -> None:
    host = await site.start(EngineDouble(), max_workers=4, memory_bytes=64 << 30)
    for model in ("a", "b", "c", "d"):
        await version(registry, model)
    other = await version(registry, "e")
    await registry.change(other, owner_id="usr_2")
    await until(lambda: ready(host) == 2)
    wishes = await LeastWorkers(site.database).wished()
    assert {wish.need.owner_id for wish in wishes[:2]} == {"usr_1", "usr_2"}
    for _ in range(5):
        await host.platform.bus.broker.context.get("keeping").look()
    assert len(host.pool.workers) == 2


async def test_a_worker_that_cannot_start_is_tried_again(site: Site, registry: Registry) -> None:
    engine = EngineDouble()
    engine.start_error = StartError("no room for namespaces")
    host = await site.start(engine)
    await version(registry)
    kept = host.platform.bus.broker.context.get("keeping")
    await until(lambda: bool(kept._trouble))
    engine.start_error = None
    await until(lambda: ready(host) == 1)
    assert not kept._trouble
