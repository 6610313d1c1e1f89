"""Restricted links: passcodes, one-time codes, passes; guesses are counted, limited and locked out."""

from __future__ import annotations

import asyncio
import hmac
import re
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest

from api_instance import Account, Instance, problem
from mail_desk import mail_to
from vitrine_api.errors import RateLimited
from vitrine_api.link_attempts import PER_ADDRESS, PER_LINK, PER_MAILBOX, Allowance, Attempts
from vitrine_api.link_doors import CODE_ATTEMPTS, new_passcode
from vitrine_api.links import TOKEN_BITS
from vitrine_api.rates import RateLimit
from vitrine_api.services import wire
from vitrine_common.clock import utcnow
from vitrine_common.service import make_platform


@pytest.fixture(scope="module")
async def someone(api: Instance) -> Account:
    return await api.account()


@pytest.fixture(scope="module")
async def reference(api: Instance, someone: Account) -> str:
    return str((await api.ready(someone))["reference"])


async def unlock(api: Instance, link: dict[str, Any], **answer: str) -> httpx.Response:
    return await api.client().post(f"/api/v1/links/{link['token']}/unlock", json=answer)


async def code_for(api: Instance, link: dict[str, Any], email: str, known: int = 0) -> str:
    answer = await api.client().post(f"/api/v1/links/{link['token']}/codes", json={"email": email})
    assert answer.status_code == 202
    text = await asyncio.wait_for(mail_to(api.services.settings.mail_dir, email, known), 30)
    found = re.search(r"(\d{4}) (\d{4})", text)
    assert found, text
    return found[1] + found[2]


async def test_a_passcode_opens_and_nothing_else_does(
    api: Instance, someone: Account, reference: str
) -> None:
    link = await someone.share(reference, access="restricted", passcode=True)
    assert re.fullmatch(r"[2-9a-z]{4}(-[2-9a-z]{4}){2}", link["passcode"])
    path = f"/api/v1/links/{link['token']}"
    for method, place in (("GET", path), ("GET", f"{path}/runs"), ("POST", f"{path}/runs")):
        locked = problem(await api.client().request(method, place, json={}), 401)
        assert (locked["ways"], locked["title"]) == (["passcode"], "This link is locked")
    assert reference not in (await api.client().get(path)).text
    wrong = problem(await unlock(api, link, passcode=link["passcode"].upper()), 403)
    assert wrong["errors"][0]["field"] == "passcode"
    opened = (await unlock(api, link, passcode=link["passcode"])).json()
    inside = api.client(headers={"X-Vitrine-Pass": opened["secret"]})
    assert (await inside.get(path)).status_code == 200
    assert (await inside.post(f"{path}/runs", json={})).status_code == 202
    stored = (await api.services.repository.links.links.get(link["id"])).model_dump_json()
    assert link["passcode"] not in stored
    assert "$argon2id$" in stored
    other = await someone.share(reference, passcode="another one")
    assert (other["access"], other["passcode"]) == ("restricted", "another one")
    problem(await inside.get(f"/api/v1/links/{other['token']}"), 401)
    await api.services.repository.links.passes.update(
        {"link_id": link["id"]}, {"expires_at": utcnow() - timedelta(seconds=1)}
    )
    problem(await inside.get(path), 401)


async def test_a_code_is_mailed_to_those_on_the_list_alone(
    api: Instance, someone: Account, reference: str
) -> None:
    link = await someone.share(reference, emails=["Eva@Example.org", "tom@example.org"])
    assert link["emails"] == ["eva@example.org", "tom@example.org"]
    path = f"/api/v1/links/{link['token']}"
    stranger = await api.client().post(f"{path}/codes", json={"email": "stranger@example.org"})
    code = await code_for(api, link, "eva@example.org")
    listed = await api.client().post(f"{path}/codes", json={"email": "eva@example.org"})
    assert (stranger.status_code, stranger.json()) == (listed.status_code, listed.json())
    wrong = [
        await unlock(api, link, email="stranger@example.org", code="12345678"),
        await unlock(api, link, email="eva@example.org", code=f"{(int(code) + 1) % 10**8:08d}"),
        await unlock(api, link, email="tom@example.org", code=code),
    ]
    assert {(answer.status_code, answer.json()["detail"]) for answer in wrong} == {
        (403, wrong[0].json()["detail"])
    }
    opened = await unlock(api, link, email="eva@example.org", code=f"{code[:4]} {code[4:]}")
    inside = api.client(headers={"X-Vitrine-Pass": opened.json()["secret"]})
    assert (await inside.get(path)).status_code == 200
    problem(await unlock(api, link, email="eva@example.org", code=code), 403)
    folder = api.services.settings.mail_dir
    assert not [mail for mail in folder.iterdir() if b"stranger@example.org" in mail.read_bytes()]


