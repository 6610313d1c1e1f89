"""What a link allows: rates, sizes, times and sites; what its owner alters reaches open pages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest

from api_instance import PNG, Account, Instance, problem
from vitrine_api.showings import PASS_COOKIE, VISITOR_COOKIE
from vitrine_common.clock import utcnow
from vitrine_common.errors import Gone


@pytest.fixture(scope="module")
async def someone(api: Instance) -> Account:
    return await api.account()


@pytest.fixture(scope="module")
async def reference(api: Instance, someone: Account) -> str:
    return str((await api.ready(someone))["reference"])


async def run(api: Instance, link: dict[str, Any], **inputs: Any) -> httpx.Response:
    return await api.client().post(f"/api/v1/links/{link['token']}/runs", json={"inputs": inputs})


async def edit(someone: Account, link: dict[str, Any], **changes: Any) -> dict[str, Any]:
    answer = await someone.client.patch(f"/api/v1/links/{link['id']}", json=changes)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def test_fifty_at_once_take_no_more_runs_than_the_rate(
    api: Instance, someone: Account, reference: str
) -> None:
    link = await someone.share(reference, rate="7/h", max_runs=9)
    answers = await asyncio.gather(*(run(api, link) for _ in range(50)))
    accepted = sum(answer.status_code == 202 for answer in answers)
    refused = next(answer for answer in answers if answer.status_code == 429)
    stored = await api.services.repository.links.links.get(link["id"])
    assert (accepted, stored.runs_used, len(stored.rate_times)) == (7, 7, 7)
    assert 3500 < int(refused.headers["retry-after"]) <= 3600
    an_hour_ago = [time - 3_600_001 for time in stored.rate_times]
    await api.services.repository.links.links.update({"_id": link["id"]}, {"rate_times": an_hour_ago})
    again = await asyncio.gather(*(run(api, link) for _ in range(20)))
    assert sum(answer.status_code == 202 for answer in again) == 2, "the quota in all holds, too"
    assert (await api.services.repository.links.links.get(link["id"])).runs_used == 9


async def test_what_is_refused_is_given_back(api: Instance, someone: Account, reference: str) -> None:
    link = await someone.share(reference, rate="2/d", max_runs=2)
    for _ in range(3):
        problem(await run(api, link, count="many"), 422)
    repository, quota = api.services.repository.links, api.services.runs._quota
    taken = await quota.take(await repository.links.get(link["id"]))
    await quota.give_back(taken)
    stored = await repository.links.get(link["id"])
    assert (stored.runs_used, stored.rate_times) == (0, [])
    assert [(await run(api, link)).status_code for _ in range(3)] == [202, 202, 429]


async def test_inputs_over_the_links_size_are_refused_and_examples_count_nothing(
    api: Instance, someone: Account, reference: str
) -> None:
    link = await someone.share(reference, max_input="20")
    path = f"/api/v1/links/{link['token']}"
    assert (await api.client().get(path)).json()["max_input_bytes"] == 20
    problem(await api.client().post(f"{path}/runs", files={"input.image": ("a.png", PNG)}), 413)
    problem(await run(api, link, text="x" * 21), 413)
    assert (await run(api, link, text="x" * 20, image={"example": "a.png"})).status_code == 202


async def test_links_for_recipients_are_made_and_end_apart(
    api: Instance, someone: Account, reference: str
) -> None:
    wish = {"ref": reference, "recipients": ["Reviewer 1", "Reviewer 2"], "passcode": True}
    made = (await someone.client.post("/api/v1/links/groups", json=wish)).json()["items"]
    assert [link["recipient"] for link in made] == ["Reviewer 1", "Reviewer 2"]
    assert len({link["passcode"] for link in made}) == len({link["token"] for link in made}) == 2
    assert made[0]["group_id"] == made[1]["group_id"] != ""
    assert (await someone.client.delete(f"/api/v1/links/{made[0]['id']}")).status_code == 204
    statuses = [(await api.client().get(f"/api/v1/links/{link['token']}")).status_code for link in made]
    assert statuses == [410, 401]
    twice = wish | {"recipients": ["A", "A"]}
    problem(await someone.client.post("/api/v1/links/groups", json=twice), 422)


async def test_an_end_is_kept_to_the_second(
    api: Instance, someone: Account, reference: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = await someone.share(reference, expires="1h")
    ends = datetime.fromisoformat(link["expires_at"])
    clock = {"now": ends - timedelta(milliseconds=1)}
    monkeypatch.setattr("vitrine_api.link_states.utcnow", lambda: clock["now"])
    assert (await run(api, link)).status_code == 202
    clock["now"] = ends
    assert "expired" in problem(await run(api, link), 410)["detail"]
    monkeypatch.undo()
    later = await edit(someone, link, expires="30d", max_runs=3, label="longer", rate="5/d")
    assert datetime.fromisoformat(later["expires_at"]) > ends + timedelta(days=28)
    assert (later["max_runs"], later["label"], later["rate_runs"], later["rate_seconds"]) == (
        3,
        "longer",
        5,
        86400,
    )
    unlimited = await edit(someone, link, expires=None, max_runs=None, rate=None)
    assert (unlimited["expires_at"], unlimited["max_runs"], unlimited["rate_runs"]) == (None, None, None)
    assert unlimited["label"] == "longer", "what is left out stays"


async def test_open_streams_of_runs_end_with_their_link(
    api: Instance, someone: Account, reference: str
) -> None:
    link = await someone.share(reference, expires="1h")
    started = await run(api, link)
    visitor = await api.services.links.visitor(link["token"], started.json()["visitor"])
    follower = api.services.runs.follow(visitor, started.json()["id"])
    changes = follower.changes()
    first = (await anext(changes)).state
    assert first is not None
    left = follower.due_seconds(first)
    assert left is not None
    assert 3500 < left <= 3600, "it waits no longer than its link goes on"
    # Another process moves the end; this one hears of it, and tells whoever looks on.
    links = api.services.repository.links.links
    await links.update({"_id": link["id"]}, {"expires_at": utcnow() - timedelta(seconds=1)})
    with pytest.raises(Gone, match="expired"):
        async for _ in changes:
            pass
    assert (follower.due_seconds(first) or 0) < 0


async def test_a_pause_closes_a_link_until_it_is_taken_back(
    api: Instance, someone: Account, reference: str
) -> None:
    link = await someone.share(reference)
    assert (await edit(someone, link, paused=True))["state"] == "paused"
    assert problem(await run(api, link), 403)["title"] == "This link is paused"
    page = await api.client().get(f"/s/{link['token']}")
    assert (page.status_code, "Come back later" in page.text) == (403, True)
    assert (await edit(someone, link, paused=False))["state"] == "active"
    assert (await run(api, link)).status_code == 202
    assert (await someone.client.delete(f"/api/v1/links/{link['id']}")).status_code == 204
    problem(await someone.client.patch(f"/api/v1/links/{link['id']}", json={"paused": False}), 409)


@asynccontextmanager
async def watching(api: Instance, token: str) -> AsyncIterator[AsyncIterator[str]]:
    """An open page's stream, already begun."""
    async with api.client().stream("GET", f"/s/{token}/watch") as stream:
        assert stream.status_code == 200
        chunks = stream.aiter_text()
        assert "retry" in await anext(chunks)
        yield chunks


