"""A blind venue: what a reviewer's address leads to tells nothing of an author, nor does what a chair sees.

As in `test_blind_everywhere` nothing is named: addresses are followed, forms are sent, and every operation
of the OpenAPI document is asked for that the reviewer's link, or the chair's venue, fits.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from api_instance import PNG, api
from blind_world import Blind, assert_nothing_planted, blind, traceback_of
from claims_on_api import finish_check
from crawling import Crawler, operations
from mail_desk import mail_to
from page_visits import log_in
from venues_on_api import Hosted, hosted
from vitrine_api.app import routed
from vitrine_common.digests import sha256_bytes
from vitrine_common.documents import Output, Repeat
from vitrine_common.ids import new_id
from vitrine_common.states import Reason, RunState

__all__ = ["api", "blind"]


@dataclass
class Reviewing:
    """A venue with one submission, and its reviewer's browser."""

    world: Blind
    venue: Hosted
    submission: dict[str, Any]
    reviewer: dict[str, Any]
    review: str
    browser: httpx.AsyncClient
    token: str = ""
    visitor: str = ""
    runs: dict[str, str] = field(default_factory=dict)
    check: str = ""

    @property
    def page(self) -> str:
        """Of the reviewer."""
        return f"/r/{str(self.reviewer['url']).rpartition('/')[2]}"

    async def search(self, client: httpx.AsyncClient, addresses: Iterable[str], **how: Any) -> set[str]:
        """Crawl, look through every answer, and return what was asked for."""
        asked = set()
        found = Crawler(client, self.world.api.url, **how)
        async for what, answer in found.crawl(addresses):
            assert answer.status_code < 500, what
            assert_nothing_planted(self.world, what, answer)
            asked.add(what.replace(self.token, "T").replace(self.page, "/r/R"))
        return asked


@pytest.fixture(scope="module")
async def reviewing(blind: Blind) -> Reviewing:
    """Have somebody review blindly, and use their link in every way."""
    venue = await hosted(blind.api, hidden_from_chair=True, max_runs=200)
    submission = await venue.submit(blind.owner, blind.version["reference"], "P-1", title="On cats")
    (reviewer,) = await venue.reviewers("Eva Wong <eva@far.example>")
    review = await venue.assign(submission, reviewer)
    world = Reviewing(blind, venue, submission, reviewer, review, blind.api.client())
    shown = await world.browser.get(world.page)
    (world.token,) = set(re.findall(r'href="/s/([A-Za-z0-9_-]+)"', shown.text))
    await _run_things(world)
    await _check_things(world)
    return world


async def _run_things(world: Reviewing) -> None:
    blind, path = world.world, f"/api/v1/links/{world.token}/runs"
    for name in ("failed", "succeeded", "working"):
        client = blind.api.client(headers={"X-Vitrine-Visitor": world.visitor} if world.visitor else {})
        started = await client.post(path, json={"inputs": {"image": {"example": "example-1.png"}}})
        assert started.status_code == 202, started.text
        world.visitor, world.runs[name] = started.json()["visitor"], started.json()["id"]
    log = traceback_of(blind)
    failure: dict[str, Any] = {"reason": Reason.USER_ERROR, "message": log[-300:], "log_tail": log}
    await blind.api.finish(world.runs["failed"], state=RunState.FAILED, **failure)
    picture = Output(
        name="image",
        type="image",
        digest=sha256_bytes(PNG),
        size=len(PNG),
        media_type="image/png",
        filename="lovelace.png",
    )
    await blind.api.finish(world.runs["succeeded"], [picture], log_tail=log)
    for name in ("failed", "succeeded"):
        await blind.api.services.receipts.issue_run(world.runs[name])
    world.browser.cookies.set("vitrine_visitor", world.visitor)
    world.browser.headers["X-Vitrine-Visitor"] = world.visitor


async def _check_things(world: Reviewing) -> None:
    blind, log = world.world, traceback_of(world.world)
    path = f"/api/v1/links/{world.token}/claims/checks"
    started = await world.browser.post(path, json={"claim": "accuracy"})
    assert started.status_code == 202, started.text
    world.check = started.json()["id"]
    repeats = [
        Repeat(value=0.9, duration_ms=5.0, log_tail=log),
        Repeat(reason=Reason.USER_ERROR, message=log[-300:], log_tail=log),
    ]
    check = await finish_check(blind.api, world.check, (0.9, None), repeats=repeats, message=log[-300:])
    await blind.api.services.attesting.checked(check.id)


async def test_a_reviewers_page_and_all_that_it_leads_to(reviewing: Reviewing) -> None:
    world, place = reviewing, f"/s/{reviewing.token}"
    pages = [f"{place}/runs/{run_id}" for run_id in world.runs.values()]
    asked = await world.search(world.browser, [world.page, *pages, f"{place}/claims/checks/{world.check}"])
    failed, done = world.runs["failed"], world.runs["succeeded"]
    for expected in (
        "GET /r/R",
        f"POST /r/R/reviews/{world.review}",
        "GET /s/T",
        "GET /s/T/examples/image/0",
        "POST /s/T/runs",
        "POST /s/T/claims/checks",
        f"GET /s/T/runs/{failed}",
        f"GET /s/T/runs/{done}/outputs/image",
        f"GET /s/T/runs/{done}/receipt",
        f"GET /s/T/runs/{done}/archive",
        f"GET /s/T/runs/{world.runs['working']}/events",
        f"GET /s/T/claims/checks/{world.check}/receipt",
    ):
        assert expected in asked, f"{expected} was not found from the page: {sorted(asked)}"


