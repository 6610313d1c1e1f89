"""Share links: quotas, expiry, revocation, what holders see."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import httpx
import pytest
from nats.aio.msg import Msg

from api_instance import Instance, events_of, problem
from vitrine_common.clock import utcnow
from vitrine_common.documents import RunRequest, ShareLink


async def test_fifty_at_once_take_no_more_runs_than_the_quota(api: Instance) -> None:
    someone = await api.account()
    version = await api.ready(someone)
    link = await someone.share(version["reference"], max_runs=7)
    path = f"/api/v1/links/{link['token']}/runs"
    answers = await asyncio.gather(*(api.client().post(path, json={}) for _ in range(50)))
    assert sorted({answer.status_code for answer in answers}) == [202, 429]
    assert sum(answer.status_code == 202 for answer in answers) == 7
    stored = await api.services.repository.runs.requests.count({"link_id": link["id"]})
    used = (await _link(api, link)).runs_used
    assert (stored, used) == (7, 7)
    shown = (await someone.client.get("/api/v1/links")).json()["items"][0]
    assert (shown["state"], shown["runs_used"]) == ("used_up", 7)


async def test_a_refused_request_takes_nothing_from_the_quota(api: Instance) -> None:
    someone = await api.account()
    link = await someone.share((await api.ready(someone))["reference"], max_runs=1)
    path = f"/api/v1/links/{link['token']}/runs"
    wrong = problem(await api.client().post(path, json={"inputs": {"count": "many"}}), 422)
    assert wrong["errors"][0]["field"] == "inputs.count"
    assert (await _link(api, link)).runs_used == 0
    assert (await api.client().post(path, json={})).status_code == 202
    assert "used up" in problem(await api.client().post(path, json={}), 429)["detail"]


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_unknown_expired_and_revoked_links(api: Instance, method: str) -> None:
    someone = await api.account()
    version = await api.ready(someone)
    revoked = await someone.share(version["reference"])
    expired = await someone.share(version["reference"], expires="1h")
    assert (await someone.client.delete(f"/api/v1/links/{revoked['id']}")).status_code == 204
    past = {"expires_at": utcnow() - timedelta(seconds=1)}
    await api.services.repository.links.links.require({"_id": expired["id"]}, past)

    async def ask(token: str) -> httpx.Response:
        suffix = "/runs" if method == "POST" else ""
        return await api.client().request(method, f"/api/v1/links/{token}{suffix}", json={})

    assert "revoked" in problem(await ask(revoked["token"]), 410)["detail"]
    assert "expired" in problem(await ask(expired["token"]), 410)["detail"]
    problem(await ask("x" * 22), 404)
    states = {
        item["id"]: item["state"] for item in (await someone.client.get("/api/v1/links")).json()["items"]
    }
    assert (states[revoked["id"]], states[expired["id"]]) == ("revoked", "expired")


async def test_a_revocation_ends_open_streams_and_asks_for_the_runs_to_be_stopped(api: Instance) -> None:
    someone = await api.account()
    link = await someone.share((await api.ready(someone))["reference"])
    cancelled: asyncio.Queue[bytes] = asyncio.Queue()

    async def heard(message: Msg) -> None:
        cancelled.put_nowait(message.data)

    listening = await api.platform.bus.client.subscribe("run.cancel", cb=heard)
    visitor = api.client()
    run = (await visitor.post(f"/api/v1/links/{link['token']}/runs", json={})).json()
    text = ""
    async with visitor.stream(
        "GET", run["events_url"], headers={"X-Vitrine-Visitor": run["visitor"]}
    ) as stream:
        async for chunk in stream.aiter_text():
            text += chunk
            if "event: state" in text and "event: problem" not in text:
                assert (await someone.client.delete(f"/api/v1/links/{link['id']}")).status_code == 204
    assert [name for name, _ in events_of(text)] == ["state", "problem"]
    assert "revoked" in events_of(text)[1][1]
    assert run["id"].encode() in await asyncio.wait_for(cancelled.get(), 30)
    await listening.unsubscribe()


async def test_tokens_are_stored_as_hashes_alone(api: Instance) -> None:
    someone = await api.account()
    link = await someone.share((await api.ready(someone))["reference"], label="for reviewer 2")
    stored = (await _link(api, link)).model_dump_json()
    assert link["token"] not in stored
    assert "reviewer" not in (await api.client().get(f"/api/v1/links/{link['token']}")).text
    answer = await api.client().post(f"/api/v1/links/{link['token']}/runs", json={})
    secret, run_id = answer.json()["visitor"], answer.json()["id"]
    assert answer.headers["x-vitrine-visitor"] == secret
    request = await api.database_as("runner").collection(RunRequest).get(run_id)
    assert secret not in request.model_dump_json()


async def test_a_link_stays_with_the_version_that_it_was_made_for(api: Instance) -> None:
    someone = await api.account()
    first = await api.ready(someone, name="pinned")
    link = await someone.share(f"{someone.name}/pinned")
    spec = {**first["spec"], "description": "another"}
    second = await api.ready(someone, name="pinned", spec=spec)
    assert second["number"] == 2
    seen = (await api.client().get(f"/api/v1/links/{link['token']}")).json()
    assert seen["version_digest"] == first["digest"]


async def test_a_time_to_live_that_is_none_is_refused_by_name(api: Instance) -> None:
    someone = await api.account()
    version = await api.ready(someone)
    wish = {"ref": version["reference"], "expires": "soon"}
    answer = problem(await someone.client.post("/api/v1/links", json=wish), 422)
    assert answer["errors"][0]["field"] == "expires"
    assert "14d" in answer["detail"]


async def _link(api: Instance, link: dict[str, str]) -> ShareLink:
    return await api.services.repository.links.links.get(link["id"])


async def test_public_links_stand_on_the_front_page_until_they_are_revoked(api: Instance) -> None:
    someone = await api.account()
    reference = (await api.ready(someone, name="exhibit"))["reference"]
    secret = await someone.share(reference)
    public = await someone.share(reference, access="public")
    path = "/s/" + public["token"]
    front = (await api.client().get("/")).text
    assert f'href="{path}"' in front
    assert secret["token"] not in front
    assert (await api.client().get(path)).status_code == 200
    await someone.client.delete(f"/api/v1/links/{public['id']}")
    assert path not in (await api.client().get("/")).text
