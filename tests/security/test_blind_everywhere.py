"""Everything that a blind link leads to, found by following it: pages, forms, streams, the whole interface.

`test_blind_crawl` names what it asks for; here nothing is named: whatever address stands in an answer is
asked for, whatever form is sent, and every operation of the OpenAPI document that a link's token fits.
"""

from __future__ import annotations

import asyncio
import io
import logging
import re
import zipfile
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from api_instance import api
from blind_world import Blind, assert_nothing_planted, blind, text_of, traceback_of
from crawling import Crawler, operations
from mail_desk import mail_to
from vitrine_api.app import routed
from vitrine_common.clock import utcnow
from vitrine_common.ids import new_id
from vitrine_common.messages import RunProgress
from vitrine_common.states import RunState

__all__ = ["api", "blind"]

NAMES = ("image", "label", "none")


def crawler(world: Blind, client: httpx.AsyncClient | None = None) -> Crawler:
    return Crawler(client or world.holder, world.api.url)


async def search(world: Blind, found: Crawler, addresses: Iterable[str]) -> set[str]:
    """Crawl, look through every answer, and return what was asked for."""
    asked = set()
    async for what, answer in found.crawl(addresses):
        assert answer.status_code < 500, what
        assert_nothing_planted(world, what, answer)
        asked.add(what.replace(world.link["token"], "T").replace(world.visitor, "V"))
    return asked


async def test_the_pages_and_all_that_they_lead_to(blind: Blind) -> None:
    token = blind.link["token"]
    runs = [f"/s/{token}/runs/{run_id}" for run_id in blind.runs.values()]
    asked = await search(
        blind, crawler(blind), [f"/s/{token}", *runs, f"/s/{token}/claims/checks/{blind.check}"]
    )
    failed, done = blind.runs["failed"], blind.runs["succeeded"]
    for expected in (
        f"GET /s/T/runs/{done}/outputs/image",
        f"GET /s/T/runs/{failed}",
        f"GET /s/T/runs/{blind.runs['working']}/events",
        "GET /s/T/examples/image/0",
        "POST /s/T/runs",
        "POST /s/T/claims/checks",
        f"GET /s/T/claims/checks/{blind.check}/receipt",
    ):
        assert expected in asked, f"{expected} was not found from the pages: {sorted(asked)}"


async def test_the_same_in_a_frame_of_another_site(blind: Blind) -> None:
    place = f"/e/{blind.link['token']}/{blind.visitor}"
    client = blind.api.client(headers={"Sec-Fetch-Dest": "iframe"})
    asked = await search(blind, crawler(blind, client), [place, f"{place}/runs/{blind.runs['failed']}"])
    assert "POST /e/T/V/runs" in asked


async def test_every_operation_that_takes_a_links_token(blind: Blind) -> None:
    known = {
        "token": [blind.link["token"]],
        "run_id": [*blind.runs.values(), new_id("run")],
        "check_id": [blind.check, new_id("check")],
        "name": NAMES,
    }
    found, count = crawler(blind), 0
    for method, address in operations(routed().openapi(), known):
        if "/links/" not in address:
            continue
        count += 1
        if method == "GET":
            await search(blind, found, [address])
            continue
        for body in ({}, {"inputs": {"image": "no file"}}, {"claim": "none"}, {"inputs": {"text": "again"}}):
            answer = await blind.holder.request(method, address, json=body)
            assert answer.status_code < 500, address
            assert_nothing_planted(blind, f"{method} {address} {body}", answer)
    assert count > 40


async def test_a_door_and_what_is_behind_it(blind: Blind) -> None:
    link = await blind.share(access="restricted", passcode="open sesame", emails=["reviewer@example.org"])
    closed = blind.api.client()
    asked = await search(
        blind, crawler(blind, closed), [f"/s/{link['token']}", f"/api/v1/links/{link['token']}"]
    )
    assert any(one.startswith("POST") and "unlock" in one for one in asked)
    path = f"/api/v1/links/{link['token']}"
    opened = await closed.post(f"{path}/unlock", json={"passcode": link["passcode"] or "open sesame"})
    assert opened.status_code == 200, opened.text
    client = blind.api.client(
        headers={"X-Vitrine-Pass": opened.json()["secret"]}, cookies={"vitrine_pass": opened.json()["secret"]}
    )
    asked = await search(blind, crawler(blind, client), [f"/s/{link['token']}", path])
    assert f"POST /s/{link['token']}/runs" in asked
    assert (await closed.post(f"{path}/codes", json={"email": "reviewer@example.org"})).status_code == 202
    mail = await mail_to(blind.api.services.settings.mail_dir, "reviewer@example.org")
    assert_nothing_planted(blind, "the mail", httpx.Response(200, text=mail))