async def test_every_operation_that_takes_a_reviewers_link(reviewing: Reviewing) -> None:
    known = {
        "token": [reviewing.token],
        "run_id": [*reviewing.runs.values(), new_id("run")],
        "check_id": [reviewing.check, new_id("check")],
        "name": ("image", "label", "none"),
    }
    count = 0
    for method, address in operations(routed().openapi(), known):
        if "/links/" not in address:
            continue
        count += 1
        if method == "GET":
            await reviewing.search(reviewing.browser, [address])
            continue
        for body in ({}, {"inputs": {"image": "no file"}}, {"claim": "none"}):
            answer = await reviewing.browser.request(method, address, json=body)
            assert answer.status_code < 500, address
            assert_nothing_planted(reviewing.world, f"{method} {address} {body}", answer)
    assert count > 40


@pytest.mark.parametrize(
    "written",
    [
        {"overall": "nonsense"},
        {"verdict.nothing": "yes"},
        {"notes": "n" * 20_001},
        {"finish": "1", "overall": ""},
        {"overall": "accept", "notes": "Works.", "comment": "Good."},
    ],
)
@pytest.mark.parametrize("by_script", [False, True])
async def test_what_a_reviewer_writes(
    reviewing: Reviewing, written: dict[str, str], *, by_script: bool
) -> None:
    shown = await reviewing.browser.get(reviewing.page)
    (token,) = set(re.findall(r'name="csrf_token" value="([0-9a-f]{64})"', shown.text))
    answer = await reviewing.browser.post(
        f"{reviewing.page}/reviews/{reviewing.review}",
        data={"csrf_token": token, **written},
        headers={"HX-Request": "true"} if by_script else {},
    )
    refused = written.get("overall") != "accept"
    assert answer.status_code == (422 if refused else 200 if by_script else 303), answer.text
    assert_nothing_planted(reviewing.world, f"{written}", answer)


async def test_a_reviewers_mails(reviewing: Reviewing) -> None:
    folder = reviewing.world.api.services.settings.mail_dir
    mails = [await mail_to(folder, "eva@far.example")]
    await reviewing.venue.ask("POST", "/reminders", 202)
    mails.append(await mail_to(folder, "eva@far.example", 1))
    for words, mail in zip(("you are asked to review", "not finished"), mails, strict=True):
        assert words in mail
        assert_nothing_planted(reviewing.world, "the mail", httpx.Response(200, text=mail))


async def test_a_chair_from_whom_authors_are_hidden_reads_no_name_either(reviewing: Reviewing) -> None:
    """All pages and answers that the chair reaches: matrix, submission, CSV, the chair's own link."""
    world, venue = reviewing, reviewing.venue
    await venue.ask("POST", "/checks", 202)
    browser = await log_in(world.world.api, venue.chair)
    browser.headers["Authorization"] = f"Bearer {venue.chair.token}"
    known = {"venue_id": [venue.id], "submission_id": [world.submission["id"]]}
    addresses = [one for method, one in operations(routed().openapi(), known) if method == "GET"]
    assert len(addresses) >= 4
    asked = await world.search(
        browser,
        [f"/venues/{venue.id}", "/venues", "/notifications", "/audit", *addresses],
        forms=False,
        keep_out=re.compile(r"^/(static/|logout|r/|v/|api/v1/openapi)"),
    )
    for expected in (
        f"GET /venues/{venue.id}/submissions/{world.submission['id']}",
        f"GET /venues/{venue.id}/matrix.csv",
        f"GET /api/v1/venues/{venue.id}/matrix",
    ):
        assert expected in asked, sorted(asked)
    assert any(one.startswith("GET /s/") for one in asked), "the chair's own link"


async def test_refusals(reviewing: Reviewing) -> None:
    """Wrong addresses, another's review, and a venue that is over: last, as it ends what there is."""
    world, venue, browser = reviewing, reviewing.venue, reviewing.browser
    told = [
        await browser.get("/r/" + "x" * 43),
        await browser.get(f"{world.page}/nothing/here"),
        await browser.post(f"{world.page}/reviews/{new_id('review')}", data={}),
        await browser.post(f"/r/{'x' * 43}/reviews/{world.review}", data={}),
    ]
    assert [one.status_code for one in told[:1]] == [404]
    page = await browser.get(world.page)
    (token,) = set(re.findall(r'name="csrf_token" value="([0-9a-f]{64})"', page.text))
    other = f"{world.page}/reviews/{new_id('review')}"
    told.append(await browser.post(other, data={"csrf_token": token, "overall": "accept"}))
    assert told[-1].status_code == 404
    await venue.pass_deadline()
    await venue.ask("POST", "/close")
    for address in (world.page, f"/s/{world.token}", f"/api/v1/links/{world.token}"):
        told.append(await browser.get(address))
        assert told[-1].status_code == 410, address
    for answer in told:
        assert_nothing_planted(world.world, str(answer.request.url), answer)
