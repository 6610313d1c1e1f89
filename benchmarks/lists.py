"""How long lists take with many models and runs: `benchmarks/lists.py [--models N] [--runs N] [--json]`.

Starts the embedded servers in a folder of its own, fills the database file while its server is stopped,
and asks the api, in this process, for the pages and lists of the account that owns everything. Times are
of whole requests, from the first byte sent to the last received, over loopback.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from api_instance import _listening, platform_settings
from servers import S3Address, free_port, mongo_server, nats_server, s3_server
from vitrine_api.app import make_server
from vitrine_api.first_account import make_first_account
from vitrine_api.settings import ApiSettings
from vitrine_common.clock import utcnow
from vitrine_common.documents import Model, Run, RunRequest, User, Version
from vitrine_common.documents.base import Document, to_bson
from vitrine_common.service import make_platform
from vitrine_common.states import RunState, VersionState

SPEC = {"name": "m", "model": {"command": "python m.py"}, "inputs": [{"name": "text", "type": "text"}]}
DIGEST = "sha256:" + "0" * 64
_DAYS = 90
_REPEATS = 40
LISTS = {
    "overview": "/",
    "models": "/models",
    "models, by name": "/models?sort=name",
    "models, searched": "/models?q=77&sort=name",
    "runs": "/runs",
    "runs, failed": "/runs?state=failed",
    "runs of a version": "/runs?reference={owner}/model-00007@1",
    "model": "/models/{owner}/model-00007",
    "audit log": "/audit",
    "api: models": "/api/v1/models?sort=updated",
    "api: runs": "/api/v1/runs",
    "api: runs, failed": "/api/v1/runs?state=failed",
}


def documents(owner: User, models: int, runs: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield everything that the account owns; every fiftieth run failed."""
    now = utcnow()
    for index in range(models):
        at = now - timedelta(minutes=models - index)
        common = {"owner_id": owner.id, "owner": owner.name, "created_at": at, "updated_at": at}
        name, version_id = f"model-{index:05d}", f"version_{index:08d}"
        yield _stored(
            Model(id=f"model_{index:08d}", name=name, last_number=1, newest_id=version_id, **common)
        )
        found = Version(
            id=version_id,
            model_id=f"model_{index:08d}",
            model=name,
            number=1,
            digest=f"sha256:{index:064x}",
            spec=SPEC,
            file_count=1,
            total_bytes=100,
            state=VersionState.READY,
            environment_digest=DIGEST,
            **common,
        )
        yield _stored(found)
    step = timedelta(days=_DAYS) / max(1, runs)
    version = {"version_id": "", "version_digest": DIGEST, "owner_id": owner.id}
    request = to_bson(
        RunRequest(id="", environment_digest=DIGEST, inputs='{"text":"hello"}', expires_at=now, **version)
    )
    run_ = to_bson(Run(id="", state=RunState.SUCCEEDED, started_at=now, finished_at=now, **version))
    for index in range(runs):
        common = {
            "_id": f"run_{index:010d}",
            "created_at": to_bson(now - step * (runs - index)),
            "version_id": f"version_{index % models:08d}",
        }
        yield RunRequest.COLLECTION, request | common
        failed = {"state": RunState.FAILED.value} if index % 50 == 0 else {}
        yield Run.COLLECTION, run_ | common | failed


def _stored(document: Document) -> tuple[str, dict[str, Any]]:
    return document.COLLECTION, to_bson(document)


def fill(file: Path, found: Iterator[tuple[str, dict[str, Any]]]) -> None:
    """Write documents into the database's file; its server must be stopped."""
    with sqlite3.connect(file) as database:
        batches: dict[str, list[tuple[str, str]]] = {}
        for collection, raw in found:
            rows = batches.setdefault(collection, [])
            rows.append((raw["_id"], json.dumps({**raw, "outbox": {}, "outbox_count": 0})))
            if len(rows) == 20_000:
                _write(database, collection, rows)
        for collection, rows in batches.items():
            _write(database, collection, rows)


def _write(database: sqlite3.Connection, collection: str, rows: list[tuple[str, str]]) -> None:
    database.executemany(f'INSERT INTO "{collection}" (_id, data) VALUES (?, ?)', rows)
    rows.clear()


async def measured(client: httpx.AsyncClient, owner: str) -> dict[str, dict[str, float]]:
    """Return the times of each list in milliseconds."""
    found: dict[str, dict[str, float]] = {}
    for name, path in LISTS.items():
        times = []
        for turn in range(_REPEATS + 2):
            started = time.perf_counter()
            answer = await client.get(path.format(owner=owner))
            spent = (time.perf_counter() - started) * 1000
            answer.raise_for_status()
            if turn >= 2:  # the first ones load templates and count past days
                times.append(spent)
        times.sort()
        found[name] = {
            "p50_ms": round(times[len(times) // 2], 1),
            "p95_ms": round(times[int(len(times) * 0.95) - 1], 1),
        }
    return found


async def run(folder: Path, models: int, runs: int) -> dict[str, Any]:
    """Fill a new instance and measure it."""
    for name in ("nats", "mongo", "s3"):
        (folder / name).mkdir()
    nats, mongo = nats_server(folder / "nats"), mongo_server(folder / "mongo")
    store, (access, secret) = s3_server(folder / "s3")
    for server in (nats, mongo, store):
        server.start()
    address = S3Address(f"http://127.0.0.1:{store.port}", access, secret)
    settings = platform_settings(
        f"nats://127.0.0.1:{nats.port}", f"mongodb://127.0.0.1:{mongo.port}", address
    )
    api_settings = ApiSettings(port=free_port(), mail_dir=folder / "mails", login_rate=1000)
    try:
        serving, server, platform = await _serve(settings, api_settings)
        await platform.database.ensure_indexes([Run])  # as the runner would
        made = await make_first_account(platform.database, "owner@example.org", "owner")
        owner = await platform.database.collection(User).find_one({"name": made["name"]})
        assert owner is not None
        await _end(serving, server)
        mongo.stop()
        started = time.perf_counter()
        file = folder / "mongo" / "databases" / f"{settings.mongo.database}.db"
        fill(file, documents(owner, models, runs))
        seeded = time.perf_counter() - started
        mongo.start()
        settings.mongo.url = f"mongodb://127.0.0.1:{mongo.port}"
        serving, server, platform = await _serve(settings, api_settings)
        async with httpx.AsyncClient(base_url=api_settings.base_url, timeout=120) as client:
            secret_ = await server.config.app.state.services.sessions.open(owner)
            client.cookies.set("vitrine_session", secret_)
            lists = await measured(client, owner.name)
        await _end(serving, server)
    finally:
        for server_ in (nats, mongo, store):
            server_.stop()
    return {"models": models, "runs": runs, "seed_seconds": round(seeded, 1), "lists": lists}


async def _serve(settings: Any, api_settings: ApiSettings) -> tuple[Any, Any, Any]:
    platform = make_platform("api", settings)
    server = make_server(platform, api_settings)
    serving = asyncio.create_task(server.serve())
    await _listening(server, serving)
    return serving, server, platform


async def _end(serving: Any, server: Any) -> None:
    server.should_exit = True
    await serving


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=1_000_000)
    parser.add_argument("--json", action="store_true")
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(run(Path(folder), wanted.models, wanted.runs))
    if wanted.json:
        print(json.dumps(found))
        return
    print(f"{found['models']} models, {found['runs']} runs")
    for name, times in found["lists"].items():
        print(f"{name:<20} p50 {times['p50_ms']:>7.1f} ms   p95 {times['p95_ms']:>7.1f} ms")


if __name__ == "__main__":
    main()
