"""Logging in by a provider, against a provider that really answers, and against one that lies."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from joserfc import jwk, jwt
from pydantic import SecretStr, ValidationError

from api_instance import Account, Instance, api
from oidc_provider import CLIENT_ID, CLIENT_SECRET, Provider, providing
from page_visits import token_in
from servers import free_port
from vitrine_api.app import make_server
from vitrine_api.settings import ApiSettings
from vitrine_common.service import make_platform

__all__ = ["api"]

SESSION = "vitrine_session"


@dataclass
class Place:
    """An api that people log in to by the provider."""

    url: str
    provider: Provider
    stack: AsyncExitStack

    async def browser(self, **options: Any) -> httpx.AsyncClient:
        client = httpx.AsyncClient(base_url=self.url, timeout=60, follow_redirects=True, **options)
        return await self.stack.enter_async_context(client)

    async def logged_in(self, name: str, **claims: Any) -> tuple[httpx.AsyncClient, httpx.Response]:
        """Log somebody in; return their browser and what it shows."""
        self.provider.person(name, **claims)
        browser = await self.browser()
        return browser, await browser.get("/login/oidc", params={"next": "/settings"})


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    async with providing() as started:
        yield started


@asynccontextmanager
async def place_of(api: Instance, provider: Provider, **settings: Any) -> AsyncIterator[Place]:
    """Run an api over the same servers that knows the provider."""
    known: dict[str, Any] = {
        "oidc_issuer": provider.issuer,
        "oidc_client_id": CLIENT_ID,
        "oidc_client_secret": SecretStr(CLIENT_SECRET),
        "oidc_name": "the lab",
        "oidc_creates_accounts": True,
        "login_rate": 1000,
    }
    port = free_port()
    made = ApiSettings(port=port, mail_dir=api.services.settings.mail_dir, **{**known, **settings})
    server = make_server(make_platform("api", api.platform.settings), made)
    serving = asyncio.create_task(server.serve())
    while not server.started:
        assert not serving.done()
        await asyncio.sleep(0.02)
    async with AsyncExitStack() as stack:
        yield Place(made.base_url, provider, stack)
    server.should_exit = True
    await serving


@pytest.fixture(scope="module")
async def shared_place(api: Instance) -> AsyncIterator[Place]:
    async with providing() as provider, place_of(api, provider) as started:
        yield started


@pytest.fixture
async def place(shared_place: Place) -> AsyncIterator[Place]:
    """The module's api, with a provider that has forgotten what it was told to do."""
    yield shared_place
    fresh = Provider(port=shared_place.provider.port, key=shared_place.provider.key)
    vars(shared_place.provider).update(vars(fresh))


async def signed_in_by_password(place: Place, account: Account) -> httpx.AsyncClient:
    browser = await place.browser()
    fields = {"csrf_token": token_in((await browser.get("/login")).text)}
    answer = await browser.post(
        "/login", data={**fields, "email": account.email, "password": account.password}
    )
    assert SESSION in browser.cookies, answer.text
    return browser


async def test_somebody_new_gets_an_account_and_finds_it_again(place: Place) -> None:
    assert "Log in by the lab" in (await (await place.browser()).get("/login")).text
    name = f"new-{time.time_ns()}"
    browser, shown = await place.logged_in(name)
    assert (shown.status_code, shown.url.path) == (200, "/settings")
    assert name in shown.text
    assert "has no password" in shown.text
    assert "vitrine_oidc" not in browser.cookies, "a try is over when it is over"
    asked = place.provider.asked[-1]
    assert (asked["response_type"], asked["code_challenge_method"]) == ("code", "S256")
    assert asked["tenant"] == "lab", "what the endpoint's address has stays"
    # The provider's account counts, not its address: this one has married.
    _, again = await place.logged_in(name, email="other@lab.example", preferred_username="other")
    assert f"<span>{name}@lab.example</span>" in again.text


