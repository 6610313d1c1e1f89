"""The short way to a run: one address, waiting, events, and requests that are sent again."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from api_instance import Account, Instance, api, events_of, problem
from vitrine_api import idempotency
from vitrine_common.documents import IdempotencyKey, Output, RunRequest

__all__ = ["api"]


@pytest.fixture
async def ann(api: Instance) -> Account:
    return await api.account()


@pytest.fixture
async def echo(api: Instance, ann: Account) -> dict[str, Any]:
    return await api.ready(ann, name="echo")


@pytest.fixture
async def answering(api: Instance, echo: dict[str, Any]) -> AsyncIterator[None]:
    """What a runner would do: every run of the model ends."""

    async def answer() -> None:
        done: set[str] = set()
        while True:
            for request in await requests_of(api, echo):
                if request.id not in done:
                    done.add(request.id)
                    await api.finish(request.id, [Output(name="output", type="text", value='"hello"')])
            await asyncio.sleep(0.02)

    task = asyncio.create_task(answer())
    yield
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def requests_of(api: Instance, version: dict[str, Any]) -> list[RunRequest]:
    collection = api.database_as("runner").collection(RunRequest)
    return await collection.find({"version_id": version["id"]}, limit=100)


def path(ann: Account, version: str = "") -> str:
    return f"/v1/models/{ann.name}/echo{version}/runs"


async def test_the_answer_tells_where_the_run_is(api: Instance, ann: Account, echo: dict[str, Any]) -> None:
    answer = await ann.client.post(path(ann), json={"inputs": {"text": "hi"}})
    assert answer.status_code == 202, answer.text
    shown = await ann.client.get(answer.headers["location"])
    assert shown.json()["id"] == answer.json()["id"]
    assert shown.json()["inputs"] == {"text": "hi"}


async def test_it_waits_as_preferred(
    api: Instance, ann: Account, echo: dict[str, Any], answering: None
) -> None:
    for version in ("", "@1", "@latest", f"@{echo['digest'][7:19]}"):
        answer = await ann.client.post(path(ann, version), json={}, headers={"Prefer": "wait=30"})
        assert answer.status_code == 200, answer.text
        assert answer.headers["preference-applied"] == "wait=30"
        assert answer.json()["outputs"][0]["value"] == "hello"


async def test_it_streams_events(api: Instance, ann: Account, echo: dict[str, Any], answering: None) -> None:
    link = await ann.share(f"{ann.name}/echo@1")
    headers = {"Accept": "text/event-stream"}
    for client, address in (
        (ann.client, path(ann)),
        (api.client(), f"/s/{link['token']}/v1/runs"),
    ):
        answer = await client.post(address, json={}, headers=headers)
        assert answer.status_code == 200, answer.text
        kind, last = events_of(answer.text)[-1]
        assert (kind, last["state"]) == ("end", "succeeded")


async def test_a_link_runs_its_model(
    api: Instance, ann: Account, echo: dict[str, Any], answering: None
) -> None:
    link = await ann.share(f"{ann.name}/echo@1")
    visitor, address = api.client(), f"/s/{link['token']}/v1/runs"
    answer = await visitor.post(address, json={}, headers={"Prefer": "wait=30"})
    assert answer.status_code == 200, answer.text
    secret = answer.headers["x-vitrine-visitor"]
    assert answer.json()["visitor"] == secret
    again = await visitor.get(answer.json()["url"], headers={"X-Vitrine-Visitor": secret})
    assert again.json()["state"] == "succeeded"


async def test_refusals_are_problems_and_no_pages(api: Instance, ann: Account, echo: dict[str, Any]) -> None:
    problem(await api.client().post(path(ann), json={}), 401)
    problem(await (await api.account()).client.post(path(ann), json={}), 404)
    problem(await api.client().post("/s/unknown/v1/runs", json={}), 404)
    problem(await ann.client.post(path(ann), json={"inputs": {"count": 99}}), 422)
    problem(await ann.client.post(path(ann, "@9"), json={}), 404)


async def test_equal_requests_at_once_make_one_run(api: Instance, ann: Account, echo: dict[str, Any]) -> None:
    headers = {"Idempotency-Key": secrets.token_hex(8)}
    body = {"inputs": {"text": "once"}}
    answers = await asyncio.gather(
        *(ann.client.post(path(ann), json=body, headers=headers) for _ in range(8))
    )
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len(await requests_of(api, echo)) == 1


async def test_a_form_that_is_sent_again_is_equal(api: Instance, ann: Account, echo: dict[str, Any]) -> None:
    headers = {"Idempotency-Key": secrets.token_hex(8)}
    png = b"\x89PNG\r\n\x1a\n" + bytes(32)

    async def send(picture: bytes) -> httpx.Response:
        files = {"input.image": ("a.png", picture, "image/png")}
        return await ann.client.post(path(ann), data={"input.text": "x"}, files=files, headers=headers)

    first, second = await send(png), await send(png)
    assert first.json()["id"] == second.json()["id"]
    assert "used for another request" in problem(await send(png + b"1"), 422)["detail"]


async def test_a_key_is_its_senders_own(api: Instance, ann: Account, echo: dict[str, Any]) -> None:
    link = await ann.share(f"{ann.name}/echo@1")
    key = {"Idempotency-Key": "same"}
    visitors = [{"X-Vitrine-Visitor": secrets.token_urlsafe(16)} for _ in range(2)]
    address = f"/s/{link['token']}/v1/runs"
    one, two = [await api.client().post(address, json={}, headers={**key, **each}) for each in visitors]
    mine = await ann.client.post(path(ann), json={}, headers=key)
    assert len({answer.json()["id"] for answer in (one, two, mine)}) == 3
    again = await api.client().post(address, json={}, headers={**key, **visitors[0]})
    assert again.json()["id"] == one.json()["id"]


async def test_a_refused_request_leaves_its_key_free(
    api: Instance, ann: Account, echo: dict[str, Any]
) -> None:
    headers = {"Idempotency-Key": secrets.token_hex(8)}
    wrong = await ann.client.post(path(ann), json={"inputs": {"count": 99}}, headers=headers)
    problem(wrong, 422)
    answer = await ann.client.post(path(ann), json={"inputs": {"count": 9}}, headers=headers)
    assert answer.status_code == 202


async def test_a_key_that_a_killed_process_left_is_taken_over(
    api: Instance, ann: Account, echo: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    headers, body = {"Idempotency-Key": secrets.token_hex(8)}, {"inputs": {"text": "again"}}
    first = await ann.client.post(path(ann), json=body, headers=headers)
    keys = api.database_as("api").collection(IdempotencyKey)
    (key,) = await keys.find({"run_id": first.json()["id"]})
    await keys.update({"_id": key.id}, {"run_id": "run_never"})
    monkeypatch.setattr(idempotency, "WAIT_SECONDS", 0.0)
    problem(await ann.client.post(path(ann), json=body, headers=headers), 409)
    await keys.update({"_id": key.id}, {"created_at": key.created_at - 2 * idempotency.ABANDONED})
    answer = await ann.client.post(path(ann), json=body, headers=headers)
    assert answer.status_code == 202
    assert answer.json()["id"] != "run_never"
