"""The api on real servers, for tests: one instance a test process, listening on a free port.

No builder, runner or trainer runs: tests write what those would have written, in their name.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from servers import S3Address, free_port, nats_server
from vitrine_api.app import Server, make_server
from vitrine_api.first_account import make_first_account
from vitrine_api.services import Services
from vitrine_api.settings import ApiSettings
from vitrine_common.clock import utcnow
from vitrine_common.digests import sha256_bytes
from vitrine_common.documents import Output, Run, RunRequest
from vitrine_common.ids import new_id
from vitrine_common.service import Platform, make_platform
from vitrine_common.settings import MongoSettings, NatsSettings, PlatformSettings, S3Settings
from vitrine_common.states import RunState
from vitrine_common.store import Database
from vitrine_runner.repository import Runs as RunnersRuns

SPEC: dict[str, Any] = {
    "name": "echo",
    "description": "Says it again",
    "model": {"command": "python echo.py", "input": {"type": "flag"}},
    "inputs": [
        {"name": "text", "type": "text", "default": "hello", "max_length": 100},
        {"name": "image", "type": "image", "required": False, "examples": ["a.png"]},
        {"name": "count", "type": "number", "required": False, "min": 1, "max": 9, "integer": True},
    ],
}
PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 32
FILES = {"echo.py": b"print('hello')\n", "a.png": PNG}


def manifest(spec: dict[str, Any] | None = None, files: dict[str, bytes] | None = None) -> dict[str, Any]:
    """A manifest of `files` whose bytes are made up."""
    listed = [
        {"path": path, "digest": sha256_bytes(data), "size": len(data), "executable": False}
        for path, data in (files if files is not None else FILES).items()
    ]
    return {"spec": spec if spec is not None else SPEC, "files": listed}


@dataclass
class Account:
    """Somebody with an account, and their client (already carrying the token)."""

    client: httpx.AsyncClient
    id: str
    email: str
    name: str
    token: str
    password: str

    async def upload(self, files: dict[str, bytes]) -> None:
        """Send files as the command line does: straight to storage, then complete."""
        wanted = [{"digest": sha256_bytes(data), "size": len(data)} for data in files.values()]
        by_digest = {sha256_bytes(data): data for data in files.values()}
        answer = await self.client.post("/api/v1/blobs/missing", json={"blobs": wanted})
        assert answer.status_code == 200, answer.text
        async with httpx.AsyncClient() as storage:
            for blob in answer.json()["missing"]:
                for part in blob["parts"]:
                    data = by_digest[blob["digest"]][part["offset"] : part["offset"] + part["size"]]
                    (await storage.put(part["url"], content=data)).raise_for_status()
                done = await self.client.post("/api/v1/blobs/complete", json={"upload_id": blob["upload_id"]})
                assert done.status_code == 200, done.text

    async def push(self, name: str | None = None, spec: dict[str, Any] | None = None) -> dict[str, Any]:
        """Push a version under a name of its own; it is building."""
        await self.upload(FILES)
        body = {"manifest": manifest(spec), "model": name or f"m-{secrets.token_hex(4)}"}
        answer = await self.client.post("/api/v1/versions", json=body)
        assert answer.status_code in {200, 201}, answer.text
        return dict(answer.json())

    async def share(self, reference: str, **wishes: Any) -> dict[str, Any]:
        """Make a link."""
        answer = await self.client.post("/api/v1/links", json={"ref": reference, **wishes})
        assert answer.status_code == 201, answer.text
        return dict(answer.json())


@dataclass
class Instance:
    """A running api."""

    services: Services
    platform: Platform
    url: str
    operator: Account
    clients: list[httpx.AsyncClient] = field(default_factory=list)
    databases: list[Database] = field(default_factory=list)

    def client(self, **options: Any) -> httpx.AsyncClient:
        """A client of nobody; closed with the instance, and until then without idle connections."""
        # There are more than a thousand clients in the end.
        limits = httpx.Limits(max_keepalive_connections=0)
        self.clients.append(httpx.AsyncClient(base_url=self.url, timeout=60, limits=limits, **options))
        return self.clients[-1]

    def database_as(self, service: str) -> Database:
        """The database as another service sees it."""
        self.databases.append(Database(self.platform.settings.mongo, service, self.platform.bus))
        return self.databases[-1]

    async def account(self) -> Account:
        """Somebody new, by an invite of the operator."""
        name, password = f"u-{secrets.token_hex(5)}", secrets.token_hex(8)
        invite = await self.operator.client.post("/api/v1/invites", json={})
        body = {
            "code": invite.json()["code"],
            "email": f"{name}@example.org",
            "name": name,
            "password": password,
        }
        answer = await self.client().post("/api/v1/accounts", json=body)
        assert answer.status_code == 201, answer.text
        made = answer.json()
        client = self.client(headers={"Authorization": f"Bearer {made['token']}"})
        return Account(client, made["id"], made["email"], name, made["token"], password)

    async def ready(self, account: Account, **push: Any) -> dict[str, Any]:
        """A version that can be run."""
        version = await account.push(**push)
        await self.services.versions.build_succeeded(version["build_id"], sha256_bytes(b"environment"))
        answer = await account.client.get(f"/api/v1/versions/{version['id']}")
        assert answer.json()["state"] == "ready"
        return dict(answer.json())

    async def accept(self, run_id: str) -> None:
        """Write down that a run waits, as a runner without a free place does."""
        database = self.database_as("runner")
        request = await database.collection(RunRequest).get(run_id)
        await RunnersRuns(database, "a runner", 30.0, 3).accept(request)

    async def finish(self, run_id: str, outputs: list[Output] | None = None, **fields: Any) -> Run:
        """Write what a runner would have written about a request."""
        request = await self.database_as("runner").collection(RunRequest).get(run_id)
        run = Run(
            id=run_id,
            created_at=request.created_at,
            version_id=request.version_id,
            version_digest=request.version_digest,
            owner_id=request.owner_id,
            link_id=request.link_id,
            visitor_id=request.visitor_id,
            blind=request.blind,
            state=RunState.SUCCEEDED,
            outputs=outputs or [],
            started_at=utcnow(),
            finished_at=utcnow(),
        ).model_copy(update=fields)
        runs = self.database_as("runner").collection(Run)
        await runs.delete({"_id": run_id})
        return await runs.insert(run)

    async def close(self) -> None:
        for client in self.clients:
            await client.aclose()
        for database in self.databases:
            database.close()


def problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    """The problem details of a refusal; asserts that it is one."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["status"] == status
    assert body["detail"]
    assert body["request_id"] == answer.headers["x-request-id"]
    return dict(body)


