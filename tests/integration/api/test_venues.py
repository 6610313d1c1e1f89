"""Venues through the api: submitting until the deadline, assigning, reviewing, deciding, un-blinding."""

from __future__ import annotations

import asyncio
import csv
import io
import secrets
from datetime import timedelta
from typing import Any

import pytest

from api_instance import Account, Instance, api, manifest, problem
from claims_on_api import finish_check
from mail_desk import mail_to
from venues_on_api import Hosted, chair, hosted
from vitrine_api.credentials import form_token
from vitrine_api.pages import GUEST_COOKIE
from vitrine_api.venues.tokens import link_token
from vitrine_common.clock import utcnow
from vitrine_common.documents import ClaimCheckRequest, Mail, RunRequest, ShareLink, VenueReview
from vitrine_common.states import RunState

__all__ = ["api"]


def claiming(*names: str) -> dict[str, Any]:
    claims = [
        {"name": name, "statement": "Fast.", "command": "python echo.py", "metric": "ms", "expected": 3}
        for name in names
    ]
    return {**manifest()["spec"], "claims": claims}


async def test_only_chairs_make_venues(api: Instance) -> None:
    somebody = await api.account()
    body = {"name": "X", "deadline": "2099-01-01"}
    problem(await somebody.client.post("/api/v1/venues", json=body), 403)
    made = await (await chair(api)).client.post("/api/v1/venues", json=body)
    assert made.status_code == 201
    assert made.json()["deadline"] == "2099-01-01T23:59:59Z"
    assert (await api.operator.client.post("/api/v1/venues", json=body)).status_code == 201


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"deadline": "tomorrow"}, "deadline"),
        ({"deadline": "2001-01-01"}, "deadline"),
        ({"time_zone": "Mars/Olympus"}, "time_zone"),
        ({"name": "  "}, "name"),
        ({"decisions": []}, "decisions"),
    ],
)
async def test_a_venue_that_cannot_be_is_refused(api: Instance, wrong: dict[str, Any], field: str) -> None:
    account = await chair(api)
    body = {"name": "X", "deadline": "2099-01-01", **wrong}
    answer = problem(await account.client.post("/api/v1/venues", json=body), 422)
    assert answer["errors"][0]["field"] == field


