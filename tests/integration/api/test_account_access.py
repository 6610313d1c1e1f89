"""Sign-up, invites, collaborators, roles, password resets, sessions and login limits on the real api."""

from __future__ import annotations

import asyncio
import re
import secrets
from typing import Any

import pytest

from api_instance import Account, Instance, manifest, problem
from vitrine_api.accounts import Registry
from vitrine_api.credentials import form_token, hash_secret
from vitrine_api.dependencies import SESSION_COOKIE
from vitrine_api.login_limits import LoginLimits
from vitrine_api.pages import GUEST_COOKIE
from vitrine_api.passwords import Passwords
from vitrine_common.clock import after
from vitrine_common.errors import Denied, TooMany


async def mail_to(api: Instance, address: str) -> str:
    """The newest mail to an address; its text is kept until it is sent, then in the folder."""
    for _ in range(200):
        for stored in api.services.mailer.newest(200):  # type: ignore[union-attr]
            if f"To: {address}" in stored.text:
                return stored.text
        await asyncio.sleep(0.05)
    raise AssertionError(f"no mail to {address}")


async def session_of(api: Instance, account: Account) -> Any:
    user = await api.services.repository.accounts.user(account.id)
    assert user is not None
    secret = await api.services.sessions.open(user, "Firefox on Linux")
    return api.client(cookies={SESSION_COOKIE: secret})


async def test_a_forgotten_password_is_set_by_mail_once_and_ends_every_session(api: Instance) -> None:
    someone = await api.account()
    browser = await session_of(api, someone)
    assert (await browser.get("/settings")).status_code == 200
    known, unknown = [
        await api.client().post("/api/v1/password-resets", json={"email": email})
        for email in (someone.email, "nobody-there@example.org")
    ]
    assert (known.status_code, known.text) == (unknown.status_code, unknown.text) == (202, "null")
    ticket = re.search(r"/reset/([\w-]+)", await mail_to(api, someone.email))
    assert ticket
    stored = await api.services.repository.accounts.tickets.find({"user_id": someone.id})
    assert [item.id for item in stored] == [hash_secret(ticket[1])]
    guest = api.client(cookies={GUEST_COOKIE: "guest"})
    fields = {"csrf_token": form_token("guest"), "password": "a new long password"}
    assert (await guest.get(f"/reset/{ticket[1]}")).status_code == 200
    assert (await guest.post(f"/reset/{ticket[1]}", data={**fields, "password": "short"})).status_code == 422
    assert (await guest.post(f"/reset/{ticket[1]}", data=fields)).headers["location"] == "/login"
    assert (await guest.post(f"/reset/{ticket[1]}", data=fields)).status_code == 410
    assert (await browser.get("/settings")).headers["location"].startswith("/login")
    old, new = [
        await api.client().post("/api/v1/login", json={"email": someone.email, "password": password})
        for password in (someone.password, "a new long password")
    ]
    assert (old.status_code, new.status_code) == (401, 200)


async def test_of_two_that_use_a_ticket_at_once_one_sets_the_password(api: Instance) -> None:
    someone = await api.account()
    await api.services.credentials.forgot(someone.email)
    ticket = re.search(r"/reset/([\w-]+)", await mail_to(api, someone.email))
    assert ticket
    path = f"/api/v1/password-resets/{ticket[1]}"
    answers = await asyncio.gather(
        *(api.client().post(path, json={"password": f"long enough {n}"}) for n in range(4))
    )
    assert sorted(answer.status_code for answer in answers) == [204, 410, 410, 410]


async def test_an_old_ticket_sets_nothing(api: Instance) -> None:
    someone = await api.account()
    await api.services.credentials.forgot(someone.email)
    ticket = re.search(r"/reset/([\w-]+)", await mail_to(api, someone.email))
    assert ticket
    tickets = api.services.repository.accounts.tickets
    await tickets.update({"_id": hash_secret(ticket[1])}, {"expires_at": after(-1)})
    answer = await api.client().post(f"/api/v1/password-resets/{ticket[1]}", json={"password": "x" * 20})
    problem(answer, 410)