async def rest_of(chunks: AsyncIterator[str]) -> str:
    async with asyncio.timeout(30):
        return "".join([chunk async for chunk in chunks])


@pytest.mark.parametrize("ending", ["revoked", "paused", "expired"])
async def test_an_open_page_is_told_that_its_link_has_ended(
    api: Instance, someone: Account, reference: str, ending: str
) -> None:
    link = await someone.share(reference, expires="2s" if ending == "expired" else "1d")
    async with watching(api, link["token"]) as chunks:
        if ending == "revoked":
            assert (await someone.client.delete(f"/api/v1/links/{link['id']}")).status_code == 204
        elif ending == "paused":
            await edit(someone, link, paused=True)
        told = await rest_of(chunks)
    assert told.count("event: ended") == 1
    assert f'data-ended="{ending}"' in told
    if ending == "expired":
        assert utcnow() >= datetime.fromisoformat(link["expires_at"])


async def test_frames_are_for_the_sites_that_the_link_names_and_need_no_cookies(
    api: Instance, someone: Account, reference: str
) -> None:
    link = await someone.share(reference, embed=["https://Conference.example/", "http://127.0.0.1:9"])
    assert link["embed_origins"] == ["https://conference.example", "http://127.0.0.1:9"]
    session = await api.services.sessions.open(await api.services.repository.accounts.users.get(someone.id))
    client = api.client(cookies={"vitrine_session": session})
    page = await client.get(f"/e/{link['token']}")
    policy = page.headers["content-security-policy"]
    assert "frame-ancestors https://conference.example http://127.0.0.1:9;" in policy
    assert "sandbox allow-scripts" in policy
    assert "allow-top-navigation" not in policy
    assert "x-frame-options" not in page.headers
    assert "set-cookie" not in page.headers
    assert someone.name not in page.text, "an account that is logged in does not count"
    place = page.text.split('hx-post="')[1].split('/runs"')[0]
    token = page.text.split('name="csrf_token" value="')[1].split('"')[0]
    framed = api.client()
    started = await framed.post(f"{place}/runs", data={"csrf_token": token})
    assert (started.status_code, "set-cookie" in started.headers) == (303, False)
    shown = await framed.get(started.headers["location"])
    assert (
        shown.status_code,
        "frame-ancestors https://conference" in shown.headers["content-security-policy"],
    ) == (
        200,
        True,
    )
    stranger = started.headers["location"].replace(place.split("/")[3], "x" * 22)
    assert (await framed.get(stranger)).status_code == 404
    normal = await client.get(f"/s/{link['token']}")
    assert normal.headers["x-frame-options"] == "DENY"
    closed = await someone.share(reference)
    refused = await framed.get(f"/e/{closed['token']}")
    assert (refused.status_code, "not opened this link" in refused.text) == (403, True)
    unknown = await client.get("/e/" + "x" * 22)
    assert (unknown.status_code, "set-cookie" in unknown.headers) == (404, False)
    assert someone.name not in unknown.text


