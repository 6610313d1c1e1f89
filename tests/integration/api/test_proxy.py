"""Behind a proxy: whom the api believes about addresses, and what it makes of hosts that it is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx
import pytest

from api_instance import Instance, api
from servers import free_port
from vitrine_api.app import make_server
from vitrine_api.settings import ApiSettings
from vitrine_common.service import make_platform

__all__ = ["api"]

PUBLIC = "https://vitrine.example.org"
LIMIT = 10
"""Of one address, whatever the account: ten times the setting."""
Start = Callable[[str], Awaitable[httpx.AsyncClient]]


@pytest.fixture
async def start(api: Instance, tmp_path: Path) -> AsyncIterator[Start]:
    """Starts an api over the same servers that believes some proxies."""

    @asynccontextmanager
    async def running(trusted: str) -> AsyncIterator[httpx.AsyncClient]:
        port = free_port()
        settings = ApiSettings(
            port=port, public_url=PUBLIC, trusted_proxies=trusted, login_rate=1, state_dir=tmp_path
        )
        server = make_server(make_platform("api", api.platform.settings), settings)
        serving = asyncio.create_task(server.serve())
        while not server.started:
            assert not serving.done()
            await asyncio.sleep(0.02)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            yield client
        server.should_exit = True
        await serving

    async with AsyncExitStack() as stack:

        async def started(trusted: str) -> httpx.AsyncClient:
            return await stack.enter_async_context(running(trusted))

        yield started


async def _tries(client: httpx.AsyncClient, forwarded: list[str]) -> list[int]:
    path, body = "/api/v1/password-resets", {"email": "nobody@example.org"}
    return [
        (await client.post(path, json=body, headers={"X-Forwarded-For": one})).status_code
        for one in forwarded
    ]


@pytest.mark.parametrize("trusted", ["", "192.0.2.7"])
async def test_an_address_that_a_stranger_claims_is_ignored(start: Start, trusted: str) -> None:
    client = await start(trusted)
    statuses = await _tries(client, [f"198.51.100.{number}" for number in range(LIMIT + 1)])
    assert statuses == [202] * LIMIT + [429]


async def test_an_address_that_a_trusted_proxy_names_counts_by_itself(start: Start) -> None:
    client = await start("10.0.0.0/8, 127.0.0.1")
    assert set(await _tries(client, [f"198.51.100.{number}" for number in range(LIMIT + 1)])) == {202}
    # What a client wrote into the header before the proxy did stands further left, and counts for nothing.
    spoofed = [f"203.0.113.{number}, 198.51.100.200" for number in range(LIMIT + 1)]
    assert await _tries(client, spoofed) == [202] * LIMIT + [429]


@pytest.mark.parametrize("trusted", ["", "127.0.0.1"])
async def test_hosts_and_schemes_that_a_request_claims_are_ignored(
    api: Instance, start: Start, trusted: str
) -> None:
    client = await start(trusted)
    claimed = {"Host": "evil.example", "X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "http"}
    sent_on = await client.get("/settings/", headers=claimed)
    assert sent_on.headers["location"] == f"{PUBLIC}/settings"
    someone = await api.account()
    page = await client.get("/login", headers=claimed)
    assert page.headers["strict-transport-security"]
    cookies = page.headers.get_list("set-cookie")
    token = page.text.split('name="csrf_token" value="')[1].split('"')[0]
    sent = "; ".join(cookie.split(";")[0] for cookie in cookies)
    form = {"email": someone.email, "password": someone.password, "csrf_token": token}
    entered = await client.post("/login", data=form, headers={**claimed, "Cookie": sent})
    assert entered.status_code == 303, entered.text
    cookies += entered.headers.get_list("set-cookie")
    assert len(cookies) >= 2
    assert all("; secure" in cookie.lower() for cookie in cookies)