async def test_names_that_are_taken_or_cannot_be_are_made_anew(place: Place, api: Instance) -> None:
    someone = await api.account()
    for sub, wanted in (("a", someone.name), ("b", "admin"), ("c", "Ünï Cödé")):
        mark = f"{sub}{time.time_ns()}"
        _, shown = await place.logged_in(mark, preferred_username=wanted)
        assert shown.url.path == "/settings", shown.text
        assert f"{mark}@lab.example" in shown.text
    names = (await api.operator.client.get("/api/v1/operator/users")).json()["items"]
    assert {f"{someone.name}-2", "admin-2"} <= {one["name"] for one in names}


async def test_an_address_alone_takes_nobodys_account_over(place: Place, api: Instance) -> None:
    account = await api.account()
    _, refused = await place.logged_in("thief", sub=f"thief {account.name}", email=account.email)
    assert refused.status_code == 409
    assert "has an account here already" in refused.text
    browser = await signed_in_by_password(place, account)
    page = await browser.get("/settings")
    place.provider.person("owner", sub=f"owner {account.name}", email=account.email)
    fields = {"csrf_token": token_in(page.text)}
    go_on = await browser.post("/settings/identities", data=fields)
    assert go_on.url.path == "/settings/identities/go"
    (way,) = set(re.findall(r'<a class="button primary" href="([^"]+)"', go_on.text))
    connected = await browser.get(way.replace("&amp;", "&"))
    assert connected.url.path == "/settings"
    assert place.provider.issuer in connected.text
    other = await place.browser()
    shown = await other.get("/login/oidc?next=/settings")
    assert f"<span>{account.name}</span>" in shown.text
    (identity,) = re.findall(r"/settings/identities/([0-9a-f]{64})/remove", shown.text)
    await other.post(f"/settings/identities/{identity}/remove", data={"csrf_token": token_in(shown.text)})
    assert (await (await place.browser()).get("/login/oidc")).status_code == 409


async def test_what_is_connected_to_one_account_is_not_connected_to_another(
    place: Place, api: Instance
) -> None:
    name = f"first-{time.time_ns()}"
    await place.logged_in(name)
    browser = await signed_in_by_password(place, await api.account())
    fields = {"csrf_token": token_in((await browser.get("/settings")).text)}
    go_on = await browser.post("/settings/identities", data=fields)
    (way,) = set(re.findall(r'<a class="button primary" href="([^"]+)"', go_on.text))
    refused = await browser.get(way.replace("&amp;", "&"))
    assert refused.status_code == 409
    assert "connected to another account" in refused.text


async def test_an_answer_belongs_to_the_browser_that_asked(place: Place) -> None:
    place.provider.person(f"victim-{time.time_ns()}")
    mine, theirs = await place.browser(), await place.browser()
    begun = await mine.get("/login/oidc", follow_redirects=False)
    back = (await mine.get(begun.headers["location"], follow_redirects=False)).headers["location"]
    # Somebody else is made to open it, with no try of their own or another one.
    assert (await theirs.get(back)).status_code == 403
    await theirs.get("/login/oidc", follow_redirects=False)
    assert (await theirs.get(back)).status_code == 403
    assert SESSION not in theirs.cookies
    assert (await mine.get(back)).status_code == 200
    assert SESSION in mine.cookies
    # Used once, by the cookie and by the code.
    mine.cookies.delete(SESSION)
    assert (await mine.get(back)).status_code == 403


async def test_a_code_that_was_read_on_the_way_is_worth_nothing_elsewhere(place: Place) -> None:
    place.provider.person(f"victim-{time.time_ns()}")
    mine, thief = await place.browser(), await place.browser()
    begun = await mine.get("/login/oidc", follow_redirects=False)
    back = (await mine.get(begun.headers["location"], follow_redirects=False)).headers["location"]
    code = parse_qs(urlsplit(back).query)["code"][0]
    own = (await thief.get("/login/oidc", follow_redirects=False)).headers["location"]
    state = parse_qs(urlsplit(own).query)["state"][0]
    refused = await thief.get("/login/oidc/callback", params={"code": code, "state": state})
    assert refused.status_code == 403
    assert SESSION not in thief.cookies