async def test_a_restricted_link_in_a_frame_leads_out_of_it(
    api: Instance, someone: Account, reference: str
) -> None:
    link = await someone.share(reference, passcode=True, embed=["*"])
    page = await api.client().get(f"/e/{link['token']}")
    assert page.status_code == 401
    assert f'href="/s/{link["token"]}" target="_blank"' in page.text
    assert 'method="post"' not in page.text


async def test_the_door_as_a_page_gives_a_cookie_for_this_link_alone(
    api: Instance, someone: Account, reference: str
) -> None:
    link = await someone.share(reference, passcode="open sesame", expires="1h")
    browser, place = api.client(), f"/s/{link['token']}"
    gate = await browser.get(place)
    assert (gate.status_code, reference.split("/")[1] in gate.text) == (401, False)
    token = gate.text.split('name="csrf_token" value="')[1].split('"')[0]
    wrong = await browser.post(f"{place}/unlock", data={"csrf_token": token, "passcode": "sesame"})
    assert (wrong.status_code, "is not the passcode" in wrong.text) == (403, True)
    assert (await browser.post(f"{place}/unlock", data={"passcode": "open sesame"})).status_code == 403
    right = await browser.post(f"{place}/unlock", data={"csrf_token": token, "passcode": "open sesame"})
    cookie = right.headers["set-cookie"]
    assert (right.status_code, right.headers["location"]) == (303, place)
    assert cookie.startswith(f"{PASS_COOKIE}=")
    assert all(part in cookie for part in ("HttpOnly", f"Path={place}", "SameSite=lax"))
    assert 0 < int(cookie.split("Max-Age=")[1].split(";")[0]) <= 3600, "no longer than the link"
    shown = await browser.get(place)
    assert shown.status_code == 200
    assert VISITOR_COOKIE in shown.headers["set-cookie"]


async def test_visitors_are_counted_once(api: Instance, someone: Account, reference: str) -> None:
    link = await someone.share(reference)
    browser = api.client()
    for _ in range(3):
        await browser.get(f"/s/{link['token']}")
    await api.client().get(f"/s/{link['token']}")
    listed = (await someone.client.get("/api/v1/links")).json()["items"][0]
    assert (listed["id"], listed["opened"], listed["runs_used"]) == (link["id"], 2, 0)


async def test_every_grant_use_and_revocation_stands_in_the_owners_log(
    api: Instance, someone: Account, reference: str
) -> None:
    link = await someone.share(reference, passcode="open sesame")
    opened = await api.client().post(
        f"/api/v1/links/{link['token']}/unlock", json={"passcode": "open sesame"}
    )
    inside = api.client(headers={"X-Vitrine-Pass": opened.json()["secret"]})
    started = await inside.post(f"/api/v1/links/{link['token']}/runs", json={"inputs": {"text": "hush"}})
    await edit(someone, link, label="changed")
    await someone.client.delete(f"/api/v1/links/{link['id']}")
    user = await api.services.repository.accounts.users.get(someone.id)
    member = await api.services.tokens.member(someone.token)
    assert member is not None
    entries = (await api.services.audit_log.page(member, 5, None)).items
    holder = f"link:{link['id']}"
    assert [(one.actor, one.action, one.kind, one.subject) for one in reversed(entries)] == [
        (user.id, "link.created", "share link", link["id"]),
        (holder, "link.unlocked", "share link", link["id"]),
        (holder, "run.requested", "run request", started.json()["id"]),
        (user.id, "link.changed", "share link", link["id"]),
        (user.id, "link.revoked", "share link", link["id"]),
    ]
    written = " ".join(one.model_dump_json() for one in entries)
    assert not [word for word in ("hush", "127.0.0.1", "open sesame") if word in written]
