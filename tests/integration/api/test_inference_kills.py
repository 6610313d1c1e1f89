"""Synchronous calls while processes are killed: answered or failed, and every answer is on record once."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import struct
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from inference_site import InferenceSite, inference_site, sum_request
from servers import free_port
from vitrine_common.digests import sha256_bytes
from vitrine_common.documents import AccountUse, Run, RunRequest

__all__ = ["inference_site"]


@asynccontextmanager
async def process(
    site: InferenceSite, log: Path, module: str, **environment: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A service as a process on the site's servers; killed in the end."""
    known = site.api.platform.settings
    reader, writer = os.pipe()
    whole = {
        **os.environ,
        "VITRINE_NATS_URL": known.nats.url,
        "VITRINE_MONGO_URL": known.mongo.url,
        "VITRINE_MONGO_DATABASE": known.mongo.database,
        "VITRINE_S3_ENDPOINT": known.s3.endpoint,
        "VITRINE_S3_ACCESS_KEY": known.s3.access_key,
        "VITRINE_S3_SECRET_KEY": known.s3.secret_key.get_secret_value(),
        "VITRINE_S3_BUCKET": known.s3.bucket,
        "VITRINE_ENVIRONMENTS_DIR": str(site.environments),
        "VITRINE_READY_FD": str(writer),
        **environment,
    }
    with log.open("ab") as output:
        started = await asyncio.create_subprocess_exec(
            sys.executable, "-m", module, env=whole, pass_fds=[writer], stdout=output, stderr=output
        )
    os.close(writer)
    line = await asyncio.to_thread(os.read, reader, 100)
    os.close(reader)
    assert line == b"ready\n", log.read_text()[-3000:]
    try:
        yield started
    finally:
        if started.returncode is None:
            started.kill()
        await started.wait()


def given(number: int) -> str:
    """The digest of what a call of that number was given."""
    return sha256_bytes(struct.pack("<f", float(number)))


async def test_no_answered_call_is_lost_or_doubled_when_the_api_is_killed(
    inference_site: InferenceSite, tmp_path: Path
) -> None:
    site = inference_site
    await site.start_runner()
    ann = await site.api.account()
    version = await site.version(ann, "sum")
    answered: list[int] = []
    state = {"VITRINE_API_STATE_DIR": str(tmp_path / "state")}

    async def caller(client: httpx.AsyncClient, numbers: Any) -> None:
        for number in numbers:
            body = sum_request([float(number)], [1.0])
            answer = await client.post(f"/v2/models/{ann.name}~sum/infer", json=body)
            if answer.status_code == 200:
                answered.append(number)

    numbers = iter(range(1, 1_000_000))
    for _ in range(3):
        port = free_port()
        environment = {**state, "VITRINE_API_PORT": str(port)}
        async with process(site, tmp_path / "log", "vitrine_api", **environment) as api:
            headers, before = {"Authorization": f"Bearer {ann.token}"}, len(answered)
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers) as client:
                callers = [asyncio.create_task(caller(client, numbers)) for _ in range(4)]
                while len(answered) < before + 60:
                    await asyncio.sleep(0.01)
                api.send_signal(signal.SIGKILL)
                await api.wait()
                await asyncio.gather(*callers, return_exceptions=True)
    async with process(site, tmp_path / "log", "vitrine_api", **state, VITRINE_API_PORT=str(free_port())):
        database = site.api.database_as("runner")
        async with asyncio.timeout(60):
            while list((tmp_path / "state" / "journal").iterdir())[1:]:
                await asyncio.sleep(0.1)
            requests: list[RunRequest] = []
            while True:
                requests = await database.collection(RunRequest).find(
                    {"version_id": version["id"]}, limit=10_000
                )
                runs = await database.collection(Run).find({"version_id": version["id"]}, limit=10_000)
                if len(runs) == len(requests):
                    break
                await asyncio.sleep(0.1)
    recorded = Counter(json.loads(request.inputs)["tensor:a"]["digest"] for request in requests)
    assert set(recorded.values()) == {1}
    assert {given(number) for number in answered} <= set(recorded)
    assert len(recorded) <= len(answered) + 3 * 4  # written down, and the kill came before the answer
    uses = await site.api.database_as("api").collection(AccountUse).find({"user_id": ann.id}, limit=10)
    assert sum(use.runs for use in uses) >= len(recorded)
    await site.stop_runners()


async def test_a_call_on_a_killed_runner_fails_and_is_told_so(
    inference_site: InferenceSite, tmp_path: Path
) -> None:
    site = inference_site
    await site.stop_runners()
    ann = await site.api.account()
    await site.version(ann, "sum")
    path, body = f"/v2/models/{ann.name}~sum/infer", sum_request([1.0], [1.0])
    environment = {"VITRINE_RUNNER_STATE_DIR": str(tmp_path / "runner")}
    async with process(site, tmp_path / "log", "vitrine_runner", **environment) as runner:
        assert (await ann.client.post(path, json=body)).status_code == 200
        runner.send_signal(signal.SIGSTOP)  # it takes the message, and nothing more is heard of it
        waiting = asyncio.create_task(ann.client.post(path, json=body))
        answer = await waiting
        with contextlib.suppress(ProcessLookupError):
            runner.send_signal(signal.SIGCONT)
            runner.send_signal(signal.SIGKILL)
    assert answer.status_code == 503, answer.text
    assert "went away" in answer.json()["error"]
    async with process(site, tmp_path / "log", "vitrine_runner", **environment):
        assert (await ann.client.post(path, json=body)).status_code == 200
