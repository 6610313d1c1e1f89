"""What operators see of runners, and that nobody else sees it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from nats.aio.msg import Msg

from api_instance import Instance, problem
from page_visits import log_in
from vitrine_common.clock import utcnow
from vitrine_common.messages import GpuState
from vitrine_common.messages.subjects import STATUS
from vitrine_common.runner_report import RunnerReport, WorkerReport, ZygoteReport

DIGEST = "sha256:" + "d" * 64


def report(**fields: Any) -> RunnerReport:
    worker = WorkerReport(
        id="worker_1",
        version_digest=DIGEST,
        owner_id="user_x",
        environment_digest=DIGEST,
        state="busy",
        since=utcnow(),
        served=7,
        users=1,
        places=1,
        memory_bytes=300 << 20,
        memory_limit=2 << 30,
    )
    zygote = ZygoteReport(
        environment_digest=DIGEST, owner_id="user_x", pid=42, memory_bytes=99 << 20, modules=12, sandboxes=1
    )
    gpu = GpuState(name="NVIDIA A100", memory_bytes=80 << 30, free_bytes=60 << 30, users=1, free=False)
    known: dict[str, Any] = {
        "slots": 4,
        "busy": 1,
        "devices": ["cpu", "gpu"],
        "draining": False,
        "memory_bytes": 8 << 30,
        "memory_promised": 2 << 30,
        "memory_used": 399 << 20,
        "workers": [worker],
        "zygotes": [zygote],
        "gpus": [gpu],
        "cold_starts": 3,
        "warm_starts": 90,
    }
    return RunnerReport(**{**known, **fields})


@asynccontextmanager
async def runner(api: Instance, holder: str, told: dict[str, Any]) -> AsyncIterator[None]:
    """Answer as a runner does when it is asked how it is."""
    about = {"service": "runner", "holder": holder, "version": "1", "started_at": utcnow().isoformat()}
    client = api.platform.bus.client

    async def answer(message: Msg) -> None:
        await client.publish(message.reply, json.dumps({**about, "report": told}).encode())

    subscription = await client.subscribe(STATUS, cb=answer)
    await client.flush()
    try:
        yield
    finally:
        await subscription.unsubscribe()


async def test_operators_see_workers_memory_starts_and_who_fell_silent(api: Instance) -> None:
    told = {"runner": report().model_dump(mode="json")}
    async with runner(api, "runner@seen:1", told), runner(api, "runner@old:1", {}):
        fleet = (await api.operator.client.get("/api/v1/operator/runners")).json()
        by_name = {one["holder"]: one for one in fleet["runners"]}
        assert by_name["runner@seen:1"]["report"]["workers"][0]["served"] == 7
        assert by_name["runner@seen:1"]["report"]["zygotes"][0]["memory_bytes"] == 99 << 20
        assert by_name["runner@old:1"]["report"] is None
        assert {one["device"] for one in fleet["waiting"]} == {"cpu", "gpu"}
        browser = await log_in(api, api.operator)
        page = (await browser.get("/operator/runners")).text
        for text in ("seen:1", "1 of 4 busy", "90 warm, 3 cold", "NVIDIA A100", "another release"):
            assert text in page
    while True:
        fleet = (await api.operator.client.get("/api/v1/operator/runners")).json()
        silent = {one["holder"] for one in fleet["runners"] if not one["answers"]}
        if {"runner@seen:1", "runner@old:1"} <= silent:
            break
        await asyncio.sleep(0.05)
    page = (await browser.get("/operator/runners")).text
    assert "its work is taken up by others" in page
    api.services.instance._heard.clear()  # other tests want to hear of nobody


async def test_nobody_else_sees_any_of_it(api: Instance) -> None:
    someone = await api.account()
    problem(await someone.client.get("/api/v1/operator/runners"), 403)
    problem(await api.client().get("/api/v1/operator/runners"), 401)
    browser = await log_in(api, someone)
    assert (await browser.get("/operator/runners")).status_code == 403
