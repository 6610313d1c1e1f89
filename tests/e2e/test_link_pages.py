"""Links in a real browser: doors, frames of other sites, open pages whose link ends, the owner's pages."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from playwright.async_api import Browser, expect

from api_instance import Account, Instance, api
from browsers import DESKTOP, PHONE, chromium, visit
from mail_desk import mail_to
from vitrine_api.qr import embed_html

__all__ = ["api"]

VIEWPORTS = pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as started:
        yield started


@pytest.fixture(scope="module")
async def someone(api: Instance) -> Account:
    return await api.account()


@pytest.fixture(scope="module")
async def reference(api: Instance, someone: Account) -> str:
    return str((await api.ready(someone, name="pages"))["reference"])


@VIEWPORTS
async def test_a_passcode_opens_the_door(
    browser: Browser, api: Instance, someone: Account, reference: str, viewport: dict[str, int]
) -> None:
    link = await someone.share(reference, passcode="open sesame")
    async with visit(browser, api.url, viewport=viewport) as reviewer:
        page = await reviewer.context.new_page()
        await page.goto(link["url"])
        await expect(page.locator("h1")).to_have_text("This link is locked")
        await page.get_by_label("Passcode").fill("sesame")
        await page.get_by_role("button", name="Open").click()
        await expect(page.get_by_role("alert")).to_contain_text("not the passcode")
        await page.get_by_label("Passcode").fill("open sesame")
        await page.keyboard.press("Enter")
        await expect(page.locator("h1")).to_have_text("pages")
        await expect(page.locator(".run-button")).to_be_visible()


async def test_a_code_from_the_mail_opens_the_door(
    browser: Browser, api: Instance, someone: Account, reference: str
) -> None:
    link = await someone.share(reference, emails=["reader@example.org"])
    async with visit(browser, api.url) as reviewer:
        page = await reviewer.context.new_page()
        await page.goto(link["url"])
        await page.get_by_label("Your e-mail address").fill("reader@example.org")
        await page.get_by_role("button", name="Send me a code").click()
        await expect(page.locator("form strong")).to_have_text("reader@example.org")
        text = await asyncio.wait_for(mail_to(api.services.settings.mail_dir, "reader@example.org"), 30)
        found = re.search(r"\d{4} \d{4}", text)
        assert found
        await page.get_by_label("Code").fill(found[0])
        await page.get_by_role("button", name="Open").click()
        await expect(page.locator("h1")).to_have_text("pages")


async def test_an_open_page_shows_that_its_link_was_withdrawn(
    browser: Browser, api: Instance, someone: Account, reference: str
) -> None:
    link = await someone.share(reference)
    async with visit(browser, api.url) as reviewer:
        page = await reviewer.context.new_page()
        async with page.expect_response(lambda answer: answer.url.endswith("/watch")):
            await page.goto(link["url"])
        await expect(page.locator(".run-button")).to_be_visible()
        assert (await someone.client.delete(f"/api/v1/links/{link['id']}")).status_code == 204
        await expect(page.locator("h1")).to_have_text("This link was withdrawn")
        await expect(page.locator(".run-button")).to_have_count(0)


@contextmanager
def another_site(html: dict[str, str]) -> Iterator[str]:
    """A site of another origin whose front page is `html["page"]`."""

    class Site(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(html["page"].encode())

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


async def test_a_link_works_in_a_frame_of_the_site_that_it_names_alone(
    browser: Browser, api: Instance, someone: Account, reference: str
) -> None:
    html = {"page": ""}
    with another_site(html) as named, another_site(html) as stranger:
        link = await someone.share(reference, embed=[named])
        html["page"] = f"<!doctype html><title>Site</title>{embed_html(link['embed_url'], 'pages')}"
        context = await browser.new_context()
        page = await context.new_page()
        await page.goto(stranger)
        await expect(page.locator("iframe")).to_be_visible()
        await expect(page.frame_locator("iframe").locator("h1", has_text="pages")).to_have_count(0)
        await page.goto(named)
        frame = page.frame_locator("iframe")
        await expect(frame.locator("h1")).to_have_text("pages")
        await expect(frame.locator("header.bar")).to_have_count(0)
        await frame.locator("textarea, input[type=text]").first.fill("from a frame")
        await frame.get_by_role("button", name="Run").click()
        await expect(frame.locator("#result [data-run-state=queued]")).to_be_visible()
        await expect(frame.locator("#history [data-history-run]")).to_have_count(1)
        run_id = await frame.locator("#result [data-run-id]").get_attribute("data-run-id")
        await api.finish(str(run_id))
        assert await context.cookies() == []
        await someone.client.delete(f"/api/v1/links/{link['id']}")
        await expect(frame.locator("h1")).to_have_text("This link was withdrawn")
        await context.close()


@VIEWPORTS
async def test_the_owner_makes_alters_and_revokes_links(
    browser: Browser, api: Instance, someone: Account, reference: str, viewport: dict[str, int]
) -> None:
    user = await api.services.repository.accounts.users.get(someone.id)
    session = await api.services.sessions.open(user)
    async with visit(browser, api.url, viewport=viewport) as owner:
        await owner.context.add_cookies([{"name": "vitrine_session", "value": session, "url": api.url}])
        page = await owner.page(f"{api.url}/links")
        await expect(page.locator("#link-passcode")).to_be_hidden()
        await page.locator("input[value=restricted]").check()
        await expect(page.locator("#link-passcode")).to_be_visible()
        await page.get_by_label("Blind: reviewers").check()
        await page.get_by_text("More: several recipients").click()
        name = f"Reviewer {viewport['width']}"
        await page.get_by_label("Recipients").fill(f"{name}\nAnother {viewport['width']}")
        await page.get_by_label("Most runs in an hour").fill("20/h")
        await page.get_by_role("button", name="Make the link").click()
        await expect(page.locator(".new-link")).to_have_count(2)
        await expect(page.locator("#new-code-1")).to_have_text(re.compile(r"\w{4}-\w{4}-\w{4}"))
        await page.locator(".new-qr summary").first.click()
        await expect(page.locator("svg.qr").first).to_be_visible()
        assert await _overflow(page) <= 0
        await page.get_by_label("Model, name or recipient").fill(name)
        await page.get_by_role("button", name="Filter").click()
        await expect(page.locator("table.list tbody tr")).to_have_count(1)
        await page.get_by_role("link", name=name).click()
        await expect(page.locator("h1")).to_have_text(name)
        await page.get_by_label("Paused").check()
        await page.get_by_role("button", name="Save").click()
        await expect(page.locator(".head [data-state=paused]")).to_be_visible()
        assert await _overflow(page) <= 0
        page.on("dialog", lambda asked: asyncio.ensure_future(asked.accept()))
        await page.get_by_role("button", name="Revoke").click()
        await expect(page.locator("h1")).to_have_text("Links")


async def _overflow(page: Any) -> int:
    wide: int = await page.evaluate(
        "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )
    return wide
