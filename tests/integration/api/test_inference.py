"""The Open Inference Protocol through the api, the bus, a runner and a sandbox."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from api_instance import Account
from inference_site import InferenceSite, inference_site, sum_request

__all__ = ["inference_site"]


@pytest.fixture
async def site(inference_site: InferenceSite) -> InferenceSite:
    if not inference_site.runners:
        await inference_site.start_runner()
    return inference_site


@pytest.fixture(scope="module")
async def ann(inference_site: InferenceSite) -> Account:
    return await inference_site.api.account()


@pytest.fixture(scope="module")
async def adder(inference_site: InferenceSite, ann: Account) -> dict[str, Any]:
    return await inference_site.version(ann, "sum")


def refused(answer: httpx.Response, status: int) -> str:
    """The sentence of a refusal; asserts that it is one."""
    assert answer.status_code == status, answer.text
    assert set(answer.json()) == {"error"}
    assert answer.headers["x-request-id"]
    return str(answer.json()["error"])


async def test_a_cold_model_answers_and_a_warm_one_again(
    site: InferenceSite, ann: Account, adder: dict[str, Any]
) -> None:
    path = f"/v2/models/{ann.name}~sum/infer"
    for number in (1.0, 2.0):
        answer = await ann.client.post(path, json=sum_request([number], [10.0], id="q"))
        assert answer.status_code == 200, answer.text
        assert answer.json() == {
            "model_name": f"{ann.name}~sum",
            "model_version": "1",
            "id": "q",
            "outputs": [{"name": "sum", "datatype": "FP32", "shape": [1, 1], "data": [number + 10]}],
        }


async def test_many_calls_at_once_get_their_own_answers(
    site: InferenceSite, ann: Account, adder: dict[str, Any]
) -> None:
    async def call(number: int) -> float:
        body = sum_request([float(number)], [0.5])
        answer = await ann.client.post(f"/v2/models/{ann.name}/sum/versions/1/infer", json=body)
        assert answer.status_code == 200, answer.text
        return float(answer.json()["outputs"][0]["data"][0])

    assert await asyncio.gather(*map(call, range(40))) == [number + 0.5 for number in range(40)]


async def test_large_tensors_pass_beside_the_bus(
    site: InferenceSite, ann: Account, adder: dict[str, Any]
) -> None:
    count = 400_000  # 1.6 MB each, where the bus takes 1 MiB
    data = struct.pack(f"<{count}f", *([1.5] * count))
    described = [
        {
            "name": name,
            "datatype": "FP32",
            "shape": [1, count],
            "parameters": {"binary_data_size": len(data)},
        }
        for name in "ab"
    ]
    request = httpx.Request(
        "POST", "http://x", json={"inputs": described, "parameters": {"binary_data_output": True}}
    )
    text = request.read()
    answer = await ann.client.post(
        f"/v2/models/{ann.name}%2Fsum/infer",
        content=text + data + data,
        headers={"Inference-Header-Content-Length": str(len(text))},
    )
    assert answer.status_code == 200, answer.text
    length = int(answer.headers["inference-header-content-length"])
    assert set(struct.unpack(f"<{count}f", answer.content[length:])) == {3.0}
    staged = [item async for item in _objects(site)]
    assert staged == []


async def _objects(site: InferenceSite) -> AsyncIterator[str]:
    from vitrine_common.clock import after

    for name in await site.api.platform.blobs.list_staging(after(60)):
        if name.startswith("call"):
            yield name


async def test_health_and_metadata(site: InferenceSite, ann: Account, adder: dict[str, Any]) -> None:
    nobody = site.api.client()
    server = await nobody.get("/v2")
    assert server.json()["extensions"] == ["binary_tensor_data"]
    assert (await nobody.get("/v2/health/live")).status_code == 200
    assert (await nobody.get("/v2/health/ready")).status_code == 200
    assert (await ann.client.get(f"/v2/models/{ann.name}~sum/ready")).json()["ready"] is True
    metadata = (await ann.client.get(f"/v2/models/{ann.name}~sum")).json()
    assert metadata == {
        "name": f"{ann.name}~sum",
        "versions": ["1"],
        "platform": "vitrine",
        "inputs": [
            {"name": "a", "datatype": "FP32", "shape": [1, -1]},
            {"name": "b", "datatype": "FP32", "shape": [1, -1]},
        ],
        "outputs": [{"name": "sum", "datatype": "FP32", "shape": [1, -1]}],
    }


async def test_refusals_have_the_protocols_form(
    site: InferenceSite, ann: Account, adder: dict[str, Any]
) -> None:
    path = f"/v2/models/{ann.name}~sum/infer"
    good = sum_request([1.0], [1.0])
    other = await site.api.account()
    assert "Bearer" in refused(await site.api.client().post(path, json=good), 401)
    assert "token" in refused(
        await site.api.client(headers={"Authorization": "Bearer vt_no"}).post(path, json=good), 401
    )
    missing = refused(await other.client.post("/v2/models/nobody~nothing/infer", json=good), 404)
    hidden = refused(await other.client.post(path, json=good), 404)
    assert missing.replace("nobody/nothing", "X") == hidden.replace(f"{ann.name}/sum", "X")
    refused(await ann.client.post(f"/v2/models/{ann.name}~sum/versions/9/infer", json=good), 404)
    refused(await ann.client.get("/v2/models/unnamed"), 404)
    refused(await ann.client.get("/v2/nothing"), 404)
    refused(await ann.client.get(path), 405)
    assert "not JSON" in refused(await ann.client.post(path, content=b"{"), 400)
    wrong = sum_request([1.0], [1.0])
    wrong["inputs"][0]["name"] = "c"
    assert "no input `c`" in refused(await ann.client.post(path, json=wrong), 400)
    wrong = sum_request([1.0], [1.0], outputs=[{"name": "product"}])
    assert "no output `product`" in refused(await ann.client.post(path, json=wrong), 400)
    assert "has the type int64" in refused(
        await ann.client.post(
            path,
            json={
                "inputs": [
                    {"name": "a", "datatype": "INT64", "shape": [1, 1], "data": [1]},
                    {"name": "b", "datatype": "FP32", "shape": [1, 1], "data": [1]},
                ]
            },
        ),
        400,
    )
    assert (await ann.client.post(path, json=good)).status_code == 200


async def test_a_link_has_one_model_and_a_quota(
    site: InferenceSite, ann: Account, adder: dict[str, Any]
) -> None:
    link = await ann.share(f"{ann.name}/sum@1", max_runs=3)
    base = f"/s/{link['token']}/v2/models/model"
    visitor = site.api.client()
    assert (await visitor.get(f"{base}/ready")).json() == {"name": "model", "ready": True}
    answers = await asyncio.gather(
        *(visitor.post(f"{base}/infer", json=sum_request([1.0], [1.0])) for _ in range(8))
    )
    assert sorted(answer.status_code for answer in answers) == [200] * 3 + [429] * 5
    assert "used up" in refused(next(item for item in answers if item.status_code == 429), 429)


async def test_a_revoked_link_stops_at_once(site: InferenceSite, ann: Account, adder: dict[str, Any]) -> None:
    link = await ann.share(f"{ann.name}/sum@1")
    path = f"/s/{link['token']}/v2/models/model/infer"
    visitor = site.api.client()
    assert (await visitor.post(path, json=sum_request([1.0], [1.0]))).status_code == 200
    assert (await ann.client.delete(f"/api/v1/links/{link['id']}")).status_code in {200, 204}
    async with asyncio.timeout(1):
        while (answer := await visitor.post(path, json=sum_request([1.0], [1.0]))).status_code == 200:
            pass
    assert "revoked" in refused(answer, 410)


async def test_a_revoked_token_stops_within_a_second(
    site: InferenceSite, ann: Account, adder: dict[str, Any]
) -> None:
    made = await ann.client.post("/api/v1/tokens", json={"label": "calls", "scopes": ["run"]})
    token = made.json()
    client = site.api.client(headers={"Authorization": f"Bearer {token['token']}"})
    path = f"/v2/models/{ann.name}~sum/infer"
    assert (await client.post(path, json=sum_request([1.0], [1.0]))).status_code == 200
    assert (await ann.client.delete(f"/api/v1/tokens/{token['id']}")).status_code in {200, 204}
    async with asyncio.timeout(1):
        while (answer := await client.post(path, json=sum_request([1.0], [1.0]))).status_code == 200:
            pass
    refused(answer, 401)


async def test_a_blind_link_tells_nothing(site: InferenceSite, ann: Account, adder: dict[str, Any]) -> None:
    link = await ann.share(f"{ann.name}/sum@1", blind=True)
    base = f"/s/{link['token']}/v2/models/model"
    visitor = site.api.client()
    good = await visitor.post(f"{base}/infer", json=sum_request([1.0], [1.0]))
    told = [
        await visitor.get(f"/s/{link['token']}/v2"),
        await visitor.get(base),
        await visitor.get(f"{base}/ready"),
        good,
        await visitor.post(f"{base}/infer", json={"inputs": []}),
        await visitor.post(f"/s/{link['token']}/v2/models/other/infer", json={"inputs": []}),
    ]
    assert good.json()["model_version"] == "1"
    for answer in told:
        everything = answer.text + str(answer.headers)
        assert ann.name not in everything
        assert adder["digest"][7:19] not in everything


async def test_without_a_runner_a_call_waits_and_is_told(
    inference_site: InferenceSite, ann: Account, adder: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    await inference_site.stop_runners()
    path = f"/v2/models/{ann.name}~sum/infer"
    monkeypatch.setattr(inference_site.api.services.inference, "_patience", 0.3)
    answer = await ann.client.post(path, json=sum_request([1.0], [1.0]))
    assert "no runner took this call" in refused(answer, 503)
    assert int(answer.headers["retry-after"]) >= 1
    monkeypatch.undo()
    waiting = asyncio.create_task(ann.client.post(path, json=sum_request([1.0], [1.0])))
    await inference_site.start_runner()
    assert (await waiting).status_code == 200