async def test_changing_the_password_takes_the_present_one_and_ends_other_sessions(api: Instance) -> None:
    someone = await api.account()
    here, there = await session_of(api, someone), await session_of(api, someone)
    token = form_token(here.cookies[SESSION_COOKIE])
    form = {"csrf_token": token, "current": "wrong", "password": "another long one"}
    assert (await here.post("/settings/password", data=form)).status_code == 422
    form["current"] = someone.password
    assert (await here.post("/settings/password", data=form)).status_code == 200
    assert (await here.get("/settings")).status_code == 200
    assert (await there.get("/settings")).status_code == 303


async def test_an_address_is_changed_when_its_mail_was_opened(api: Instance) -> None:
    someone = await api.account()
    new = f"{secrets.token_hex(5)}@example.org"
    wish = {"email": new, "password": someone.password}
    assert (await someone.client.post("/api/v1/account/email", json=wish)).status_code == 202
    assert (await someone.client.get("/api/v1/whoami")).json()["email"] == someone.email
    ticket = re.search(r"/settings/email/([\w-]+)", await mail_to(api, new))
    assert ticket
    guest = api.client(cookies={GUEST_COOKIE: "guest"})
    # What looks at links in mails confirms nothing.
    assert (await guest.get(f"/settings/email/{ticket[1]}")).status_code == 200
    assert (await someone.client.get("/api/v1/whoami")).json()["email"] == someone.email
    form = {"csrf_token": form_token("guest")}
    assert (await guest.post(f"/settings/email/{ticket[1]}", data=form)).status_code == 303
    assert (await someone.client.get("/api/v1/whoami")).json()["email"] == new
    assert "was changed" in await mail_to(api, someone.email)


async def test_sessions_are_listed_and_ended_without_their_secrets(api: Instance) -> None:
    someone, other = await api.account(), await api.account()
    browser = await session_of(api, someone)
    listed = (await someone.client.get("/api/v1/account/sessions")).json()["items"]
    assert [item["label"] for item in listed] == ["Firefox on Linux"]
    assert hash_secret(browser.cookies[SESSION_COOKIE])[:12] not in str(listed)
    path = f"/api/v1/account/sessions/{listed[0]['id']}"
    assert (await other.client.delete(path)).status_code == 404
    assert (await someone.client.delete(path)).status_code == 204
    assert (await browser.get("/settings")).status_code == 303


async def test_a_collaborator_pushes_and_runs_and_does_nothing_else(api: Instance) -> None:
    owner, helper = await api.account(), await api.account()
    version = await api.ready(owner, name="joint")
    models = f"/api/v1/models/{owner.name}/joint"
    made = (await owner.client.post(f"{models}/collaborators", json={"email": helper.email})).json()
    assert made["model"] == f"{owner.name}/joint"
    assert (await helper.client.get(models)).status_code == 404
    stranger = await api.account()
    wish = {"code": made["code"]}
    assert (await stranger.client.post("/api/v1/invites/accept", json=wish)).status_code == 422
    assert (await helper.client.post("/api/v1/invites/accept", json=wish)).status_code == 200
    assert (await helper.client.post("/api/v1/invites/accept", json=wish)).status_code == 410
    assert (await helper.client.get(models)).status_code == 200
    for who, offered in ((owner, True), (helper, False)):
        page = await (await session_of(api, who)).get(f"/models/{owner.name}/joint")
        assert (f"/models/{owner.name}/joint/collaborators" in page.text) is offered
        assert ("/deletions/new?kind=model" in page.text) is offered
    run = await owner.client.post(f"/api/v1/versions/{owner.name}/joint/1/runs", json={"inputs": {}})
    assert (await helper.client.get(f"/api/v1/runs/{run.json()['id']}")).status_code == 404
    own = await helper.client.post(f"/api/v1/versions/{owner.name}/joint/1/runs", json={"inputs": {}})
    assert own.status_code == 202
    assert (await helper.client.get(f"/api/v1/runs/{own.json()['id']}")).status_code == 200
    await helper.upload({"echo.py": b"print('hello')\n", "a.png": b"\x89PNG\r\n\x1a\n" + b"\0" * 32})
    body = {
        "manifest": manifest({**manifest()["spec"], "description": "By another"}),
        "model": f"{owner.name}/joint",
    }
    pushed = await helper.client.post("/api/v1/versions", json=body)
    assert (pushed.status_code, pushed.json()["reference"]) == (201, f"{owner.name}/joint@2")
    share = await helper.client.post("/api/v1/links", json={"ref": version["reference"]})
    ask = await helper.client.post(f"{models}/collaborators", json={})
    assert (share.status_code, ask.status_code) == (403, 403)
    assert (await stranger.client.post("/api/v1/versions", json=body)).status_code in {404, 422}
    told = (await owner.client.get("/api/v1/notifications")).text
    assert f"{helper.name} now works on" in told
    assert (await owner.client.delete(f"{models}/collaborators/{helper.name}")).status_code == 204
    assert (await helper.client.get(models)).status_code == 404
    assert (await helper.client.post("/api/v1/versions", json=body)).status_code == 404