async def test_the_addresses_of_programs(blind: Blind) -> None:
    """The Open Inference Protocol and single runs, by the link's own addresses."""
    place, model = f"/s/{blind.link['token']}", "models/model/versions/1"
    tensors = {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["again"]}]}
    asked: list[tuple[str, str, dict[str, Any]]] = [
        *(("GET", f"v2{rest}", {}) for rest in ("", "/health/live", "/health/ready", "/models/model")),
        *(("GET", f"v2/{model}{rest}", {}) for rest in ("", "/ready", "/config", "/stats")),
        ("GET", "v2/models/babbage", {}),
        ("GET", "v2/models/model/versions/7", {}),
        ("POST", "v2/models/model/infer", {"json": {"inputs": [{"name": "none"}]}}),
        ("POST", "v2/models/model/infer", {"content": b"{"}),
        ("GET", "v2/models/model/infer", {}),
        ("POST", "v1/runs", {"json": tensors}),
        ("POST", "v1/runs", {"json": {"inputs": {"text": "again"}}}),
    ]
    statuses = {}
    for method, rest, options in asked:
        answer = await blind.holder.request(method, f"{place}/{rest}", **options)
        assert answer.status_code < 500, rest
        assert_nothing_planted(blind, f"{method} {rest}", answer)
        statuses[method, rest] = answer.status_code
    assert statuses["GET", "v2/models/model"] == 200
    assert statuses["POST", "v1/runs"] == 202


async def test_no_time_of_the_authors_work_is_told(blind: Blind) -> None:
    """When the version was pushed would tell which of several public records it is."""
    versions = blind.api.services.repository.bundles.versions
    then = datetime(1999, 3, 2, 1, 4, 6, tzinfo=UTC)
    before = await versions.get(blind.version["id"])
    await versions.update({"_id": before.id}, {"created_at": then, "updated_at": then})
    try:
        found = crawler(blind)
        token = blind.link["token"]
        count = 0
        async for what, answer in found.crawl(
            [f"/s/{token}", f"/api/v1/links/{token}", f"/s/{token}/export"]
        ):
            said = text_of(answer) + str(answer.headers) + "".join(map(str, _times_in(answer)))
            assert "1999" not in said, what
            assert "last-modified" not in answer.headers, what
            count += 1
        assert count > 20
    finally:
        await versions.update(
            {"_id": before.id}, {"created_at": before.created_at, "updated_at": before.updated_at}
        )


def _times_in(answer: httpx.Response) -> list[tuple[int, ...]]:
    """The times of an archive's members."""
    if not answer.content.startswith(b"PK"):
        return []
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        return [member.date_time for member in archive.infolist()]


async def test_refusals(blind: Blind) -> None:
    token = blind.link["token"]
    used_up, ended, revoked, paused = [await blind.share(max_runs=1, embed=["*"]) for _ in range(4)]
    links = blind.api.services.repository.links.links
    await links.update({"_id": used_up["id"]}, {"runs_used": 1})
    await links.update({"_id": ended["id"]}, {"expires_at": utcnow() - timedelta(seconds=1)})
    await links.update({"_id": paused["id"]}, {"paused": True})
    await blind.owner.client.delete(f"/api/v1/links/{revoked['id']}")
    statuses = set()
    for one in (token, used_up["token"], ended["token"], revoked["token"], paused["token"], "x" * 22):
        for place in (f"/s/{one}", f"/e/{one}", f"/api/v1/links/{one}"):
            for method, address, options in _refused(place):
                answer = await blind.holder.request(method, address, **options)
                assert answer.status_code < 500, address
                statuses.add(answer.status_code)
                assert_nothing_planted(blind, f"{method} {address}", answer)
    assert {403, 404, 405, 410, 413, 422, 429} <= statuses


def _refused(place: str) -> Iterable[tuple[str, str, dict[str, Any]]]:
    yield "GET", place, {}
    yield "DELETE", place, {}
    yield "GET", f"{place}/nothing/here", {}
    yield "POST", f"{place}/runs", {"json": {"inputs": {"nothing": 1}}}
    yield "POST", f"{place}/runs", {"json": {"inputs": {"image": {"example": "samples/none.png"}}}}
    yield "POST", f"{place}/runs", {"json": {"inputs": {"text": "a"}}}
    yield "POST", f"{place}/runs", {"data": {"input.text": "a"}}
    yield "POST", f"{place}/runs", {"content": b"{", "headers": {"content-type": "application/json"}}
    yield "POST", f"{place}/unlock", {"content": b" " * (2 << 20)}


