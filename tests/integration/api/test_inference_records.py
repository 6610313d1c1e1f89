"""Synchronous calls in the records: runs, scores, receipts, quotas, and what a kill leaves."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from api_instance import Account
from inference_site import InferenceSite, inference_site, sum_request
from vitrine_api.inference.journal import Journal
from vitrine_common.documents import AccountUse, Run, RunRequest, ScoringRecord, ShareLink
from vitrine_common.service import make_platform
from vitrine_common.states import Reason, RunState
from vitrine_monitor.app import _use as use_monitor
from vitrine_monitor.handlers import router as monitor_router

__all__ = ["inference_site"]


@pytest.fixture(scope="module")
async def site(inference_site: InferenceSite) -> InferenceSite:
    await inference_site.start_runner()
    return inference_site


@pytest.fixture(scope="module")
async def monitor(site: InferenceSite) -> AsyncIterator[None]:
    platform = make_platform("monitor", site.api.platform.settings)
    platform.bus.broker.include_router(monitor_router)
    await platform.start()
    async with use_monitor(platform):
        await platform.bus.broker.start()
        yield
    await platform.bus.broker.stop()
    await platform.stop()


@pytest.fixture
async def ann(site: InferenceSite) -> Account:
    return await site.api.account()


@pytest.fixture
async def adder(site: InferenceSite, ann: Account) -> dict[str, Any]:
    return await site.version(ann, "sum")


async def call(account: Account, number: float = 1.0) -> float:
    path = f"/v2/models/{account.name}~sum/infer"
    answer = await account.client.post(path, json=sum_request([number], [1.0]))
    assert answer.status_code == 200, answer.text
    return float(answer.json()["outputs"][0]["data"][0])


async def until(check: Callable[[], Any]) -> Any:
    async with asyncio.timeout(30):
        while not (found := await check()):
            await asyncio.sleep(0.05)
    return found


async def runs_of(site: InferenceSite, version: dict[str, Any]) -> list[Run]:
    collection = site.api.database_as("runner").collection(Run)
    return await collection.find({"version_id": version["id"]}, limit=1000)


async def test_each_call_becomes_one_run_and_one_score(
    site: InferenceSite, ann: Account, adder: dict[str, Any], monitor: None
) -> None:
    await asyncio.gather(*(call(ann, float(number)) for number in range(30)))
    wrong = sum_request([1.0, 2.0], [1.0, 2.0, 3.0])  # the graph itself refuses these shapes
    failed = await ann.client.post(f"/v2/models/{ann.name}~sum/infer", json=wrong)
    assert failed.status_code == 500

    async def all_scored() -> list[ScoringRecord] | None:
        scores = site.api.database_as("monitor").collection(ScoringRecord)
        found = await scores.find({"version_id": adder["id"]}, (("_id", 1),), 1000)
        return found if len(found) == 31 else None

    scored = await until(all_scored)
    runs = await runs_of(site, adder)
    assert {run.id for run in runs} == {record.id for record in scored}
    succeeded = [run for run in runs if run.state is RunState.SUCCEEDED]
    assert len(succeeded) == 30
    assert all(run.synchronous and run.timings.compute_ms is not None for run in succeeded)
    (broken,) = (run for run in runs if run.state is RunState.FAILED)
    assert broken.reason is Reason.USER_ERROR

    listed = (await ann.client.get("/api/v1/runs", params={"limit": 100})).json()["items"]
    assert len(listed) == 31
    shown = (await ann.client.get(f"/api/v1/runs/{succeeded[0].id}")).json()
    assert shown["state"] == "succeeded"
    described = shown["inputs"]["tensor:a"]
    assert described["shape"] == [1, 1]
    assert described["digest"].startswith("sha256:")
    assert shown["outputs"][0]["value"]["data"]
    page = await ann.client.get(f"/runs/{succeeded[0].id}")
    assert page.status_code in {200, 303}


async def test_a_receipt_is_issued_on_request(
    site: InferenceSite, ann: Account, adder: dict[str, Any]
) -> None:
    await call(ann)
    (run,) = await until(lambda: runs_of(site, adder))
    answer = await ann.client.get(f"/api/v1/runs/{run.id}/receipt")
    assert answer.status_code == 200, answer.text
    assert "payload" in answer.json()


async def test_a_revoked_link_leaves_its_calls_as_they_were(
    site: InferenceSite, ann: Account, adder: dict[str, Any]
) -> None:
    link = await ann.share(f"{ann.name}/sum@1")
    path = f"/s/{link['token']}/v2/models/model/infer"
    assert (await site.api.client().post(path, json=sum_request([1.0], [1.0]))).status_code == 200
    await ann.client.delete(f"/api/v1/links/{link['id']}")
    (run,) = await until(lambda: runs_of(site, adder))
    assert (run.state, run.link_id) == (RunState.SUCCEEDED, link["id"])


async def test_quotas_are_never_exceeded_and_given_back(
    site: InferenceSite, ann: Account, adder: dict[str, Any]
) -> None:
    link = await ann.share(f"{ann.name}/sum@1", max_runs=50)
    path, visitor = f"/s/{link['token']}/v2/models/model/infer", site.api.client()

    async def calls(number: int) -> list[int]:
        asked = (visitor.post(path, json=sum_request([1.0], [1.0])) for _ in range(number))
        return [answer.status_code for answer in await asyncio.gather(*asked)]

    links = site.api.database_as("api").collection(ShareLink)
    used = site.api.database_as("api").collection(AccountUse)

    async def counted(number: int) -> bool:
        today = await used.find({"user_id": ann.id}, limit=10)
        runs = sum(use.runs for use in today)
        return ((await links.get(link["id"])).runs_used, runs) == (number, number)

    assert await calls(20) == [200] * 20
    await until(lambda: counted(20))  # what was leased and not used is given back
    statuses = await calls(40)
    assert sorted(statuses) == [200] * 30 + [429] * 10
    await until(lambda: counted(50))


async def test_what_a_killed_process_left_is_stored_once(
    site: InferenceSite, ann: Account, adder: dict[str, Any], tmp_path: Path
) -> None:
    await call(ann)
    (run,) = await until(lambda: runs_of(site, adder))
    requests = site.api.database_as("api").collection(RunRequest)
    known = await requests.get(run.id)
    lost = known.model_copy(update={"id": "run_" + "7" * 26, "inputs": "{}"})
    journal = Journal(tmp_path, 1.0)
    assert journal.open() == []
    for request in (known, lost):  # one was stored before the kill, one was not
        journal.append(request.model_dump_json(by_alias=True).encode())
    with contextlib.closing(open_by_others(tmp_path)):
        assert Journal(tmp_path, 1.0).open() == []  # locked: its process lives
    left = journal.close()
    assert left is not None
    os.close(left.descriptor)
    with (tmp_path / left.path.name).open("ab") as file:
        file.write(b'{"_id": "run_half')
    recorder = site.api.services.inference.recorder
    again = Journal(tmp_path, 1.0)
    (segment,) = again.open()
    assert [request.id for request in segment.requests()] == [known.id, lost.id]
    await recorder._store(segment)
    both = await until(lambda: _two(site, adder))
    assert sorted(run.id for run in both) == sorted([known.id, lost.id])
    assert (await requests.get(known.id)).inputs == known.inputs


def open_by_others(path: Path) -> Any:
    return next(path.glob("*.jsonl")).open("rb")


async def _two(site: InferenceSite, version: dict[str, Any]) -> list[Run] | None:
    found = await runs_of(site, version)
    return found if len(found) == 2 else None
