"""Accounts, tokens, invites, the first account."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys

import pytest

from api_instance import Instance, problem
from vitrine_api.first_account import make_first_account
from vitrine_api.rates import RateLimit
from vitrine_common.errors import Conflict, TooMany
from vitrine_common.settings import MongoSettings


async def test_a_wrong_password_and_an_unknown_address_are_answered_alike(api: Instance) -> None:
    someone = await api.account()
    wrong = await api.client().post("/api/v1/login", json={"email": someone.email, "password": "wrong"})
    unknown = await api.client().post("/api/v1/login", json={"email": "who@example.org", "password": "wrong"})
    assert problem(wrong, 401)["detail"] == problem(unknown, 401)["detail"]
    assert wrong.headers["www-authenticate"].startswith("Bearer")


async def test_an_invite_makes_one_account(api: Instance) -> None:
    invite = (await api.operator.client.post("/api/v1/invites", json={})).json()
    name = f"new-{secrets.token_hex(4)}"

    async def sign_up(name: str, password: str = "long enough") -> int:
        body = {"code": invite["code"], "email": f"{name}@example.org", "name": name, "password": password}
        return (await api.client().post("/api/v1/accounts", json=body)).status_code

    assert await sign_up(name, "short") == 422
    assert await sign_up("Not A Name") == 422
    assert await sign_up("operator") == 409
    assert await sign_up(name) == 201
    assert await sign_up(f"{name}2") == 410
    assert invite["url"].endswith(f"/signup?invite={invite['code']}")


async def test_an_invite_for_an_address_is_for_that_address(api: Instance) -> None:
    wish = {"email": "right@example.org"}
    invite = (await api.operator.client.post("/api/v1/invites", json=wish)).json()
    body = {"code": invite["code"], "email": "wrong@example.org", "name": "wrong", "password": "long enough"}
    answer = problem(await api.client().post("/api/v1/accounts", json=body), 422)
    assert answer["errors"][0]["field"] == "email"


async def test_a_revoked_token_opens_nothing(api: Instance) -> None:
    someone = await api.account()
    made = (await someone.client.post("/api/v1/tokens", json={"label": "ci", "expires": "2d"})).json()
    program = api.client(headers={"Authorization": f"Bearer {made['token']}"})
    assert (await program.get("/api/v1/whoami")).status_code == 200
    listed = (await someone.client.get("/api/v1/tokens")).json()["items"]
    assert {item["label"] for item in listed} == {"ci", "first login"}
    assert all(item["token"] is None for item in listed)
    assert (await someone.client.delete(f"/api/v1/tokens/{made['id']}")).status_code == 204
    assert "log in again" in problem(await program.get("/api/v1/whoami"), 401)["detail"]


async def test_the_first_account_is_made_once(api: Instance) -> None:
    with pytest.raises(Conflict, match="already"):
        await make_first_account(api.platform.database, "second@example.org", "second")


async def test_the_first_account_command_prints_what_logs_in(api: Instance) -> None:
    mongo = MongoSettings(url=api.platform.settings.mongo.url, database=f"first_{secrets.token_hex(4)}")
    command = [sys.executable, "-m", "vitrine_api.first_account", "--email", "Ada.L@example.org"]
    environment = {**os.environ, "VITRINE_MONGO_URL": mongo.url, "VITRINE_MONGO_DATABASE": mongo.database}

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    made = run()
    assert made.returncode == 0, made.stderr
    told = json.loads(made.stdout)
    assert (told["email"], told["name"]) == ("ada.l@example.org", "ada-l")
    assert told["token"].startswith("vt_")
    again = run()
    assert (again.returncode, again.stdout) == (1, "")
    assert "ada.l@example.org" in again.stderr


def test_a_rate_limit_refuses_refills_and_takes_nothing_when_it_refuses() -> None:
    now = 0.0
    limit = RateLimit("logins", 60, lambda: now)
    for _ in range(60):
        limit.take("address")
    with pytest.raises(TooMany, match="too many logins; try again in 1 s"):
        limit.take("address", "another")
    now = 30.0
    for _ in range(30):
        limit.take("address")
    for _ in range(60):
        limit.take("another")
    with pytest.raises(TooMany):
        limit.take("address")