async def test_a_failure_of_the_platform_itself(blind: Blind, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object) -> None:
        raise RuntimeError(traceback_of(blind))

    monkeypatch.setattr(type(blind.api.services.runs), "get", fail)
    token, run_id = blind.link["token"], blind.runs["succeeded"]
    for address in (f"/s/{token}/runs/{run_id}", f"/api/v1/links/{token}/runs/{run_id}"):
        answer = await blind.holder.get(address)
        assert answer.status_code == 500
        assert_nothing_planted(blind, address, answer)


@pytest.mark.parametrize("place", ["/api/v1/links/{token}", "/s/{token}"])
async def test_news_of_a_run_at_work(blind: Blind, place: str) -> None:
    run_id = blind.runs["working"]
    said = RunProgress(
        run_id=run_id,
        state=RunState.RUNNING,
        message=traceback_of(blind)[-300:],
        log=traceback_of(blind),
    )
    told = b""
    address = f"{place.format(token=blind.link['token'])}/runs/{run_id}/events"
    async with blind.holder.stream("GET", address) as stream, asyncio.timeout(20):
        assert stream.status_code == 200
        async for chunk in stream.aiter_bytes():
            told += chunk
            if b"event: progress" in told:
                break
            await blind.api.platform.bus.tell(said)
    assert_nothing_planted(blind, address, httpx.Response(200, content=told))
    assert b"FileNotFoundError" in told, "what helps is kept"


async def test_the_platforms_own_log_names_no_holder(blind: Blind, caplog: pytest.LogCaptureFixture) -> None:
    token, secret = blind.link["token"], "visitor-who-leaves-no-trace"
    with caplog.at_level(logging.INFO):
        client = blind.api.client(headers={"X-Vitrine-Visitor": secret})
        path = f"/api/v1/links/{token}"
        await client.post(f"{path}/runs", json={"inputs": {"text": "what nobody may read"}})
        await client.post(f"{path}/runs", json={"inputs": {"count": "what nobody may read"}})
        await client.get(f"{path}/runs/{new_id('run')}")
        await client.get(f"/s/{token}?text=what+nobody+may+read")
    ours = [record for record in caplog.records if record.name.startswith("vitrine")]
    said = "\n".join(f"{record.getMessage()} {record.__dict__}" for record in ours)
    assert "refused" in said
    for word in (token, secret, "what nobody may read", "127.0.0.1"):
        assert word not in said


async def test_nothing_that_its_owner_reaches_tells_of_a_holder(blind: Blind) -> None:
    """Neither which runs there were, nor when, nor what was asked, nor how many."""
    typed = "what only the reviewer knows"
    path = f"/api/v1/links/{blind.link['token']}"
    run = await blind.holder.post(f"{path}/runs", json={"inputs": {"text": typed}})
    await blind.api.finish(run.json()["id"], log_tail=typed)
    then = datetime(2003, 4, 5, 6, 7, 8, tzinfo=UTC)
    runs = blind.api.services.repository.runs
    await runs.requests.update({"_id": run.json()["id"]}, {"created_at": then})
    request = await runs.requests.get(run.json()["id"])
    links = blind.api.services.repository.links.links
    await links.update({"_id": blind.link["id"]}, {"last_run_at": then})
    forbidden = [
        *blind.runs.values(),
        request.id,
        blind.check,
        blind.visitor,
        request.visitor_id or "",
        typed,
    ]
    forbidden += ["2003-04", "06:07", "Apr 2003", "5 April"]
    user = await blind.api.services.repository.accounts.users.get(blind.owner.id)
    session = await blind.api.services.sessions.open(user)
    owner, name, number = blind.version["reference"].replace("@", "/").split("/")
    known = {
        "owner": [owner],
        "name": [name],
        "version": [number],
        "version_id": [blind.version["id"]],
        "link_id": [blind.link["id"]],
        "run_id": [request.id, blind.runs["failed"]],
        "check_id": [blind.check],
    }
    asked = [one for method, one in operations(routed().openapi(), known) if method == "GET"]
    asked += [
        "/api/v1/runs?state=failed",
        f"/api/v1/runs?link={blind.link['id']}",
        "/runs?state=failed",
        "/",
        "/settings",
    ]
    asked += [
        f"/runs?link={blind.link['id']}",
        "/api/v1/notifications",
        "/api/v1/links",
        "/api/v1/claims/checks",
    ]
    found = Crawler(
        blind.api.client(
            cookies={"vitrine_session": session}, headers={"Authorization": f"Bearer {blind.owner.token}"}
        ),
        blind.api.url,
        keep_out=re.compile(r"^/(static/|logout|s/|e/)"),
        forms=False,
    )
    count = 0
    async for what, answer in found.crawl(asked):
        assert answer.status_code < 500, what
        text = text_of(answer)
        for word in forbidden:
            asked_for = word in what and answer.status_code == 404
            assert asked_for or word not in text, f"{what} says {word}: {text[:3000]}"
        count += 1
    assert count > 40
