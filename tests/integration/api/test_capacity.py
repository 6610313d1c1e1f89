"""What no machine of the instance can run is refused at once, by accounts and by links."""

from __future__ import annotations

import asyncio
from typing import Any

from api_instance import FILES, SPEC, Instance
from vitrine_common.documents import RunRequest
from vitrine_common.messages import GpuState, RunnerBeat


async def hear(api: Instance, beat: RunnerBeat) -> None:
    """Let the api hear a runner."""
    await api.platform.bus.tell(beat)
    async with asyncio.timeout(20):
        while beat.holder not in {known.holder for known in api.services.fleet.others("")}:
            await asyncio.sleep(0.01)


async def test_a_gpu_that_nobody_has_is_refused_and_one_that_is_busy_waited_for(api: Instance) -> None:
    someone = await api.account()
    spec: dict[str, Any] = {**SPEC, "name": "big", "resources": {"gpu": 1, "gpu_memory": "20Gi"}}
    version = await api.ready(someone, name="big", spec=spec)
    link = await someone.share(version["reference"])
    runs = f"/api/v1/versions/{someone.name}/big/latest/runs"
    by_link = f"/api/v1/links/{link['token']}/runs"

    await hear(api, RunnerBeat(holder="runner@plain:1", slots=2))
    for answer in (
        await someone.client.post(runs, json={"inputs": {"text": "hi"}}),
        await api.client().post(by_link, json={"inputs": {"text": "hi"}}),
    ):
        assert answer.status_code == 409, answer.text
        assert "needs a GPU, and no machine of this instance has one" in answer.json()["detail"]
        assert someone.name not in answer.text

    busy = GpuState(name="A", memory_bytes=24 << 30, free_bytes=0, users=1, free=False)
    await hear(api, RunnerBeat(holder="runner@gpu:1", slots=1, busy=1, devices=("cpu", "gpu"), gpus=(busy,)))
    answer = await someone.client.post(runs, json={"inputs": {"text": "hi"}})
    assert answer.status_code == 202, answer.text
    request = await api.services.repository.runs.requests.get(answer.json()["id"])
    assert isinstance(request, RunRequest)
    assert (request.device, request.gpus, request.gpu_memory) == ("gpu", 1, 20 << 30)


async def test_a_call_for_a_gpu_that_nobody_has_is_refused_at_once(api: Instance) -> None:
    someone = await api.account()
    spec: dict[str, Any] = {"name": "net", "onnx": next(iter(FILES)), "resources": {"gpu": 2}}
    await api.ready(someone, name="net", spec=spec)
    await hear(api, RunnerBeat(holder="runner@plain:2", slots=2))
    tensor = {"name": "x", "datatype": "FP32", "shape": [1], "data": [1.0]}
    path = f"/v2/models/{someone.name}~net"
    for answer in (
        await someone.client.post(f"{path}/infer", json={"inputs": [tensor]}),
        await someone.client.get(path),
    ):
        assert answer.status_code == 409, answer.text
        assert "GPU" in answer.json()["error"]
