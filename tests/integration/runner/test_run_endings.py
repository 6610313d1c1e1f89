"""Cancelling, expiring, retrying, giving back; leases that were lost; runners that are killed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from runner_site import Site, value_of
from vitrine_common.bus import Bus
from vitrine_common.clock import after
from vitrine_common.documents import Run, RunRequest
from vitrine_common.documents.base import LONG_AGO
from vitrine_common.ids import new_id
from vitrine_common.messages import LinkRevoked, RunCancel, RunFinished, RunStart
from vitrine_common.messages.envelope import Envelope
from vitrine_common.messages.run import RunProgress
from vitrine_common.states import Reason, RunState
from vitrine_common.store import Database
from vitrine_engine import Bind
from vitrine_runner.cancellation import Cancellation
from vitrine_runner.repository import Runs

COUNTS = """
import os, pathlib, time, uuid
pathlib.Path("/shared/began-" + uuid.uuid4().hex).write_text("")
while not os.path.exists("/shared/go"):
    time.sleep(0.02)
print("done")
"""


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """A host folder in which a model counts its executions, and waits for the test."""
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o777)
    return folder


@pytest.fixture
def bind(shared: Path) -> Bind:
    return Bind(source=shared, target="/shared", writable=True)


async def began(shared: Path, number: int = 1) -> None:
    """Wait until the model has begun so often."""
    async with asyncio.timeout(30):
        while len(list(shared.glob("began-*"))) < number:
            await asyncio.sleep(0.01)


async def test_a_working_run_is_cancelled_and_its_slot_is_free_again(
    site: Site, bind: Bind, shared: Path
) -> None:
    await site.start(binds=(bind,), slots=1)
    digest = await site.script(COUNTS)
    run_id = await site.ask(digest)
    await began(shared)
    running = await site.reached(run_id, RunState.RUNNING)
    assert running.runner is not None

    await site.bus.send(RunCancel(run_id=run_id))
    run = await site.ended(run_id)
    assert (run.state, run.reason) == (RunState.CANCELLED, Reason.CANCELLED)

    (shared / "go").touch()
    await site.bus.send(RunCancel(run_id=run_id))
    assert value_of(await site.run(digest)) == "done\n"
    assert await site.look(run_id) == run


async def test_a_cancellation_is_seen_by_the_heartbeat_when_its_message_is_lost(
    site: Site, bind: Bind, shared: Path
) -> None:
    await site.start(binds=(bind,), lease_seconds=0.9)
    run_id = await site.ask(await site.script(COUNTS))
    await began(shared)
    database = Database(site.settings.mongo, "runner", site.bus)
    await database.collection(Run).update({"_id": run_id}, {"cancel_requested": True})
    assert (await site.ended(run_id)).state is RunState.CANCELLED
    database.close()


async def test_a_waiting_run_is_cancelled_without_ever_starting(site: Site, bind: Bind, shared: Path) -> None:
    await site.start(binds=(bind,), slots=1)
    digest = await site.script(COUNTS)
    working = await site.ask(digest)
    await began(shared)
    waiting = await site.ask(digest)
    await site.bus.send(RunCancel(run_id=waiting))
    assert (await site.ended(waiting)).state is RunState.CANCELLED

    (shared / "go").touch()
    assert (await site.ended(working)).state is RunState.SUCCEEDED
    last = await site.run(digest)
    assert last.state is RunState.SUCCEEDED
    assert len(list(shared.glob("began-*"))) == 2


async def test_a_revoked_link_ends_its_runs_and_no_others(site: Site, bind: Bind, shared: Path) -> None:
    await site.start(binds=(bind,), slots=2)
    digest = await site.script(COUNTS)
    link = new_id("link")
    working = await site.ask(digest, link_id=link)
    other = await site.ask(digest, link_id=new_id("link"))
    await began(shared, 2)
    waiting = await site.ask(digest, link_id=link)

    await site.bus.send(LinkRevoked(link_id=link))
    assert [(await site.ended(run)).state for run in (working, waiting)] == [RunState.CANCELLED] * 2
    (shared / "go").touch()
    assert (await site.ended(other)).state is RunState.SUCCEEDED


async def test_a_request_past_its_time_expires(site: Site) -> None:
    await site.start()
    run = await site.run(await site.script("print(1)"), expires_at=after(-1))
    assert (run.state, run.reason, run.attempt) == (RunState.EXPIRED, Reason.EXPIRED, 0)


async def test_saying_start_twice_runs_once(site: Site, bind: Bind, shared: Path) -> None:
    await site.start(binds=(bind,), slots=2)
    run_id = await site.ask(await site.script(COUNTS))
    await began(shared)
    await site.bus.send(RunStart(run_id=run_id))
    other = await site.run(await site.script("print('after')"))
    assert other.state is RunState.SUCCEEDED
    (shared / "go").touch()
    run = await site.ended(run_id)
    await site.bus.send(RunStart(run_id=run_id))
    assert value_of(await site.run(await site.script("print('later')"))) == "later\n"
    assert await site.look(run_id) == run
    assert len(list(shared.glob("began-*"))) == 1


async def test_who_lost_the_lease_can_change_nothing(site: Site, bind: Bind, shared: Path) -> None:
    await site.start(binds=(bind,), lease_seconds=60.0)
    run_id = await site.ask(await site.script(COUNTS))
    await began(shared)
    await site.reached(run_id, RunState.RUNNING)

    database = Database(site.settings.mongo, "runner", site.bus)
    other = Runs(database, "another runner", 60.0, 3)
    await database.collection(Run).update({"_id": run_id}, {"lease_expires_at": LONG_AGO})
    settled = await other.settle(
        run_id, RunState.RUNNING, RunState.FAILED, Reason.PLATFORM_ERROR, "by another"
    )
    assert settled is not None
    (shared / "go").touch()
    # The slot of the dropped run must be free again.
    assert (await site.run(await site.script("print(1)"))).state is RunState.SUCCEEDED
    await asyncio.sleep(0.3)
    run = await site.look(run_id)
    assert run is not None
    assert (run.state, run.message, run.outputs) == (RunState.FAILED, "by another", [])
    database.close()


async def test_a_run_of_a_killed_runner_is_run_again_by_another(site: Site, bind: Bind, shared: Path) -> None:
    killed = await site.spawn(VITRINE_RUNNER_BINDS=f"{shared}:/shared:rw")
    run_id = await site.ask(await site.script(COUNTS))
    await began(shared)
    killed.kill()
    killed.wait()
    (shared / "go").touch()

    await site.start(binds=(bind,))
    run = await site.ended(run_id)
    assert (run.state, run.attempt, value_of(run)) == (RunState.SUCCEEDED, 2, "done\n")
    assert len(list(shared.glob("began-*"))) == 2


async def test_a_stopping_runner_gives_its_run_back_uncounted(site: Site, bind: Bind, shared: Path) -> None:
    stopping = await site.spawn(
        VITRINE_RUNNER_BINDS=f"{shared}:/shared:rw", VITRINE_RUNNER_STOP_SECONDS="0.1"
    )
    run_id = await site.ask(await site.script(COUNTS))
    await began(shared)
    await site.reached(run_id, RunState.RUNNING)
    stopping.terminate()
    assert await asyncio.to_thread(stopping.wait, 30) == 0
    given_back = await site.look(run_id)
    assert given_back is not None
    assert (given_back.state, given_back.attempt) == (RunState.QUEUED, 0)

    (shared / "go").touch()
    await site.start(binds=(bind,))
    run = await site.ended(run_id)
    assert (run.state, run.attempt) == (RunState.SUCCEEDED, 1)


async def test_a_run_that_no_message_tells_of_any_more_expires(site: Site) -> None:
    """Its `run.start` was lost or buried: nobody took the run, and its time is over."""
    await site.start()
    run = await site.run(await site.script("print(1)"), expires_at=after(-1))
    requests = site.database.collection(RunRequest)
    lost = (await requests.get(run.id)).model_copy(update={"id": new_id("run"), "expires_at": after(-2)})
    await requests.insert(lost)
    database = Database(site.settings.mongo, "runner", site.bus)
    runs = Runs(database, "runner@test:1", 10, 3)
    assert await Cancellation(runs, site.bus).expire_overdue() == 1
    assert (await database.collection(Run).get(lost.id)).state is RunState.EXPIRED
    assert await Cancellation(runs, site.bus).expire_overdue() == 0
    database.close()


async def test_work_that_always_dies_fails_in_the_end(site: Site) -> None:
    host = await site.start()
    database = Database(site.settings.mongo, "runner", site.bus)
    runs = Runs(database, "a runner that dies", 0.05, 3)
    request = await runs.request(await site.ask(await site.script("print(1)"), expires_at=after(-1)))
    await site.ended(request.id)
    abandoned = Run(
        id=new_id("run"),
        version_id="ver_1",
        version_digest=request.version_digest,
        owner_id="usr_1",
        attempt=2,
    )
    await database.collection(Run).insert(abandoned)
    assert await runs.queue.claim(abandoned.id, RunState.STARTING) is not None
    run = await site.ended(abandoned.id)
    assert (run.state, run.reason, run.attempt) == (RunState.FAILED, Reason.PLATFORM_ERROR, 3)
    assert host.pids == []
    database.close()


async def test_every_end_is_told_once_as_a_fact_and_last_as_news(site: Site) -> None:
    await site.start()
    news: list[RunProgress] = []
    facts: list[RunFinished] = []
    client = site.bus.client
    heard = await client.subscribe("run.progress.*")
    told = await client.subscribe("run.succeeded")
    run_id = await site.ask(
        await site.script("import time; print('one', flush=True); time.sleep(0.3); print('two')")
    )
    async with asyncio.timeout(30):
        while not news or news[-1].state is not RunState.SUCCEEDED:
            news.append(Envelope[RunProgress].model_validate_json((await heard.next_msg(30)).data).payload)
    facts.append(Envelope[RunFinished].model_validate_json((await told.next_msg(30)).data).payload)

    assert {item.run_id for item in news} == {run_id}
    states = [item.state for item in news]
    assert states == sorted(states, key=list(RunState).index)
    assert "".join(item.log for item in news) == "one\ntwo\n"
    assert facts[0].run_id == run_id
    assert told.pending_msgs == 0
    await heard.unsubscribe()
    await told.unsubscribe()


async def test_what_nobody_asked_for_is_a_dead_letter(site: Site, servers_of_runs: Site) -> None:
    bus: Bus = site.bus
    await site.start()
    dead = await bus.client.subscribe("dead.run.start.cpu")
    await bus.send(RunStart(run_id="run_nobody"))
    message = await dead.next_msg(30)
    assert b"run_nobody" in message.data
    await dead.unsubscribe()