def events_of(text: str) -> list[tuple[str, Any]]:
    """The events of an event stream, data read as JSON."""
    found = []
    for block in text.split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line and line[0] != ":")
        if "event" in lines:
            found.append((lines["event"], json.loads(lines["data"])))
    return found


@pytest.fixture(scope="session")
async def api(
    tmp_path_factory: pytest.TempPathFactory, mongo_url: str, s3_address: S3Address
) -> AsyncIterator[Instance]:
    """The api of this test process."""
    bus = nats_server(tmp_path_factory.mktemp("api-nats"))
    bus.start()
    platform = make_platform("api", platform_settings(f"nats://127.0.0.1:{bus.port}", mongo_url, s3_address))
    settings = ApiSettings(
        port=free_port(),
        login_rate=10_000,
        run_rate=10_000,
        link_guess_rate=10_000,
        door_rate=10_000,
        mail_dir=tmp_path_factory.mktemp("api-mails"),
        recheck_seconds=0.5,
        state_dir=tmp_path_factory.mktemp("api-state"),
        deletion_grace_seconds=0,
        tombstone_file=tmp_path_factory.mktemp("api-tombstones") / "tombstones.jsonl",
        signing_key_file=tmp_path_factory.mktemp("api-keys") / "signing-key.pem",
    )
    server = make_server(platform, settings)
    serving = asyncio.create_task(server.serve())
    await _listening(server, serving)
    instance = await _instance(server, platform, settings)
    yield instance
    await instance.close()
    server.should_exit = True
    await serving
    bus.stop()


def platform_settings(nats_url: str, mongo_url: str, s3: S3Address) -> PlatformSettings:
    """Settings with a database and a bucket of their own."""
    own = secrets.token_hex(6)
    return PlatformSettings(
        nats=NatsSettings(url=nats_url),
        mongo=MongoSettings(url=mongo_url, database=f"api_{own}"),
        s3=S3Settings(
            endpoint=s3.endpoint,
            access_key=s3.access_key,
            secret_key=SecretStr(s3.secret_key),
            region=s3.region,
            bucket=f"api-{own}",
        ),
    )


async def _listening(server: Server, serving: asyncio.Task[None]) -> None:
    while not server.started:
        if serving.done():
            serving.result()
            raise AssertionError("the api ended while it started")
        await asyncio.sleep(0.02)


async def _instance(server: Server, platform: Platform, settings: ApiSettings) -> Instance:
    made = await make_first_account(platform.database, "operator@example.org", "operator")
    client = httpx.AsyncClient(
        base_url=settings.base_url, timeout=60, headers={"Authorization": f"Bearer {made['token']}"}
    )
    who = (await client.get("/api/v1/whoami")).json()
    operator = Account(client, who["id"], made["email"], made["name"], made["token"], made["password"])
    instance = Instance(server.config.app.state.services, platform, settings.base_url, operator)  # type: ignore[union-attr]
    instance.clients.append(client)
    return instance


def new_run_id() -> str:
    """An id that no run has."""
    return new_id("run")
