"""Calls between an api and a runner of one host: by their socket, by the bus as soon as that is better."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from api_instance import Account
from inference_site import InferenceSite, inference_site, sum_request
from vitrine_api.inference.calling import LOST, Calling
from vitrine_api.inference.nearby import Nearby
from vitrine_common.freight import Carriage
from vitrine_common.hatch import Line

__all__ = ["inference_site"]


@pytest.fixture(scope="module")
async def ann(inference_site: InferenceSite) -> Account:
    return await inference_site.api.account()


@pytest.fixture(scope="module")
async def adder(inference_site: InferenceSite, ann: Account) -> dict[str, Any]:
    return await inference_site.version(ann, "sum")


@pytest.fixture
def shared(inference_site: InferenceSite, tmp_path: Path) -> Path:
    return tmp_path / "shared"


@pytest.fixture
async def calling(
    inference_site: InferenceSite, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Calling]:
    """The api's calls, with a directory that it shares with runners."""
    platform, services = inference_site.api.platform, inference_site.api.services
    made = Calling(Carriage(shared, platform.blobs), shared, services.fleet)
    await made.open(platform.bus.client)
    watching = asyncio.create_task(made.watch_forever())
    monkeypatch.setattr(services.inference, "calling", made)
    yield made
    watching.cancel()
    made.close()
    await inference_site.stop_runners()


class Site:
    """What the tests here ask for again and again."""

    def __init__(self, calling: Calling, ann: Account, version: dict[str, Any]) -> None:
        self.nearby: Nearby = calling._nearby
        self._ann = ann
        self.digest: str = version["digest"]

    async def call(self, number: float = 1.0) -> httpx.Response:
        body = sum_request([number], [1.0])
        return await self._ann.client.post(f"/v2/models/{self._ann.name}~sum/infer", json=body)

    async def answered(self) -> None:
        answer = await self.call(2.0)
        assert answer.status_code == 200, answer.text
        assert answer.json()["outputs"][0]["data"] == [3.0]

    async def until_by(self, *, socket: bool) -> None:
        """Call until calls go by the socket, or by the bus."""
        async with asyncio.timeout(60):
            while (self.nearby.line_for(self.digest) is not None) is not socket:
                await self.answered()


@pytest.fixture
def site(calling: Calling, ann: Account, adder: dict[str, Any]) -> Site:
    return Site(calling, ann, adder)


async def test_the_only_runner_of_a_host_is_called_past_the_bus(
    inference_site: InferenceSite, calling: Calling, shared: Path, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    await inference_site.start_runner(shared_dir=shared)
    await site.until_by(socket=True)
    monkeypatch.setattr(calling, "_client", None)  # whatever still took the bus would fail
    answers = await asyncio.gather(*map(site.call, range(20)))
    assert [answer.json()["outputs"][0]["data"] for answer in answers] == [[n + 1.0] for n in range(20)]


async def test_several_runners_are_called_by_the_bus(
    inference_site: InferenceSite, shared: Path, site: Site
) -> None:
    await inference_site.start_runner(shared_dir=shared)
    await site.until_by(socket=True)
    await inference_site.start_runner(shared_dir=shared)
    await site.until_by(socket=False)
    await site.answered()
    assert site.nearby.line_for(site.digest) is None, "an answer does not lead back to one of them"


async def test_a_runner_with_another_directory_is_called_by_the_bus(
    inference_site: InferenceSite, shared: Path, site: Site, tmp_path: Path
) -> None:
    await inference_site.start_runner(shared_dir=tmp_path / "other")
    for _ in range(3):
        await site.answered()
    assert list((tmp_path / "other").glob("hatch-*"))
    assert site.nearby.line_for(site.digest) is None


async def test_a_runner_that_stops_loses_no_call(
    inference_site: InferenceSite, shared: Path, site: Site
) -> None:
    await inference_site.start_runner(shared_dir=shared, stop_seconds=60)
    await site.until_by(socket=True)
    seen: Counter[int] = Counter()
    going = True

    async def caller() -> None:
        while going:
            answer = await site.call()
            seen[answer.status_code] += 1

    callers = [asyncio.create_task(caller()) for _ in range(4)]
    for _ in range(2):
        before = seen[200]
        async with asyncio.timeout(60):
            while seen[200] < before + 20:
                await asyncio.sleep(0.01)
        await inference_site.stop_runners()  # which lets calls end, however long they take here
        await inference_site.start_runner(shared_dir=shared, stop_seconds=60)
    going = False
    await asyncio.gather(*callers)
    assert set(seen) == {200}


async def test_a_call_whose_runner_vanished_fails_and_the_next_goes_by_the_bus(
    inference_site: InferenceSite, calling: Calling, shared: Path, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    await inference_site.start_runner(shared_dir=shared)
    await site.until_by(socket=True)
    line = site.nearby.line_for(site.digest)
    assert line is not None
    send = Line.send

    def cut(sending: Line, number: int, payload: bytes) -> None:
        send(sending, number, payload)
        if sending is line:
            sending.close()

    monkeypatch.setattr(Line, "send", cut)
    answer = await site.call()
    assert (answer.status_code, answer.json()["error"]) == (503, LOST)
    await site.answered()
