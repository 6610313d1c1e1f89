"""The service as a process: ready, answering, stopping while somebody still listens."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from api_instance import Instance
from servers import free_port


@pytest.fixture
async def process(api: Instance, tmp_path: Path) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """A second api over the same servers, and its address; ready."""
    platform, port = api.platform.settings, free_port()
    reader, writer = os.pipe()
    environment = {
        **os.environ,
        "VITRINE_NATS_URL": platform.nats.url,
        "VITRINE_MONGO_URL": platform.mongo.url,
        "VITRINE_MONGO_DATABASE": platform.mongo.database,
        "VITRINE_S3_ENDPOINT": platform.s3.endpoint,
        "VITRINE_S3_ACCESS_KEY": platform.s3.access_key,
        "VITRINE_S3_SECRET_KEY": platform.s3.secret_key.get_secret_value(),
        "VITRINE_S3_BUCKET": platform.s3.bucket,
        "VITRINE_API_PORT": str(port),
        "VITRINE_API_STATE_DIR": str(tmp_path / "state"),
        "VITRINE_READY_FD": str(writer),
    }
    with (tmp_path / "log").open("wb") as log:
        started = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "vitrine_api", env=environment, pass_fds=[writer], stderr=log
        )
    os.close(writer)
    line = await asyncio.to_thread(os.read, reader, 100)
    os.close(reader)
    assert line == b"ready\n", (tmp_path / "log").read_text()
    yield started, f"http://127.0.0.1:{port}"
    if started.returncode is None:
        started.kill()
        await started.wait()


async def test_it_answers_once_ready_and_stops_although_a_stream_is_open(
    api: Instance, process: tuple[asyncio.subprocess.Process, str]
) -> None:
    started, url = process
    someone = await api.account()
    version = await someone.push()
    headers = {"Authorization": f"Bearer {someone.token}"}
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=60) as client:
        assert (await client.get("/healthz")).json() == {"status": "ok"}
        text = ""
        async with client.stream("GET", version["events_url"]) as stream:
            async for chunk in stream.aiter_text():
                text += chunk
                if "event: state" in text:
                    started.send_signal(signal.SIGTERM)
        assert "event: end" not in text
    assert await asyncio.wait_for(started.wait(), 60) in {0, -signal.SIGTERM}
