"""How many workers a version has on all hosts together; engines are doubles, everything else is real."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from runner_doubles import EngineDouble
from runner_site import BARE, Host, Site
from vitrine_common.clock import after
from vitrine_common.documents import WorkerPermit
from vitrine_common.states import RunState
from vitrine_engine import Finished, Outcome, RunEvent, RunRequest
from vitrine_runner.workers import Need


class Crowd:
    """Counts who computes at once, over all hosts."""

    def __init__(self) -> None:
        self.now = self.most = 0

    async def behave(self, request: RunRequest) -> AsyncGenerator[RunEvent, None]:
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0.01)
        self.now -= 1
        yield Finished(outcome=Outcome(reason=None))


async def known(hosts: list[Host]) -> None:
    async with asyncio.timeout(20):
        while any(len(host.fleet.others("")) < len(hosts) for host in hosts):
            await asyncio.sleep(0.01)


async def test_a_version_has_no_more_workers_than_its_maximum_on_all_hosts_together(site: Site) -> None:
    crowd = Crowd()
    engines = [EngineDouble(crowd.behave) for _ in range(3)]
    await known([await site.start(engine, slots=4) for engine in engines])
    digest = await site.script("print(1)", scaling={"max": 2})
    asked = [await site.ask(digest, link_id=f"link_{number % 3}") for number in range(40)]
    assert {(await site.ended(run_id)).state for run_id in asked} == {RunState.SUCCEEDED}
    assert crowd.most <= 2
    assert sum(len(engine.living) for engine in engines) <= 2


async def test_hosts_that_start_workers_at_the_same_moment_share_the_last_permit(site: Site) -> None:
    hosts = [await site.start(EngineDouble(), slots=4) for _ in range(3)]
    need = Need(await site.script("print(1)", scaling={"max": 1}), BARE, "usr_1")
    inside = most = 0

    async def use(host: Host) -> None:
        nonlocal inside, most
        async with host.pool.lent(need):
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0.05)
            inside -= 1
        for worker in host.pool.workers:
            host.pool._begin_stop(worker)

    await asyncio.gather(*(use(host) for host in hosts))
    assert most == 1


async def test_the_permit_of_a_host_that_died_is_free_when_its_lease_is_over(site: Site) -> None:
    engine = EngineDouble()
    host = await site.start(engine)
    digest = await site.script("print(3)", scaling={"max": 1})
    lease = {"lease_token": "ghost", "lease_holder": "ghost", "lease_expires_at": after(1.0)}
    permits = host.platform.database.collection(WorkerPermit)
    permit = WorkerPermit.model_validate({"_id": f"{digest}/usr_1/0", **lease})
    await permits.insert(permit)
    run = await site.run(digest)
    assert (run.state, run.attempt) == (RunState.SUCCEEDED, 1), "waiting for others' workers is no attempt"
    assert (await permits.get(permit.id)).lease_holder == host.platform.holder


async def test_the_fleet_keeps_the_least_workers_not_each_host(site: Site) -> None:
    engines = [EngineDouble(), EngineDouble()]
    hosts = [await site.start(engine, slots=2, idle_seconds=0.2) for engine in engines]
    await known(hosts)
    need = Need(await site.script("print(1)", scaling={"min": 1}), BARE, "usr_1")
    for host in hosts:
        async with host.pool.lent(need):
            pass
    first, second = sorted(hosts, key=lambda host: host.platform.holder)
    async with asyncio.timeout(20):
        while second.pool.workers:
            await asyncio.sleep(0.02)
    for _ in range(3):
        first.pool.stop_idle()
    assert len(first.pool.workers) == 1