async def test_an_invite_is_mailed_makes_an_account_with_roles_and_can_be_withdrawn(api: Instance) -> None:
    email = f"{secrets.token_hex(5)}@example.org"
    wish = {"email": email, "send": True, "roles": ["chair"]}
    made = (await api.operator.client.post("/api/v1/invites", json=wish)).json()
    assert made["url"] in await mail_to(api, email)
    name = f"u-{secrets.token_hex(4)}"
    body = {"code": made["code"], "email": email, "name": name, "password": "long enough it is"}
    token = (await api.client().post("/api/v1/accounts", json=body)).json()["token"]
    who = await api.client(headers={"Authorization": f"Bearer {token}"}).get("/api/v1/whoami")
    assert who.json()["roles"] == ["chair"]
    second = (await api.operator.client.post("/api/v1/invites", json={})).json()
    assert (await api.operator.client.delete(f"/api/v1/invites/{second['id']}")).status_code == 204
    body |= {"code": second["code"], "email": f"x{email}", "name": f"{name}x"}
    problem(await api.client().post("/api/v1/accounts", json=body), 410)


async def test_roles_are_given_and_taken_by_operators_and_noted(api: Instance) -> None:
    someone = await api.account()
    path = f"/api/v1/users/{someone.name}/roles"
    assert (await someone.client.put(path, json={"roles": ["chair"]})).status_code == 403
    given = await api.operator.client.put(path, json={"roles": ["chair", "validator"]})
    assert given.json()["roles"] == ["chair", "validator"]
    await api.operator.client.put(path, json={"roles": ["validator"]})
    entries = await api.services.repository.accounts.audit.find({"owner_id": someone.id})
    actions = {entry.action: entry.actor for entry in entries}
    assert actions["role.granted:chair"] == actions["role.revoked:chair"] == api.operator.id
    own = await api.operator.client.put(
        f"/api/v1/users/{api.operator.name}/roles", json={"roles": [], "operator": False}
    )
    assert own.status_code == 409


async def test_sign_up_is_open_to_all_or_closed_even_to_invites(api: Instance) -> None:
    accounts, helpers = api.services.repository.accounts, api.services.collaborators
    invite = (await api.operator.client.post("/api/v1/invites", json={})).json()
    closed = Registry(accounts, Passwords(), helpers, signup="closed")
    name = f"u-{secrets.token_hex(4)}"
    with pytest.raises(Denied, match="nobody can make an account"):
        await closed.sign_up(invite["code"], f"{name}@example.org", name, "long enough it is")
    opened = Registry(accounts, Passwords(), helpers, signup="open")
    user = await opened.sign_up("", f"{name}@example.org", name, "long enough it is")
    assert user.name == name


async def test_nobody_holds_the_login_of_a_known_browser_shut(api: Instance) -> None:
    someone = await api.account()
    user = await api.services.repository.accounts.user(someone.id)
    assert user is not None
    limits = LoginLimits(api.services.repository.accounts, 5)
    device = await limits.remember(user, None)
    with pytest.raises(TooMany):
        for number in range(1000):
            await limits.take(f"192.0.2.{number}", someone.email, None)
    with pytest.raises(TooMany):
        await limits.take("198.51.100.1", someone.name, "a made-up device")
    for _ in range(5):
        await limits.take("198.51.100.1", someone.email, device)
    with pytest.raises(TooMany):
        await limits.take("198.51.100.1", someone.email, device)


async def test_one_address_uses_up_its_own_tries_and_not_the_accounts(api: Instance) -> None:
    someone = await api.account()
    limits = LoginLimits(api.services.repository.accounts, 5)
    with pytest.raises(TooMany):
        for _ in range(6):
            await limits.take("192.0.2.1", someone.email, None)
    await limits.take("192.0.2.2", someone.email, None)
