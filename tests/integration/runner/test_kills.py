"""Runners, their sandboxes, and the servers below are killed under load: each run ends once, and says how."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import nats
import nats.errors
import psutil
import pytest
from motor.motor_asyncio import AsyncIOMotorClient

from kills import messages_of
from runner_site import Site, value_of
from servers import S3Address, Server, mongo_server, nats_server, s3_server
from vitrine_common.documents import Run
from vitrine_common.errors import Unavailable
from vitrine_common.states import RUN, Reason, RunState

RUNS = 40
COUNTS = """
import os, sys, time
index = sys.argv[sys.argv.index("--index") + 1]
open(f"/shared/{index}-{os.urandom(8).hex()}", "x").close()
time.sleep(0.05)
print(index)
"""
SPEC: dict[str, Any] = {
    "model": {"command": "python main.py", "input": {"type": "flag"}},
    "inputs": {"index": {"type": "number", "integer": True}},
    "resources": {"memory": "128Mi"},
}
SLEEPS = "import os, time\nopen('/shared/' + os.urandom(8).hex(), 'x').close()\ntime.sleep(600)"


@pytest.fixture(scope="module")
def below(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Server]]:
    """Servers of this module alone, to be killed."""
    root = tmp_path_factory.mktemp("killed")
    s3, keys = s3_server(root / "s3")
    found = {"nats": nats_server(root / "nats"), "mongo": mongo_server(root / "mongo"), "s3": s3}
    for server in found.values():
        server.start()
    s3.environment["KEYS"] = ",".join(keys)
    yield found
    for server in found.values():
        server.kill()


@pytest.fixture(scope="module")
def own_nats(below: dict[str, Server]) -> str:
    return f"nats://127.0.0.1:{below['nats'].port}"


@pytest.fixture(scope="module")
def mongo_url(below: dict[str, Server]) -> str:
    return f"mongodb://127.0.0.1:{below['mongo'].port}"


@pytest.fixture(scope="module")
async def mongo_client(mongo_url: str) -> AsyncIterator[Any]:
    client: Any = AsyncIOMotorClient(mongo_url, tz_aware=True, serverSelectionTimeoutMS=10_000)
    yield client
    client.close()


@pytest.fixture(scope="module")
def s3_address(below: dict[str, Server]) -> S3Address:
    access_key, secret_key = below["s3"].environment["KEYS"].split(",")
    return S3Address(f"http://127.0.0.1:{below['s3'].port}", access_key, secret_key)


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """Where each execution of a model leaves a file."""
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o777)
    tmp_path.chmod(0o755)
    return folder


@pytest.fixture
def chance() -> random.Random:
    seed = random.SystemRandom().randrange(1_000_000)
    print(f"kills drawn with seed {seed}")
    return random.Random(seed)


@pytest.fixture
def spawn(site: Site, shared: Path) -> Callable[..., Awaitable[subprocess.Popen[bytes]]]:
    """Start a runner as a process that may begin a run as often as the test says."""

    async def spawn(attempts: int = 50) -> subprocess.Popen[bytes]:
        return await site.spawn(
            VITRINE_RUNNER_BINDS=f"{shared}:/shared:rw",
            VITRINE_RUNNER_MAX_ATTEMPTS=str(attempts),
            VITRINE_RUNNER_RETRY_SECONDS="0.05",
        )

    return spawn


Spawn = Callable[[], Awaitable[subprocess.Popen[bytes]]]


async def asked(site: Site, number: int, first: int = 0) -> list[str]:
    """Ask for so many runs, each of which returns its index; return their ids by index."""
    digest = await site.script(COUNTS, **SPEC)
    return [await site.ask(digest, {"index": first + index}) for index in range(number)]


async def seen(site: Site, run_ids: list[str]) -> list[Run]:
    """The runs as they are written down; none while the database is away."""
    with suppress(Unavailable):
        collection = site.database.collection(Run)
        return await collection.find({"_id": {"$in": run_ids}}, limit=len(run_ids))
    return []


async def until(condition: Callable[[], Awaitable[object]], what: str, seconds: float = 90.0) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while not await condition():
                await asyncio.sleep(0.02)
            return
    pytest.fail(f"did not happen within {seconds:g} s: {what}")


async def all_ended(site: Site, run_ids: list[str]) -> None:
    async def over() -> bool:
        return sum(RUN.is_final(run.state) for run in await seen(site, run_ids)) == len(run_ids)

    try:
        await until(over, "every run has ended")
    except BaseException:
        print("not ended:", [run for run in await seen(site, run_ids) if not RUN.is_final(run.state)])
        raise


async def some_work(site: Site, run_ids: list[str]) -> None:
    async def busy() -> bool:
        return any(run.state in RUN.active for run in await seen(site, run_ids))

    await until(busy, "a run is under way")


async def connected(site: Site) -> bool:
    """Whether runs can be asked for now: nobody here asks again, or relays what could not be sent."""
    with suppress(nats.errors.Error, Unavailable):
        await site.bus.client.jetstream().account_info()
        # Connections of before a restart are found out, and all dropped, by the first question.
        await site.database.collection(Run).find({}, limit=1)
        return True
    return False


async def left(site: Site, run_ids: list[str]) -> int:
    return sum(not RUN.is_final(run.state) for run in await seen(site, run_ids))


async def assert_each_ended_once(
    site: Site, run_ids: list[str], shared: Path, url: str, programs: int = 0
) -> None:
    """Every run succeeded; at most so many whose own program was killed failed, and say just that."""
    runs = {run.id: run for run in await seen(site, run_ids)}
    assert sum(run.state is RunState.FAILED for run in runs.values()) <= programs
    executed = Counter(int(file.name.partition("-")[0]) for file in shared.iterdir())
    for index, run_id in enumerate(run_ids):
        run = runs[run_id]
        if run.state is RunState.FAILED:
            assert run.reason is Reason.USER_ERROR, run
            assert run.message.startswith("the program was ended by SIGKILL"), run
            continue
        assert run.state is RunState.SUCCEEDED, run
        assert value_of(run) == f"{index}\n"
        assert run.message == "", "what was said while it waited again is not its result"
        assert 1 <= executed[index] <= run.attempt, "an execution is an attempt"

    async def told() -> bool:
        facts = (await messages_of(url))[2]
        return all(facts[run_id] == 1 for run_id in run_ids)

    await until(told, "one terminal fact of each run", 20.0)
    again = sum(run.attempt > 1 for run in runs.values())
    print(f"{again} of {len(runs)} runs were begun again, {sum(executed.values())} executions")


def of_sandboxes(runner: int) -> list[psutil.Process]:
    """Every process of every sandbox of a runner: launchers, supervisors, zygotes, programs."""
    with suppress(psutil.NoSuchProcess):
        return [child for child in psutil.Process(runner).children(recursive=True) if _in_sandbox(child)]
    return []


def _in_sandbox(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return any(parent.name() == "bwrap" for parent in (process, *process.parents()))
    return False


async def test_processes_of_sandboxes_killed_at_random_end_no_run_but_their_own(
    site: Site, spawn: Spawn, shared: Path, own_nats: str, chance: random.Random
) -> None:
    runner = await spawn()
    run_ids = await asked(site, RUNS)
    killed: Counter[str] = Counter()
    while killed.total() < 12 and await left(site, run_ids) > 2:
        await some_work(site, run_ids)
        await asyncio.sleep(chance.random() * 0.3)
        if living := of_sandboxes(runner.pid):
            victim = chance.choice(living)
            with suppress(psutil.NoSuchProcess):
                name = victim.name()
                victim.kill()
                killed[name] += 1
    await all_ended(site, run_ids)
    print(f"killed: {dict(killed)}")
    assert killed.total() >= 5
    # From outside, an author's program that is killed looks like one that kills itself.
    await assert_each_ended_once(site, run_ids, shared, own_nats, programs=killed.total())


async def test_runners_killed_at_random_cost_no_run(
    site: Site, spawn: Spawn, shared: Path, own_nats: str, chance: random.Random
) -> None:
    runners = [await spawn(), await spawn()]
    run_ids: list[str] = []
    for _ in range(4):
        run_ids += await asked(site, RUNS // 4, len(run_ids))
        await some_work(site, run_ids)
        await asyncio.sleep(chance.random() * 0.2)
        victim = runners.pop(chance.randrange(2))
        victim.kill()
        await asyncio.to_thread(victim.wait)
        runners.append(await spawn())
    await all_ended(site, run_ids)
    await assert_each_ended_once(site, run_ids, shared, own_nats)


@pytest.mark.parametrize("name", ["nats", "mongo", "s3"])
async def test_a_server_killed_and_started_again_costs_no_run(
    *, site: Site, spawn: Spawn, shared: Path, own_nats: str, below: dict[str, Server], name: str
) -> None:
    await spawn()
    run_ids: list[str] = []
    for _ in range(2):
        await until(lambda: connected(site), "whoever asks is connected")
        run_ids += await asked(site, RUNS // 2, len(run_ids))
        await some_work(site, run_ids)
        await asyncio.to_thread(below[name].kill)
        await asyncio.sleep(0.3)
        await asyncio.to_thread(below[name].start)
    await all_ended(site, run_ids)
    await assert_each_ended_once(site, run_ids, shared, own_nats)


async def test_a_run_is_begun_again_as_often_as_allowed_and_says_so(
    site: Site, spawn: Callable[[int], Awaitable[subprocess.Popen[bytes]]], shared: Path, own_nats: str
) -> None:
    listening = await nats.connect(own_nats)
    news: list[dict[str, Any]] = []

    async def heard(message: Any) -> None:
        news.append(json.loads(message.data))

    await listening.subscribe("run.progress.>", cb=heard)
    run_id = await site.ask(await site.script(SLEEPS))
    for attempt in (1, 2):
        runner = await spawn(2)

        async def begun(attempt: int = attempt) -> bool:
            return len(list(shared.iterdir())) == attempt

        await until(begun, f"attempt {attempt} has begun")
        run = await site.reached(run_id, RunState.RUNNING)
        assert (run.attempt, run.message) == (attempt, "")
        runner.kill()
        await asyncio.to_thread(runner.wait)
    await spawn(2)
    run = await site.ended(run_id)
    assert (run.state, run.reason, run.attempt) == (RunState.FAILED, Reason.PLATFORM_ERROR, 2)
    assert "stopped 2 times without a result" in run.message
    assert len(list(shared.iterdir())) == 2, "begun as often as allowed"
    told = [item.get("payload", item) for item in news]
    words = [(item["state"], item["message"]) for item in told if item["run_id"] == run_id]
    again = [message for state, message in words if state == "queued"]
    assert any("begun again: attempt 2 of at most 2" in message for message in again), words
    await listening.close()
