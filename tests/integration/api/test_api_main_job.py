"""From a login to a shared run, over HTTP."""

from __future__ import annotations

import asyncio

from api_instance import PNG, Instance, events_of, problem
from vitrine_common.digests import sha256_bytes
from vitrine_common.documents import Output
from vitrine_common.messages import BuildSucceeded, RunFinished, RunProgress
from vitrine_common.states import RunState


async def test_login_push_build_run_share(api: Instance) -> None:
    someone = await api.account()
    login = await api.client().post(
        "/api/v1/login", json={"email": someone.email, "password": someone.password}
    )
    assert login.status_code == 200
    who = await api.client(headers={"Authorization": f"Bearer {login.json()['token']}"}).get("/api/v1/whoami")
    assert who.json()["name"] == someone.name

    version = await someone.push("main-job")
    assert version["reference"] == f"{someone.name}/main-job@1"
    assert version["state"] == "building"
    following = asyncio.create_task(someone.client.get(version["events_url"]))
    await api.platform.bus.send(
        BuildSucceeded(build_id=version["build_id"], environment_digest=sha256_bytes(b"e"))
    )
    told = events_of((await following).text)
    assert told[-1][0] == "end"
    assert told[-1][1]["state"] == "ready"
    assert told[-1][1]["environment_digest"] == sha256_bytes(b"e")

    started = await someone.client.post(
        f"/api/v1/versions/{someone.name}/main-job/latest/runs", json={"inputs": {"text": "hi"}}
    )
    assert started.status_code == 202, started.text
    run = started.json()
    assert (run["state"], run["inputs"]) == ("queued", {"text": "hi"})
    await api.finish(run["id"], [Output(name="output", type="text", value='"hi"')])
    shown = (await someone.client.get(run["url"])).json()
    assert (shown["state"], shown["outputs"][0]["value"], shown["final"]) == ("succeeded", "hi", True)

    link = await someone.share(version["reference"], expires="14d", max_runs=3)
    page = await api.client().get(f"/api/v1/links/{link['token']}")
    assert page.json()["runs_left"] == 3
    assert someone.name not in page.text
    by_link = await api.client().post(
        f"/api/v1/links/{link['token']}/runs",
        data={"input.text": "from a form", "input.count": "3"},
        files={"input.image": ("../../a b.png", PNG, "text/html")},
    )
    assert by_link.status_code == 202, by_link.text
    inputs = by_link.json()["inputs"]
    assert inputs["image"] == {
        "digest": sha256_bytes(PNG),
        "size": len(PNG),
        "media_type": "image/png",
        "filename": "a b.png",
    }
    assert (inputs["text"], inputs["count"]) == ("from a form", 3)


async def test_waiting_for_a_run_returns_as_soon_as_it_ends(api: Instance) -> None:
    someone = await api.account()
    version = await api.ready(someone)
    path = f"/api/v1/versions/{version['reference'].replace('@', '/')}/runs"
    waiting = asyncio.create_task(someone.client.post(path, json={}, headers={"Prefer": "wait=30"}))
    run_id = await _only_run(api, version["id"])
    await api.platform.bus.tell(RunProgress(run_id=run_id, state=RunState.RUNNING))
    await api.finish(run_id)
    await api.platform.bus.send(
        RunFinished(run_id=run_id, version_id=version["id"], state=RunState.SUCCEEDED)
    )
    answer = await waiting
    assert answer.status_code == 200
    assert answer.headers["preference-applied"] == "wait=30"
    assert answer.json()["state"] == "succeeded"


async def test_waiting_ends_although_every_message_was_lost(api: Instance) -> None:
    someone = await api.account()
    version = await api.ready(someone)
    path = f"/api/v1/versions/{version['reference'].replace('@', '/')}/runs"
    waiting = asyncio.create_task(someone.client.post(path, json={}, headers={"Prefer": "wait=30"}))
    await api.finish(await _only_run(api, version["id"]))
    assert (await waiting).json()["state"] == "succeeded"


async def test_a_wait_that_is_too_short_is_answered_with_202(api: Instance) -> None:
    someone = await api.account()
    version = await api.ready(someone)
    path = f"/api/v1/versions/{version['reference'].replace('@', '/')}/runs"
    answer = await someone.client.post(path, json={}, headers={"Prefer": "respond-async, wait=1"})
    assert answer.status_code == 202
    assert answer.json()["state"] == "queued"


async def test_the_events_of_a_run_are_states_news_and_one_end(api: Instance) -> None:
    someone = await api.account()
    version = await api.ready(someone)
    path = f"/api/v1/versions/{version['reference'].replace('@', '/')}/runs"
    run = (await someone.client.post(path, json={})).json()
    text = ""
    async with someone.client.stream("GET", run["events_url"]) as stream:
        async for chunk in stream.aiter_text():
            text += chunk
            if "event: state" in text and "event: progress" not in text:
                await api.platform.bus.tell(
                    RunProgress(run_id=run["id"], state=RunState.QUEUED, fraction=0.5, log="a line\n")
                )
            if "event: progress" in text and "event: end" not in text:
                await api.finish(run["id"])
                await api.platform.bus.send(
                    RunFinished(run_id=run["id"], version_id=version["id"], state=RunState.SUCCEEDED)
                )
    told = events_of(text)
    assert [name for name, _ in told] == ["state", "progress", "end"]
    assert told[1][1]["log"] == "a line\n"
    assert told[2][1]["state"] == "succeeded"


async def test_a_version_that_is_not_ready_is_not_run(api: Instance) -> None:
    someone = await api.account()
    version = await someone.push()
    path = f"/api/v1/versions/{version['reference'].replace('@', '/')}/runs"
    assert "not ready yet" in problem(await someone.client.post(path, json={}), 409)["detail"]


async def _only_run(api: Instance, version_id: str) -> str:
    while True:
        found = await api.services.repository.runs.requests.find({"version_id": version_id})
        if found:
            return found[0].id
        await asyncio.sleep(0.02)
