"""A venue in a real browser: the chair makes it, an author submits, a reviewer tries and says, the end."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, BrowserContext, Page, expect

from api_instance import Account, Instance, api
from browsers import DESKTOP, PHONE, chromium, visit
from venues_on_api import chair, pass_deadline
from vitrine_api.dependencies import SESSION_COOKIE
from vitrine_common.clock import utcnow
from vitrine_common.documents import RunRequest, User, VenueReview

__all__ = ["api"]

SHOTS = os.environ.get("VITRINE_TEST_SHOTS", "")
"""A folder for screenshots, for whoever wants to look."""


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as started:
        yield started


async def log_in(context: BrowserContext, api: Instance, account: Account) -> None:
    user = await api.platform.database.collection(User).get(account.id)
    session = await api.services.sessions.open(user)
    await context.add_cookies([{"name": SESSION_COOKIE, "value": session, "url": api.url}])


async def shoot(page: Page, name: str) -> None:
    if SHOTS:
        for scheme in ("light", "dark"):
            await page.emulate_media(color_scheme=scheme)
            await page.screenshot(path=Path(SHOTS) / f"{name}-{scheme}.png", full_page=True)
    assert await page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), name


@pytest.mark.parametrize(
    ("name", "viewport", "scripts"),
    [("desktop", DESKTOP, True), ("phone", PHONE, True), ("plain", DESKTOP, False)],
    ids=["desktop", "phone", "without-scripts"],
)
async def test_from_the_call_to_unblinding(
    browser: Browser, api: Instance, name: str, viewport: dict[str, int], scripts: bool
) -> None:
    host, author = await chair(api), await api.account()
    version = await api.ready(author, name="net")
    options: dict[str, Any] = {"viewport": viewport, "java_script_enabled": scripts}

    async with visit(browser, api.url, **options) as chairs:
        await log_in(chairs.context, api, host)
        page = await chairs.page(f"{api.url}/venues")
        page.on("dialog", lambda dialog: asyncio.ensure_future(dialog.accept()))
        await page.get_by_label("Name", exact=True).fill("ReproConf 2027")
        await page.get_by_label("Deadline").fill("2099-12-01T23:59:59")
        await page.get_by_label("Time zone").fill("Europe/Berlin")
        await shoot(page, f"{name}-make")
        await page.get_by_role("button", name="Make the venue").click()
        await expect(page.locator("h1")).to_have_text("ReproConf 2027")
        call = await page.locator("#submit-url").inner_text()
        venue_id = page.url.rpartition("/")[2]

        async with visit(browser, api.url, **options) as authors:
            await log_in(authors.context, api, author)
            await _submit(await authors.page(call), name, version["reference"])

            await page.reload()
            await page.get_by_label("Names and addresses").fill("Eva Wong <eva@uni.example>")
            await page.get_by_role("button", name="Add and mail them").click()
            await page.get_by_label("Reviewers for each submission").fill("1")
            await page.get_by_role("button", name="Assign", exact=True).click()
            await expect(page.get_by_text("0 of 1 finished")).to_be_visible()
            reviewers_page = await page.locator("#page-1").inner_text()
            async with visit(browser, api.url, **options) as reviewers:
                await _review(api, await reviewers.page(reviewers_page), name, author, scripts=scripts)
                await _end(api, page, name, venue_id)
                again = await reviewers.page(reviewers_page)
                await expect(again.get_by_text(f"by {author.name}")).to_be_visible()
                await shoot(again, f"{name}-reviewer-end")
            mine = await authors.page(call)
            await expect(mine.locator(".big-number")).to_have_text("Accept")
            await mine.get_by_text("Review 1").click()
            await expect(mine.get_by_text("Works as described")).to_be_visible()
            assert "Eva Wong" not in await mine.content()
            await shoot(mine, f"{name}-author-end")


async def _submit(page: Page, name: str, reference: str) -> None:
    await page.get_by_label("Version").select_option(reference)
    await page.get_by_label("Paper id").fill("P-17")
    await page.get_by_label("Title").fill("Networks that say it again")
    await shoot(page, f"{name}-call")
    await page.get_by_role("button", name="Submit", exact=True).click()
    await expect(page.get_by_role("heading", name="Networks that say it again")).to_be_visible()


async def _review(api: Instance, page: Page, name: str, author: Account, *, scripts: bool) -> None:
    assert author.name not in await page.content()
    address = page.url
    await page.get_by_role("link", name="Try it").click()
    await expect(page.locator("h1")).to_contain_text("Model ")
    assert author.name not in await page.content()
    await page.locator("textarea, input[type=text]").first.fill("from a reviewer")
    await page.locator(".run-button").click()
    await expect(page.locator("[data-run-id]").first).to_be_visible()
    run_id = await page.locator("[data-run-id]").first.get_attribute("data-run-id")
    assert (await api.platform.database.collection(RunRequest).get(str(run_id))).blind
    await api.finish(str(run_id))
    await page.goto(address)
    card = page.locator("article.task")
    question = card.get_by_role("group", name="Documented well enough to use")
    await question.get_by_label("Partly").check()
    await card.get_by_label("For the chair").fill("Works as described")
    await card.get_by_label("Your own notes").fill("to myself")
    if scripts:
        await expect(card.get_by_role("status")).to_contain_text("Saved at")
        reviews = api.platform.database.collection(VenueReview)
        review_id = str(await card.get_attribute("id"))
        while (await reviews.get(review_id)).notes != "to myself":
            await asyncio.sleep(0.05)
        await page.reload()
        await expect(card.get_by_label("Your own notes")).to_have_value("to myself")
    await card.get_by_label("Accept", exact=True).check()
    await shoot(page, f"{name}-reviewer")
    await card.get_by_role("button", name="Finish this review").click()
    await expect(page.get_by_text("1 of 1 finished")).to_be_visible()
    await expect(card.get_by_label("For the chair")).to_have_value("Works as described")


async def _end(api: Instance, page: Page, name: str, venue_id: str) -> None:
    await page.reload()
    await page.get_by_role("button", name="Check all").click()
    probes = api.services.venues.probes
    while not (found := await api.services.venues.repository.probes_of(venue_id)) or not found[0].work_id:
        await probes.feed()
    await api.finish(found[0].work_id)
    await probes.feed()
    await page.reload()
    await expect(page.get_by_text("runs", exact=True)).to_be_visible()
    await expect(page.get_by_text("1 partly")).to_be_visible()
    await shoot(page, f"{name}-venue")
    await page.get_by_role("link", name="1. Networks that say it again").click()
    await expect(page.get_by_text("Works as described")).to_be_visible()
    assert "to myself" not in await page.content()
    await page.get_by_label("Accept", exact=True).check()
    await shoot(page, f"{name}-submission")
    await page.get_by_role("button", name="Save the decision").click()
    await page.get_by_role("link", name="ReproConf 2027").click()
    await pass_deadline(api, venue_id)
    await page.get_by_label("Let authors read every finished review").check()
    await page.get_by_role("button", name="Publish").click()
    await expect(page.get_by_text("Decided")).to_be_visible()
    await page.get_by_role("button", name="Un-blind").click()
    await expect(page.get_by_text("un-blinded")).to_be_visible()
    async with page.expect_download() as started:
        await page.get_by_role("link", name="CSV").click()
    text = Path(await (await started.value).path()).read_text("utf-8-sig")
    assert text.splitlines()[1].startswith("1,P-17,Networks that say it again,u-")
    assert str(utcnow().year) not in text.splitlines()[0]