async def test_nobodys_mailbox_is_filled_and_the_limit_tells_nothing(
    api: Instance, someone: Account, reference: str
) -> None:
    link = await someone.share(reference, emails=["listed@example.org"])
    path = f"/api/v1/links/{link['token']}/codes"
    answers = {}
    for email in ("listed@example.org", "stranger@example.org"):
        asked = [await api.client().post(path, json={"email": email}) for _ in range(PER_MAILBOX.free + 2)]
        answers[email] = [answer.status_code for answer in asked]
    assert answers["listed@example.org"] == [202] * (PER_MAILBOX.free + 1) + [429]
    assert answers["stranger@example.org"] == answers["listed@example.org"]
    await asyncio.wait_for(mail_to(api.services.settings.mail_dir, "listed@example.org"), 30)
    mails = [mail.read_bytes() for mail in api.services.settings.mail_dir.iterdir()]
    assert sum(b"To: listed@example.org" in mail for mail in mails) == 1, "a code that is fresh stays"


async def test_a_code_ends_after_its_attempts_and_its_time(
    api: Instance, someone: Account, reference: str
) -> None:
    codes = api.services.repository.links.codes
    link = await someone.share(reference, emails=["max@example.org"])
    code = await code_for(api, link, "max@example.org")
    (stored,) = await codes.find({"attempts_left": CODE_ATTEMPTS}, (("sent_at", -1),), 1)
    assert code not in stored.model_dump_json()
    ended = {"expires_at": utcnow() - timedelta(seconds=1)}
    await codes.update({"_id": stored.id}, ended)
    problem(await unlock(api, link, email="max@example.org", code=code), 403)
    await codes.update(
        {"_id": stored.id}, {"expires_at": utcnow() + timedelta(minutes=1), "attempts_left": 0}
    )
    problem(await unlock(api, link, email="max@example.org", code=code), 403)
    await codes.update({"_id": stored.id}, {"attempts_left": 1})
    right = await asyncio.gather(*(unlock(api, link, email="max@example.org", code=code) for _ in range(4)))
    assert [answer.status_code for answer in right].count(200) == 1


async def test_brute_force_is_locked_out_however_many_guess_at_once(
    api: Instance, someone: Account, reference: str
) -> None:
    link = await someone.share(reference, passcode="correct horse")
    guesses = await asyncio.gather(*(unlock(api, link, passcode=f"guess {n}") for n in range(30)))
    looked_at = [answer for answer in guesses if answer.status_code == 403]
    refused = [answer for answer in guesses if answer.status_code == 429]
    assert len(looked_at) == PER_ADDRESS.free + 1, "each is counted before it is looked at"
    assert len(looked_at) + len(refused) == 30
    assert int(refused[0].headers["retry-after"]) >= 1
    assert (await unlock(api, link, passcode="correct horse")).status_code == 429
    stored = await api.services.repository.links.attempts.find({"failures": PER_ADDRESS.free + 1})
    assert "127.0.0.1" not in str(stored)


