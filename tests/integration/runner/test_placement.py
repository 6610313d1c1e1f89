"""Which host serves a run; engines are doubles, NVML is told by the test, everything else is real."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from nvml import GIB, Nvml
from runner_doubles import Behaviour, EngineDouble, succeed
from runner_site import BARE, Host, Site
from vitrine_common.messages import RunnerBeat, WarmEnvironment, WarmVersion
from vitrine_common.states import RunState
from vitrine_engine import RunEvent, RunRequest


async def heard(hosts: list[Host], warm: str = "") -> None:
    """Wait until every host knows of every other, and who is warm for a version."""
    async with asyncio.timeout(20):
        for host in hosts:
            while True:
                beats = host.fleet.others("")
                known = {one.version_digest for beat in beats for one in beat.warm if one.free_places}
                if len(beats) == len(hosts) and (not warm or warm in known):
                    break
                await asyncio.sleep(0.01)


def served(engine: EngineDouble) -> int:
    return sum(sandbox.served for sandbox in engine.sandboxes)


async def test_runs_go_to_the_host_that_has_a_warm_worker(site: Site) -> None:
    engines = [EngineDouble(), EngineDouble(), EngineDouble()]
    hosts = [await site.start(engine, slots=2) for engine in engines]
    await heard(hosts)
    digest = await site.script("print(1)")
    for _ in range(12):
        assert (await site.run(digest)).state is RunState.SUCCEEDED
        await heard(hosts, digest)
    assert sorted(served(engine) for engine in engines) == [0, 0, 12]
    assert sum(len(engine.sandboxes) for engine in engines) == 1


async def test_who_is_busy_is_not_waited_for(site: Site) -> None:
    gate = asyncio.Event()
    warm, idle = EngineDouble(), EngineDouble()
    hosts = [await site.start(warm, slots=1)]
    digest = await site.script("print(1)")
    await site.run(digest)
    warm.behaviour = _held(gate)
    first = await site.ask(digest)
    await site.reached(first, RunState.RUNNING)
    hosts.append(await site.start(idle, slots=1))
    assert (await site.run(digest)).state is RunState.SUCCEEDED
    assert served(idle) == 1
    gate.set()
    await site.ended(first)


async def test_a_run_left_to_a_host_that_died_is_served_all_the_same(site: Site) -> None:
    engine = EngineDouble()
    host = await site.start(engine, slots=2)
    digest = await site.script("print(1)")
    environment = WarmEnvironment(environment_digest=BARE, owner_id="usr_1")
    places = WarmVersion(**dict(environment), version_digest=digest, workers=1, free_places=4)
    ghost = RunnerBeat(
        holder="ghost", slots=4, memory_free=1 << 40, warm=(places,), environments=(environment,)
    )
    host.fleet.hear(ghost)
    runs = [await site.ended(run_id) for run_id in [await site.ask(digest) for _ in range(3)]]
    assert {(run.state, run.attempt) for run in runs} == {(RunState.SUCCEEDED, 1)}
    assert served(engine) == 3


async def test_a_full_version_keeps_no_other_from_a_free_slot(site: Site) -> None:
    gate = asyncio.Event()
    engine = EngineDouble(_held(gate))
    await site.start(engine, slots=2)
    single = await site.script("print(1)", scaling={"max": 1})
    other = await site.script("print(2)")
    first = await site.ask(single)
    await site.reached(first, RunState.RUNNING)
    second = await site.ask(single, link_id="link_other")
    third = await site.ask(other)
    await site.reached(third, RunState.RUNNING)
    waiting = await site.look(second)
    assert waiting is not None
    assert waiting.state is RunState.QUEUED
    gate.set()
    for run_id in first, second, third:
        assert (await site.ended(run_id)).state is RunState.SUCCEEDED
    assert len(engine.sandboxes) == 2


async def test_runs_that_need_a_gpu_go_where_one_is_free(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    Nvml(count=2, total=24 * GIB).install(monkeypatch)
    plain, with_gpus = EngineDouble(), EngineDouble()
    hosts = [await site.start(plain, slots=4), await site.start(with_gpus, slots=4, gpu="on")]
    await heard(hosts)
    digest = await site.script("print(1)", resources={"gpu": 1}, scaling={"max": 2})
    asked = [await site.ask(digest, device="gpu", gpus=1) for _ in range(4)]
    assert {(await site.ended(run_id)).state for run_id in asked} == {RunState.SUCCEEDED}
    assert not plain.sandboxes
    assert {box.spec.env["CUDA_VISIBLE_DEVICES"] for box in with_gpus.sandboxes} <= {
        "GPU-00000000-aaaa",
        "GPU-00000001-aaaa",
    }


def _held(gate: asyncio.Event) -> Behaviour:
    async def hold(request: RunRequest) -> AsyncGenerator[RunEvent, None]:
        await gate.wait()
        async for event in succeed(request):
            yield event

    return hold
