"""Quotas of owners: never one too many, however many ask at once; named where they refuse."""

from __future__ import annotations

import asyncio
from typing import Any

from api_instance import FILES, Account, Instance, manifest, problem
from vitrine_common.digests import sha256_bytes
from vitrine_common.documents import Build
from vitrine_common.messages import EnvironmentRequest
from vitrine_common.states import BuildState


async def give(api: Instance, account: Account, **quotas: int) -> None:
    answer = await api.operator.client.put(f"/api/v1/users/{account.name}/quotas", json=quotas)
    assert answer.status_code == 200, answer.text


async def used(account: Account) -> dict[str, tuple[int, int]]:
    told = (await account.client.get("/api/v1/whoami")).json()["quotas"]
    return {item["name"]: (item["used"], item["limit"]) for item in told}


async def told(account: Account, kind: str) -> list[str]:
    news = (await account.client.get("/api/v1/notifications")).json()["items"]
    return [item["title"] for item in news if item["kind"] == kind]


async def refusals(account: Account) -> list[str]:
    return await told(account, "quota.reached")


async def test_fifty_runs_at_once_by_owner_and_link_never_go_over_the_days_quota(api: Instance) -> None:
    owner = await api.account()
    version = await api.ready(owner)
    link = await owner.share(version["reference"])
    await give(api, owner, max_runs_per_day=7)
    path = f"/api/v1/versions/{version['reference'].replace('@', '/')}/runs"
    visitor = api.client()

    async def run(number: int) -> Any:
        if number % 2:
            return await visitor.post(f"/api/v1/links/{link['token']}/runs", json={"inputs": {}})
        return await owner.client.post(path, json={"inputs": {}})

    answers = await asyncio.gather(*(run(number) for number in range(50)))
    assert sorted(answer.status_code for answer in answers) == [202] * 7 + [429] * 43
    assert (await used(owner))["max_runs_per_day"] == (7, 7)
    detail = problem(await owner.client.post(path, json={"inputs": {}}), 429)["detail"]
    assert "max_runs_per_day" in detail
    assert "ask the operator" in detail
    by_link = problem(await visitor.post(f"/api/v1/links/{link['token']}/runs", json={"inputs": {}}), 429)
    assert owner.name not in by_link["detail"]
    counted = (await owner.client.get("/api/v1/links")).json()["items"][0]["runs_used"]
    assert counted == sum(answer.status_code == 202 for answer in answers[1::2])
    assert await told(owner, "quota.near") == ["Runs today: 80 % of your quota is used"]
    assert await refusals(owner) == ["Runs today: your quota is used up"], "once, however many were refused"


async def test_storage_never_grows_over_its_quota(api: Instance) -> None:
    owner = await api.account()
    await give(api, owner, max_storage_bytes=1000)
    sizes = [bytes([number]) * 300 for number in range(12)]
    answers = await asyncio.gather(*(owner.client.put("/api/v1/blobs", content=data) for data in sizes))
    assert sorted(answer.status_code for answer in answers) == [201] * 3 + [429] * 9
    assert (await used(owner))["max_storage_bytes"] == (900, 1000)
    # What is there already takes nothing, and what does not fit is refused before it is sent.
    there = sizes[[answer.status_code for answer in answers].index(201)]
    assert (await owner.client.put("/api/v1/blobs", content=there)).status_code == 201
    assert (await used(owner))["max_storage_bytes"] == (900, 1000)
    wanted = {"blobs": [{"digest": sha256_bytes(b"x" * 300), "size": 300}]}
    detail = problem(await owner.client.post("/api/v1/blobs/missing", json=wanted), 429)["detail"]
    assert "max_storage_bytes" in detail
    assert "vitrine delete" in detail
    assert await refusals(owner) == ["Storage: too little of your quota is left (900 of 1000 bytes are used)"]


async def test_what_is_refused_before_it_is_sent_is_told_too(api: Instance) -> None:
    owner = await api.account()
    await give(api, owner, max_storage_bytes=1000)
    wanted = {"blobs": [{"digest": sha256_bytes(b"x" * 1001), "size": 1001}]}
    for _ in range(2):
        problem(await owner.client.post("/api/v1/blobs/missing", json=wanted), 429)
    assert await refusals(owner) == ["Storage: too little of your quota is left (0 of 1000 bytes are used)"]


async def test_a_build_reserves_time_and_is_charged_what_it_took(api: Instance) -> None:
    owner = await api.account()
    await give(api, owner, max_build_seconds_per_day=1500)
    version = await owner.push(name="first")
    await owner.push(name="second")
    assert (await used(owner))["max_build_seconds_per_day"] == (1200, 1500)
    await owner.upload(FILES)
    third = {"manifest": manifest(), "model": "third"}
    detail = problem(await owner.client.post("/api/v1/versions", json=third), 429)["detail"]
    assert "max_build_seconds_per_day" in detail
    problem(await owner.client.post("/api/v1/versions", json=third), 429)
    assert await refusals(owner) == [
        "Build time today: too little of your quota is left (1200 of 1500 seconds are used)"
    ], "once, though every further build is refused"
    build = Build(
        id=version["build_id"],
        request=EnvironmentRequest(python="3.11", requirements=[]),
        state=BuildState.SUCCEEDED,
        timings_ms={"resolve": 2000.0, "wheels": 40_000.0},
    )
    await api.database_as("builder").collection(Build).insert(build)
    for _ in range(2):
        await api.services.versions.build_succeeded(version["build_id"], sha256_bytes(b"environment"))
    assert (await used(owner))["max_build_seconds_per_day"] == (642, 1500)
    assert (await owner.client.post("/api/v1/versions", json=third)).status_code == 201


async def test_only_operators_set_quotas(api: Instance) -> None:
    someone = await api.account()
    answer = await someone.client.put(f"/api/v1/users/{someone.name}/quotas", json={"max_runs_per_day": 9})
    assert answer.status_code == 403