def unsigned(token: str) -> str:
    _, claims, _ = token.split(".")
    return f"eyJhbGciOiJub25lIn0.{claims}."


def signed_by_secret(token: str) -> str:
    body = token.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    return jwt.encode({"alg": "HS256"}, claims, jwk.OctKey.import_key(CLIENT_SECRET), ["HS256"])


def spoiled(token: str) -> str:
    return token[:-8] + "AAAAAAAA"


def no_token(_: str) -> str:
    return "no token"


LIES: dict[str, dict[str, Any]] = {
    "for somebody else": {"aud": "another client"},
    "for us and others": {"aud": [CLIENT_ID, "another client"]},
    "authorized for another": {"azp": "another client"},
    "by another issuer": {"iss": "https://elsewhere.example"},
    "expired": {"exp": int(time.time()) - 3600},
    "of the future": {"nbf": int(time.time()) + 3600},
    "for another try": {"nonce": "of another try"},
    "about nobody": {"sub": None},
}


@pytest.mark.parametrize("lie", LIES)
async def test_an_id_token_that_lies_opens_nothing(place: Place, lie: str) -> None:
    browser, refused = await place.logged_in("liar", **LIES[lie])
    assert refused.status_code == 403, refused.text
    assert SESSION not in browser.cookies


@pytest.mark.parametrize("how", [unsigned, signed_by_secret, spoiled, no_token])
async def test_an_id_token_that_nobody_signed_opens_nothing(place: Place, how: Any) -> None:
    place.provider.spoil = how
    browser, refused = await place.logged_in("forger")
    assert refused.status_code == 403, refused.text
    assert SESSION not in browser.cookies