async def test_authors_submit_replace_and_withdraw_until_the_second_of_the_deadline(
    api: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    venue, author = await hosted(api), await api.account()
    version = await api.ready(author, name="net")
    made = await venue.submit(author, version["reference"], "P1")
    again = await venue.submit(author, version["reference"], "p1", title="Another title")
    assert (again["id"], again["number"]) == (made["id"], 1)
    deadline = utcnow() + timedelta(hours=1)
    deadline = deadline.replace(microsecond=0)
    await venue.ask("PATCH", "", json={"deadline": deadline.isoformat()})
    clock = {"now": deadline - timedelta(milliseconds=1)}
    monkeypatch.setattr("vitrine_api.venues.hosting.utcnow", lambda: clock["now"])
    await venue.submit(author, version["reference"], "P2")
    clock["now"] = deadline
    late = {"ref": version["reference"], "paper_id": "P3", "title": "Late"}
    refused = await author.client.post(f"/api/v1/calls/{venue.token}/submissions", json=late)
    assert "deadline" in problem(refused, 409)["detail"]
    problem(await author.client.delete(f"/api/v1/submissions/{made['id']}"), 409)
    clock["now"] = deadline - timedelta(seconds=1)
    assert (await author.client.delete(f"/api/v1/submissions/{made['id']}")).status_code == 204
    rows = (await venue.ask("GET", "/matrix"))["rows"]
    assert [row["number"] for row in rows] == [2]


async def test_only_ready_versions_of_ones_own_are_taken(api: Instance) -> None:
    venue, author, other = await hosted(api), await api.account(), await api.account()
    building = await author.push(name="building")
    theirs = await api.ready(other, name="theirs")
    for reference, status in ((building["reference"], 409), (theirs["reference"], 404)):
        body = {"ref": reference, "paper_id": "P", "title": "T"}
        problem(await author.client.post(f"/api/v1/calls/{venue.token}/submissions", json=body), status)


async def test_reviewers_are_mailed_their_page_and_conflicts_are_kept_apart(api: Instance) -> None:
    venue, author = await hosted(api), await api.account()
    version = await api.ready(author, name="net")
    submission = await venue.submit(author, version["reference"], conflicts=["rival.example"])
    house = secrets.token_hex(3)
    people = await venue.reviewers(
        f"Eva Wong <eva-{house}@uni.example>",
        "Same House <x@lab.example.org>",
        "Rival <r@rival.example>",
        f"Knows <k@far.example>; not: {author.email}",
    )
    mail = await asyncio.wait_for(mail_to(api.services.settings.mail_dir, f"eva-{house}@uni.example"), 30)
    assert people[0]["url"] in mail
    for reviewer in people[1:]:
        body = {"submission_id": submission["id"], "reviewer_id": reviewer["id"]}
        refused = await venue.chair.client.post(f"{venue.path}/assignments", json=body)
        assert reviewer["name"] in problem(refused, 409)["detail"]
    done = await venue.ask("POST", "/assignments/balance", json={"per_submission": 2})
    assert done == {"made": 1, "lacking": {"1": 1}}
    again = await venue.ask("POST", "/assignments/balance", json={"per_submission": 1})
    assert again == {"made": 0, "lacking": {}}


async def reviewing(
    api: Instance, **wishes: Any
) -> tuple[Hosted, Account, dict[str, Any], dict[str, Any], str]:
    """A venue with a submission, a reviewer and the review between them."""
    venue, author = await hosted(api, **wishes), await api.account()
    version = await api.ready(author, name="net", spec=claiming("speed", "size"))
    submission = await venue.submit(author, version["reference"], "P1")
    (reviewer,) = await venue.reviewers("Eva Wong <eva@uni.example>")
    return venue, author, submission, reviewer, await venue.assign(submission, reviewer)


async def link_of(api: Instance, review_id: str) -> ShareLink:
    review = await api.platform.database.collection(VenueReview).get(review_id)
    return await api.platform.database.collection(ShareLink).get(review.link_id)


async def test_replacing_a_version_ends_the_links_to_the_one_before(api: Instance) -> None:
    venue, author, submission, _, review = await reviewing(api)
    before = await link_of(api, review)
    newer = await api.ready(author, name="net", spec=claiming("speed"))
    await venue.submit(author, newer["reference"], "P1")
    after = await link_of(api, review)
    assert after.version_id == newer["id"]
    assert after.id != before.id
    links = api.platform.database.collection(ShareLink)
    assert (await links.get(before.id)).revoked_at is not None
    assert (await venue.ask("GET", "/matrix"))["rows"][0]["id"] == submission["id"]


async def test_checks_run_a_few_at_a_time_and_fill_the_matrix(api: Instance) -> None:
    venue, author, submission, _, _ = await reviewing(api)
    probes = api.services.venues.probes
    for paper in ("P2", "P3"):
        other = await api.ready(author, name=f"net-{paper.lower()}", spec=claiming("speed", "size"))
        await venue.submit(author, other["reference"], paper)
    assert await venue.ask("POST", "/checks", 202) == {"asked": 9}
    assert await venue.ask("POST", "/checks", 202) == {"asked": 0}
    runs = api.platform.database.collection(RunRequest)
    checks = api.platform.database.collection(ClaimCheckRequest)
    links = {one.id for one in await api.services.venues.repository.links_of(venue.id)}
    done: set[str] = set()
    while (await venue.ask("GET", "/matrix"))["unfinished_checks"]:
        await probes.feed()
        asked: list[RunRequest | ClaimCheckRequest] = [*await runs.find({}, limit=500)]
        asked += await checks.find({}, limit=500)
        work = [one for one in asked if one.link_id in links and one.id not in done]
        assert len(work) <= api.services.settings.venue_checks_at_once
        for one in work:
            done.add(one.id)
            assert one.blind
            if isinstance(one, RunRequest):
                await api.finish(one.id)
            else:
                await finish_check(api, one.id, (3.0,) if one.claim_name == "speed" else (9.0,))
    rows = {row["number"]: row for row in (await venue.ask("GET", "/matrix"))["rows"]}
    states = {cell["check"]: (cell["state"], cell["words"]) for cell in rows[1]["checks"][:3]}
    assert list(states.values()) == [("passed", "builds"), ("passed", "runs"), ("partly", "1 of 2")]
    assert "9 instead of 3" in rows[1]["checks"][2]["detail"]
    assert rows[1]["id"] == submission["id"]
    assert await venue.ask("POST", "/checks", 202) == {"asked": 3}, "what failed is tried again"
    told = (await author.client.get("/api/v1/runs")).json()["items"]
    assert told == [], "authors learn of no single run"


async def test_a_failed_run_shows_as_such(api: Instance) -> None:
    venue, *_ = await reviewing(api)
    await venue.ask("POST", "/checks", 202)
    await api.services.venues.probes.feed()
    links = {one.id for one in await api.services.venues.repository.links_of(venue.id)}
    runs = await api.platform.database.collection(RunRequest).find({}, limit=500)
    (run,) = [one for one in runs if one.link_id in links]
    await api.finish(run.id, state=RunState.FAILED)
    await api.services.venues.probes.feed()
    cells = (await venue.ask("GET", "/matrix"))["rows"][0]["checks"]
    assert cells[1]["state"] == "failed"


async def test_from_verdict_to_unblinding(api: Instance) -> None:
    venue, author, submission, reviewer, review = await reviewing(api)
    link = await link_of(api, review)
    assert link.blind
    page = api.client()
    shown = await page.get(reviewer["url"])
    assert shown.status_code == 200
    assert author.name not in shown.text
    body = {"overall": "accept", "comment": "=HYPERLINK(1) well done", "notes": "only mine"}
    await _write(page, reviewer, review, {**body, "finish": "1", "verdict.item_1": "yes"})
    row = (await venue.ask("GET", "/matrix"))["rows"][0]
    assert (row["finished"], row["overall"]) == (1, {"accept": 1})
    chairs = await venue.chair.client.get(f"{venue.path}/matrix")
    assert "only mine" not in chairs.text

    decision = {"decision": "Accept", "note": "=1+1 congratulations"}
    await venue.ask("PUT", f"/submissions/{submission['id']}/decision", json=decision)
    early = await venue.chair.client.post(f"{venue.path}/publish", json={})
    assert "may still submit" in problem(early, 409)["detail"]
    problem(await venue.chair.client.post(f"{venue.path}/unblind", json={}), 409)
    mine = (await author.client.get("/api/v1/submissions")).json()["items"]
    assert mine[0]["decision"] == "", "nobody is told before decisions are published"
    await venue.pass_deadline()
    await venue.ask("POST", "/publish", json={"release_reviews": True})
    mine = (await author.client.get("/api/v1/submissions")).json()["items"]
    assert (mine[0]["decision"], mine[0]["note"]) == ("Accept", "=1+1 congratulations")
    news = (await author.client.get("/api/v1/notifications")).json()["items"]
    assert any(one["kind"] == "review.decided" for one in news)

    problem(await venue.chair.client.get(f"{venue.path}/submissions/{submission['id']}/openings"), 409)
    await venue.ask("POST", "/unblind", json={"reveal_to_reviewers": True})
    assert not (await link_of(api, review)).blind
    assert author.name in (await page.get(reviewer["url"])).text
    openings = await venue.ask("GET", f"/submissions/{submission['id']}/openings")
    assert len(openings["items"]) == 2

    rows = list(csv.reader(io.StringIO((await venue.ask("GET", "/export")).removeprefix("\ufeff"))))
    record = dict(zip(rows[0], rows[1], strict=True))
    assert record["Note"] == "'=1+1 congratulations"
    assert record["Author"] == author.name
    assert record["Accept"] == "1"


async def _write(page: Any, reviewer: dict[str, Any], review: str, fields: dict[str, str]) -> None:
    token = str(reviewer["url"]).rpartition("/")[2]
    page.cookies.set(GUEST_COOKIE, "guest-of-this-test")
    sent = {"csrf_token": form_token("guest-of-this-test"), **fields}
    answer = await page.post(f"/r/{token}/reviews/{review}", data=sent)
    assert answer.status_code == 303, answer.text


async def test_reviewers_never_reach_authors(api: Instance) -> None:
    venue, author, _, reviewer, review = await reviewing(api, blind=False)
    page = api.client()
    assert author.name in (await page.get(reviewer["url"])).text
    await _write(page, reviewer, review, {"overall": "reject", "comment": "No.", "finish": "1"})
    link = await link_of(api, review)
    found = await api.services.venues.repository.venues.get(venue.id)
    started = await api.client().post(f"/api/v1/links/{link_token(found, link.id)}/runs", json={"inputs": {}})
    assert started.status_code == 202
    await api.finish(started.json()["id"])
    told = [
        (await author.client.get(f"/api/v1{path}")).text
        for path in ("/runs", "/links", "/notifications", "/submissions", f"/calls/{venue.token}")
    ]
    member = await api.services.tokens.member(author.token)
    assert member is not None
    entries = (await api.services.audit_log.page(member, 200, None)).items
    told.append("\n".join(entry.model_dump_json() for entry in entries))
    for word in ("Eva", "eva@uni", reviewer["id"], review, link.id, started.json()["id"]):
        assert not any(word in text for text in told), word


async def test_closing_ends_pages_and_links(api: Instance) -> None:
    venue, _, submission, reviewer, review = await reviewing(api)
    link = await link_of(api, review)
    assert (await venue.ask("POST", "/close"))["state"] == "closed"
    links = api.platform.database.collection(ShareLink)
    assert (await links.get(link.id)).revoked_at is not None
    assert await api.services.venues.repository.links_of(venue.id) == []
    assert (await api.client().get(reviewer["url"])).status_code == 410
    body = {"submission_id": submission["id"], "reviewer_id": reviewer["id"]}
    problem(await venue.chair.client.post(f"{venue.path}/assignments", json=body), 409)
    assert (await venue.chair.client.delete(venue.path)).status_code == 204
    problem(await venue.chair.client.get(venue.path), 404)


async def test_reminders_go_to_those_who_have_not_finished_and_not_twice(api: Instance) -> None:
    venue, *_ = await reviewing(api)
    await venue.reviewers("Idle <idle@uni.example>")
    assert await venue.ask("POST", "/reminders", 202) == {"reminded": 1}
    assert await venue.ask("POST", "/reminders", 202) == {"reminded": 0}
    mails = api.platform.database.collection(Mail)
    subjects = [mail.subject for mail in await mails.find({"to": "idle@uni.example"})]
    assert subjects == ["You are asked to review for ReproConf 2027"]


async def test_a_renewed_page_ends_the_address_before(api: Instance) -> None:
    venue, _, _, reviewer, _ = await reviewing(api)
    renewed = await venue.ask("POST", f"/reviewers/{reviewer['id']}/renew")
    assert renewed["url"] != reviewer["url"]
    assert (await api.client().get(reviewer["url"])).status_code == 404
    assert (await api.client().get(renewed["url"])).status_code == 200


async def test_a_chair_who_must_not_know_learns_authors_after_unblinding(api: Instance) -> None:
    venue, author, submission, *_ = await reviewing(api, hidden_from_chair=True)
    told = [await venue.ask("GET", rest) for rest in ("/matrix", "/export")]
    assert author.name not in str(told)
    assert author.id not in str(told)
    await venue.ask("PUT", f"/submissions/{submission['id']}/decision", json={"decision": "Reject"})
    await venue.pass_deadline()
    await venue.ask("POST", "/publish", json={})
    await venue.ask("POST", "/unblind", json={})
    assert (await venue.ask("GET", "/matrix"))["rows"][0]["author"] == author.name