async def test_locks_grow_and_end_and_are_forgiven(api: Instance) -> None:
    attempts, kept = Attempts(api.services.repository.links), api.services.repository.links.attempts
    allowance = Allowance(free=2, first_lock=60, longest_lock=200)
    locks = []
    for _ in range(6):
        await attempts.take("key", allowance)
        found = await kept.get("key")
        locks.append(max(0, round((found.locked_until - utcnow()).total_seconds(), -1)))
        await kept.update({"_id": "key"}, {"locked_until": utcnow() - timedelta(seconds=1)})
    assert locks == [0, 0, 60, 120, 200, 200]
    await attempts.forgive("key")
    await attempts.take("key", allowance)
    assert (await kept.get("key")).failures == 1
    await kept.update({"_id": "key"}, {"failures": 50, "last_at": utcnow() - timedelta(days=1, seconds=1)})
    await attempts.take("key", allowance)
    assert (await kept.get("key")).failures == 1, "a day without an attempt is a new beginning"
    assert PER_LINK.longest_lock < PER_ADDRESS.longest_lock


async def test_guessed_tokens_are_limited_without_telling_which_exist(
    api: Instance, someone: Account, reference: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = await someone.share(reference)
    compared: list[tuple[bytes, bytes]] = []
    real = hmac.compare_digest

    def noted(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return real(one, other)

    monkeypatch.setattr(api.services.links, "_guesses", RateLimit("unknown links", 5))
    monkeypatch.setattr("vitrine_api.links.hmac.compare_digest", noted)
    assert (await api.client().get(f"/api/v1/links/{link['token']}")).status_code == 200
    assert len(compared) == 1
    for number in range(5):
        problem(await api.client().get(f"/api/v1/links/unknown-{number}"), 404)
    for token in (link["token"], "unknown-6"):
        for path in (f"/api/v1/links/{token}", f"/s/{token}", f"/e/{token}"):
            answer = await api.client().get(path)
            assert answer.status_code == 429
            assert int(answer.headers["retry-after"]) >= 1
    assert len(compared) == 1, "nothing is looked up for a limited address"


async def test_tokens_and_passcodes_have_enough_entropy(someone: Account, reference: str) -> None:
    tokens = {(await someone.share(reference))["token"] for _ in range(20)}
    assert TOKEN_BITS == 128
    assert {len(token) for token in tokens} == {22}
    assert len({token[:6] for token in tokens}) == 20
    assert len({new_passcode() for _ in range(200)}) == 200


@pytest.mark.parametrize(
    ("wish", "field"),
    [
        ({"access": "restricted"}, "access"),
        ({"access": "public", "passcode": True}, "access"),
        ({"access": "public", "blind": True}, "access"),
        ({"passcode": "short"}, "passcode"),
        ({"emails": ["nobody"]}, "emails"),
        ({"rate": "often"}, "rate"),
        ({"max_input": "big"}, "max_input"),
        ({"embed": ["javascript:alert(1)"]}, "embed"),
        ({"embed": ["https://a.example; script-src *"]}, "embed"),
    ],
)
async def test_wishes_that_cannot_be_are_refused_by_name(
    someone: Account, reference: str, wish: dict[str, Any], field: str
) -> None:
    answer = problem(await someone.client.post("/api/v1/links", json={"ref": reference, **wish}), 422)
    assert answer["errors"][0]["field"] == field


async def test_what_was_promised_outlives_the_process(
    api: Instance, someone: Account, reference: str
) -> None:
    link = await someone.share(reference, passcode="open sesame", expires="14d", rate="1/h")
    opened = (await unlock(api, link, passcode="open sesame")).json()
    inside = api.client(headers={"X-Vitrine-Pass": opened["secret"]})
    path = f"/api/v1/links/{link['token']}/runs"
    assert [(await inside.post(path, json={})).status_code for _ in range(2)] == [202, 429]
    for _ in range(PER_ADDRESS.free + 1):
        await unlock(api, link, passcode="not this one")
    platform = make_platform("api", api.platform.settings)
    another = wire(platform, api.services.settings)
    try:
        visitor = await another.links.visitor(link["token"], "x" * 22, passed=opened["secret"])
        assert visitor.link.expires_at == datetime.fromisoformat(link["expires_at"])
        with pytest.raises(RateLimited, match="allows 1 per hour"):
            await another.runs.start_by_link(visitor, await another.links.version(visitor), {})
        with pytest.raises(RateLimited, match="attempts"):
            await another.doors.open_by_passcode(visitor.link, "open sesame", "127.0.0.1")
    finally:
        await platform.stop()
