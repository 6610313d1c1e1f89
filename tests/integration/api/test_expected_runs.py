"""Runners hear of a run before it is stored, and of none that is refused for what is known at once."""

from __future__ import annotations

import asyncio
import json

from nats.aio.msg import Msg

from api_instance import Instance, problem

ORDER = ["run.expected", "run.start.cpu"]


async def test_runners_are_told_of_a_run_before_it_is_stored(api: Instance) -> None:
    someone = await api.account()
    version = await api.ready(someone)
    link = await someone.share(version["reference"], max_runs=1)
    told: asyncio.Queue[tuple[str, dict[str, str]]] = asyncio.Queue()

    async def heard(message: Msg) -> None:
        told.put_nowait((message.subject, json.loads(message.data)["payload"]))

    client = api.platform.bus.client
    listening = [await client.subscribe(subject, cb=heard) for subject in ORDER]
    runs = f"/api/v1/versions/{version['reference'].replace('@', '/')}/runs"
    assert (await someone.client.post(runs, json={})).status_code == 202
    first, second = [await asyncio.wait_for(told.get(), 30) for _ in range(2)]
    assert [first[0], second[0]] == ORDER
    assert first[1]["version_digest"] == version["digest"]
    assert set(first[1]) == {"version_digest", "environment_digest", "owner_id"}

    by_link = f"/api/v1/links/{link['token']}/runs"
    assert (await api.client().post(by_link, json={})).status_code == 202
    assert [(await asyncio.wait_for(told.get(), 30))[0] for _ in range(2)] == [
        "run.expected",
        "run.start.cpu",
    ]
    problem(await api.client().post(by_link, json={}), 429)
    assert (await someone.client.post(runs, json={})).status_code == 202
    assert [(await asyncio.wait_for(told.get(), 30))[0] for _ in range(2)] == [
        "run.expected",
        "run.start.cpu",
    ]
    assert told.empty()
    for one in listening:
        await one.unsubscribe()
