"""The pages in a real browser: what a reviewer and an owner see and do, on a desktop and on a phone."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect

from browsers import DESKTOP, PHONE, chromium, visit
from shared_digits import Digits, Drawn
from stack_desk import StackDesk

# The first test to come also waits for the stack and the training, on a machine that may be busy.
pytestmark = pytest.mark.timeout(600)
VIEWPORTS = pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def certain(stack: StackDesk, digits: Digits, heldout: list[Drawn]) -> Drawn:
    """A held-out digit that the model reads right."""
    for drawn in heldout:
        run = stack.run(digits.version["reference"], image=drawn.file)
        if run["outputs"][0]["value"]["label"] == drawn.label:
            return drawn
    raise AssertionError("no digit is read right")


async def shows(page: Page, label: str) -> None:
    """Wait for a result that is `label` with ten bars, the highest first."""
    await expect(page.locator("#result [data-run-state=succeeded]")).to_be_visible()
    await expect(page.locator("#result [data-output=digit] .big-label")).to_have_text(label)
    rows = page.locator("#result [data-output=probabilities] tbody tr")
    await expect(rows).to_have_count(10)
    await expect(rows.first.locator("th")).to_have_text(label)


async def overflow(page: Page) -> int:
    """Return by how many pixels the page is wider than the window."""
    wide: int = await page.evaluate(
        "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )
    return wide


@VIEWPORTS
async def test_upload_run_and_history(
    browser: Browser, stack: StackDesk, digits: Digits, certain: Drawn, viewport: dict[str, int]
) -> None:
    url = digits.link["url"]
    async with visit(browser, stack.url, viewport=viewport) as reviewer:
        page = await reviewer.page(url)
        await expect(page.locator("h1")).to_have_text(digits.version["model"])
        await expect(page.locator("#history [data-history-run]")).to_have_count(0)
        await page.locator(".run-form input[type=file]").first.set_input_files(certain.file)
        await expect(page.locator("[data-preview]")).to_be_visible()
        # Every state that the page goes through is kept: it must change by itself, without a reload.
        await page.evaluate(
            """() => {
                window.seen = [];
                new MutationObserver(() => {
                    const state = document.querySelector("#result [data-run-state]")?.dataset.runState;
                    if (state && window.seen.at(-1) !== state) window.seen.push(state);
                }).observe(document.querySelector("#result"), {subtree: true, childList: true});
            }"""
        )
        await page.get_by_role("button", name="Run").click()
        await shows(page, certain.label)
        seen = await page.evaluate("window.seen")
        assert seen[-1] == "succeeded"
        assert len(seen) >= 2, f"the states before the end were not shown: {seen}"
        await expect(page.locator("#history [data-history-run]")).to_have_count(1)
        assert await overflow(page) <= 0
        await page.reload()
        await expect(page.locator("#history [data-history-run]")).to_have_count(1)
        await page.locator("#history a").first.click()
        await expect(page.locator("[data-output=digit] .big-label")).to_have_text(certain.label)
    async with visit(browser, stack.url, viewport=viewport) as other:
        page = await other.page(url)
        await expect(page.locator(".run-button")).to_be_visible()
        await expect(page.locator("#history [data-history-run]")).to_have_count(0)


async def test_an_example_is_clicked(browser: Browser, stack: StackDesk, digits: Digits) -> None:
    async with visit(browser, stack.url) as reviewer:
        page = await reviewer.page(digits.link["url"])
        await page.locator("label", has=page.locator("img[alt='two.png']")).click()
        await page.get_by_role("button", name="Run").click()
        await shows(page, "2")


async def test_keyboard_only(browser: Browser, stack: StackDesk, digits: Digits) -> None:
    async with visit(browser, stack.url) as reviewer:
        page = await reviewer.page(digits.link["url"])

        async def tab_to(selector: str) -> None:
            for _ in range(40):
                await page.keyboard.press("Tab")
                if await page.evaluate(f"document.activeElement.matches({selector!r})"):
                    return
            raise AssertionError(f"the keyboard does not reach {selector}")

        await tab_to("a.skip")
        await tab_to("input[type=file]")
        await tab_to("input[type=radio]")
        await page.keyboard.press("Space")
        await tab_to("button.run-button")
        outline = await page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none", "the focus can be seen"
        await page.keyboard.press("Enter")
        await shows(page, "2")


async def test_without_javascript(browser: Browser, stack: StackDesk, digits: Digits, certain: Drawn) -> None:
    async with visit(browser, stack.url, java_script_enabled=False) as reviewer:
        page = await reviewer.page(digits.link["url"])
        await page.locator(".run-form input[type=file]").first.set_input_files(certain.file)
        await page.locator(".run-button").click()
        await page.wait_for_url(re.compile(r"/s/[^/]+/runs/run_"))
        done = page.locator("[data-run-state=succeeded]")
        while not await done.count():
            await page.reload()
        await expect(page.locator("[data-output=digit] .big-label")).to_have_text(certain.label)


async def test_what_is_wrong_is_said_at_the_field(
    browser: Browser, stack: StackDesk, digits: Digits, tmp_path: Path
) -> None:
    (tmp_path / "digit.png").write_bytes(b"this is no picture")
    async with visit(browser, stack.url, java_script_enabled=False) as reviewer:
        page = await reviewer.page(digits.link["url"])
        await page.locator(".run-form input[type=file]").first.set_input_files(tmp_path / "digit.png")
        await page.locator(".run-button").click()
        await expect(page.locator("[data-error-of=image]")).to_contain_text("image")
        # The browser itself reports the status of a refused form; that is what was provoked here.
        reviewer.wrong = [said for said in reviewer.wrong if "422" not in said]


async def log_in(page: Page, stack: StackDesk) -> None:
    await page.get_by_label("E-mail or user name").fill(stack.email)
    await page.get_by_label("Password").fill(stack.password)
    await page.get_by_role("button", name="Log in").click()
    await expect(page.locator("h1")).to_have_text("Overview")


@VIEWPORTS
async def test_owner_pages(
    browser: Browser, stack: StackDesk, digits: Digits, certain: Drawn, viewport: dict[str, int]
) -> None:
    owner, name, number = re.split("[/@]", digits.version["reference"])
    places = {
        "/": digits.version["reference"].partition("@")[0],
        f"/models/{owner}/{name}": f"{number}",
        f"/models/{owner}/{name}/versions/{number}": digits.version["digest"],
        "/links": "for reviewers",
        "/runs": name,
        "/trials": name,
        f"/trials/{digits.trial['id']}": "accuracy",
        "/settings": stack.email,
    }
    async with visit(browser, stack.url, viewport=viewport, color_scheme="dark") as person:
        page = await person.page(f"{stack.url}/login")
        await log_in(page, stack)
        for path, text in places.items():
            await page.goto(f"{stack.url}{path}")
            await expect(page.locator("main")).to_contain_text(text)
            assert await overflow(page) <= 0, f"{path} is wider than the window"


async def test_a_link_is_made_copied_opened_and_revoked(
    browser: Browser, stack: StackDesk, digits: Digits
) -> None:
    async with visit(browser, stack.url, permissions=["clipboard-read", "clipboard-write"]) as person:
        page = await person.page(f"{stack.url}/login")
        await log_in(page, stack)
        await page.goto(f"{stack.url}/links")
        await page.get_by_label("Version").select_option(label=digits.version["reference"])
        await page.locator("#link-label").fill("withdrawn soon")
        await page.get_by_role("button", name="Make the link").click()
        url = (await page.locator("#new-link-1").inner_text()).strip()
        await page.locator(".secret").get_by_role("button", name=re.compile("Copy")).click()
        assert await page.evaluate("navigator.clipboard.readText()") == url
        await page.goto(f"{stack.url}/links")
        await expect(page.locator("#new-link-1")).to_have_count(0)
        assert url not in await page.content(), "the address is shown once"
        async with visit(browser, stack.url) as reviewer:
            opened = await reviewer.page(url)
            await expect(opened.locator(".run-button")).to_be_visible()
            page.on("dialog", lambda dialog: dialog.accept())
            row = page.locator("tr", has_text="withdrawn soon")
            await row.get_by_role("button", name=re.compile("Revoke")).click()
            await expect(row).to_contain_text(re.compile("revoked|withdrawn", re.IGNORECASE))
            # The open page tells it by itself, and so does the address.
            await expect(opened.locator("h1")).to_have_text("This link was withdrawn")
            await opened.goto(url)
            await expect(opened.locator("h1")).to_have_text("This link was withdrawn")
            reviewer.wrong = [said for said in reviewer.wrong if "410" not in said]


async def test_light_and_dark(browser: Browser, stack: StackDesk, digits: Digits) -> None:
    grounds: list[int] = []
    for scheme in ("light", "dark"):
        async with visit(browser, stack.url, color_scheme=scheme) as reviewer:
            page = await reviewer.page(digits.link["url"])
            colours: list[Any] = await page.evaluate(
                "['backgroundColor', 'color'].map(name => getComputedStyle(document.body)[name])"
            )
            ground, ink = (sum(map(int, re.findall(r"\d+", colour)[:3])) for colour in colours)
            assert abs(ground - ink) > 300, f"{scheme}: {colours} cannot be read"
            grounds.append(ground)
    assert grounds[0] > 500, grounds
    assert grounds[1] < 250, grounds


async def test_an_unknown_link_says_so(browser: Browser, stack: StackDesk) -> None:
    async with visit(browser, stack.url) as reviewer:
        page = await reviewer.page(f"{stack.url}/s/AAAAAAAAAAAAAAAAAAAAAA")
        await expect(page.locator("h1")).to_have_text("No such link")
        reviewer.wrong = [said for said in reviewer.wrong if "404" not in said]