async def test_keys_are_changed_while_it_runs(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    first = place.provider.key
    await place.logged_in(f"early-{time.time_ns()}")
    place.provider.key = jwk.ECKey.generate_key("P-256", {"kid": first.kid})
    _, refused = await place.logged_in("late")
    assert refused.status_code == 403, "a known name, but another key"
    place.provider.key = jwk.ECKey.generate_key("P-256", {"kid": "second"})
    looks = place.provider.key_looks
    _, refused = await place.logged_in("late")
    assert (refused.status_code, place.provider.key_looks) == (403, looks), "nobody has it ask all the time"
    monkeypatch.setattr("vitrine_api.oidc.provider._ASKED_AGAIN_SECONDS", 0)
    _, shown = await place.logged_in(f"late-{time.time_ns()}")
    assert (shown.status_code, place.provider.key_looks) == (200, looks + 1)
    _, shown = await place.logged_in(f"later-{time.time_ns()}")
    assert (shown.status_code, place.provider.key_looks) == (200, looks + 1), "known ones are kept"


async def test_the_address_may_stand_in_the_user_info(place: Place) -> None:
    name = f"quiet-{time.time_ns()}"
    place.provider.userinfo = {"sub": f"id-of-{name}", "email": f"{name}@LAB.example", "email_verified": True}
    _, shown = await place.logged_in(name, email=None)
    assert f"{name}@lab.example" in shown.text
    place.provider.userinfo["sub"] = "somebody else"
    _, refused = await place.logged_in(name, email=None)
    assert refused.status_code == 403


@pytest.mark.parametrize("claims", [{"email_verified": False}, {"email": None}, {"email": "no address"}])
async def test_an_account_needs_an_address_that_the_provider_vouches_for(
    place: Place, claims: dict[str, Any]
) -> None:
    _, refused = await place.logged_in(f"unsure-{time.time_ns()}", **claims)
    assert refused.status_code == 403
    assert "Settings" not in refused.text


async def test_only_those_of_the_domains_and_only_those_who_have_an_account(
    api: Instance, provider: Provider
) -> None:
    async with place_of(
        api, provider, oidc_domains="lab.example, @uni.example", oidc_creates_accounts=False
    ) as place:
        _, outside = await place.logged_in("eve", email="eve@evil.example")
        assert outside.status_code == 403
        _, looks_alike = await place.logged_in("eve", email="eve@notlab.example")
        assert looks_alike.status_code == 403
        _, unknown = await place.logged_in(f"ada-{time.time_ns()}")
        assert unknown.status_code == 403
        assert "has no account here" in unknown.text


async def test_what_the_provider_says_of_itself_must_fit(api: Instance, provider: Provider) -> None:
    for described in (
        {"issuer": "https://elsewhere.example"},
        {"token_endpoint": "http://elsewhere.example/token"},
        {"jwks_uri": None},
    ):
        provider.described = described
        async with place_of(api, provider) as place:
            _, refused = await place.logged_in("nobody")
            assert refused.status_code == 503, described
            assert "tell whoever operates this instance" in refused.text
    provider.described = {"authorization_response_iss_parameter_supported": True}
    async with place_of(api, provider) as place:
        _, refused = await place.logged_in("nobody")
        assert refused.status_code == 403, "it said that it says who answers, and does not (RFC 9207)"


async def test_a_provider_that_is_away_and_one_that_refuses(place: Place, api: Instance) -> None:
    browser = await place.browser()
    begun = await browser.get("/login/oidc", follow_redirects=False)
    state = parse_qs(urlsplit(begun.headers["location"]).query)["state"][0]
    refused = await browser.get(
        "/login/oidc/callback", params={"state": state, "error": "access_denied<script>"}
    )
    assert refused.status_code == 403
    assert "access_denied&lt;script&gt;" in refused.text
    gone = Provider()
    async with place_of(api, gone) as other:
        away = await (await other.browser()).get("/login/oidc")
        assert away.status_code == 503
        assert "does not answer" in away.text


async def test_without_a_password_none_opens_the_account(place: Place, api: Instance) -> None:
    name = f"free-{time.time_ns()}"
    browser, _ = await place.logged_in(name)
    for password in ("", "the password of nobody"):
        answer = await api.client().post(
            "/api/v1/login", json={"email": f"{name}@lab.example", "password": password}
        )
        assert answer.status_code == 401
    page = (await browser.get("/settings")).text
    (identity,) = await api.services.repository.accounts.identities.find({"subject": f"id-of-{name}"})
    fields = {"csrf_token": token_in(page)}
    kept = await browser.post(f"/settings/identities/{identity.id}/remove", data=fields)
    assert kept.status_code == 409, "it would shut its owner out"
    asked = await browser.get("/deletions/new?kind=account")
    assert 'name="password"' not in asked.text
    wish = {**fields, "kind": "account", "reference": name, "confirm": name}
    assert (await browser.post("/deletions", data=wish)).url.path == "/login"
    identities = api.services.repository.accounts.identities
    async with asyncio.timeout(60):
        while await identities.find_one({"_id": identity.id}) is not None:
            await api.services.erasing.carry_out()


async def test_nothing_is_there_without_a_provider(api: Instance) -> None:
    browser = api.client()
    for path in ("/login/oidc", "/login/oidc/callback?state=a&code=b"):
        assert (await browser.get(path)).status_code == 404
    assert "/login/oidc" not in (await browser.get("/login")).text


@pytest.mark.parametrize("settings", [{"oidc_issuer": "http://far.example"}, {"oidc_client_id": ""}])
def test_settings_that_cannot_be_are_refused(settings: dict[str, Any]) -> None:
    known: dict[str, Any] = {"oidc_issuer": "https://login.example", "oidc_client_id": "x"}
    ApiSettings(**known)
    with pytest.raises(ValidationError, match="VITRINE_API_OIDC"):
        ApiSettings(**{**known, **settings})
