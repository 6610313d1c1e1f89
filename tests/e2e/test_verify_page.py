"""Checking a receipt in a browser: what is said of good, altered and foreign ones, without an account."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect

from api_instance import Instance, api
from browsers import DESKTOP, PHONE, chromium, visit
from receipt_samples import CONDITIONS, PICTURE
from vitrine_common.digests import sha256_bytes
from vitrine_common.documents import Output

__all__ = ["api"]

VIEWPORTS = pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
OUTPUT = Output(
    name="picture",
    type="image",
    digest=sha256_bytes(PICTURE),
    size=len(PICTURE),
    media_type="image/png",
    filename="out.png",
)


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as started:
        yield started


@pytest.fixture(scope="module")
async def ran(api: Instance) -> dict[str, Any]:
    """A visitor's run by a link, which has ended, and its receipt."""
    account = await api.account()
    version = await api.ready(account)
    link = await account.share(version["reference"])
    secret = secrets.token_urlsafe(16)
    visitor = api.client(headers={"X-Vitrine-Visitor": secret})
    base = f"/api/v1/links/{link['token']}/runs"
    run_id = (await visitor.post(base, json={"inputs": {}})).json()["id"]
    await api.platform.blobs.put_bytes(PICTURE)
    await api.finish(run_id, [OUTPUT], conditions=CONDITIONS)
    receipt = (await visitor.get(f"{base}/{run_id}/receipt")).content
    return {"token": link["token"], "visitor": secret, "run": run_id, "receipt": receipt}


async def fits(page: Page) -> bool:
    """Whether the page is no wider than its window."""
    return bool(await page.evaluate("document.documentElement.scrollWidth <= innerWidth"))


@VIEWPORTS
async def test_a_visitor_gets_and_checks_the_receipt_of_a_run(
    api: Instance, browser: Browser, ran: dict[str, Any], viewport: dict[str, int]
) -> None:
    async with visit(browser, api.url, viewport=viewport) as visitor:
        cookie = {"name": "vitrine_visitor", "value": ran["visitor"], "url": f"{api.url}/s/{ran['token']}"}
        await visitor.context.add_cookies([cookie])  # type: ignore[list-item]
        page = await visitor.page(f"{api.url}/s/{ran['token']}/runs/{ran['run']}")
        line = page.locator("[data-receipt]")
        async with page.expect_download() as downloading:
            await line.get_by_role("link", name="download").click()
        saved = await (await downloading.value).path()
        assert Path(saved).read_bytes() == ran["receipt"]
        await line.get_by_role("link", name="verify").click()
        await expect(page.locator("[data-valid=true]")).to_contain_text("The receipt holds")
        await expect(page.locator("[data-named=output]")).to_contain_text(sha256_bytes(PICTURE))
        assert await fits(page)
        await page.get_by_role("link", name="The run").click()
        await expect(line).to_be_visible()


@VIEWPORTS
async def test_anybody_checks_a_receipt_and_compares_a_file(
    api: Instance, browser: Browser, ran: dict[str, Any], viewport: dict[str, int], tmp_path: Path
) -> None:
    """On the phone without scripts."""
    receipt, mine, other = (tmp_path / name for name in ("receipt.json", "mine.png", "other.png"))
    receipt.write_bytes(ran["receipt"])
    mine.write_bytes(PICTURE)
    other.write_bytes(b"another picture")
    async with visit(browser, api.url, viewport=viewport, java_script_enabled=viewport == DESKTOP) as nobody:
        page = await nobody.page(f"{api.url}/verify")
        await page.locator("#receipt-file").set_input_files(receipt)
        await page.locator("#output").set_input_files(mine)
        await page.get_by_role("button", name="Check it").click()
        await expect(page.locator("[data-valid=true]")).to_be_visible()
        await expect(page.locator("[data-file-matches=true]")).to_contain_text("byte for byte")
        await page.locator("#receipt").fill(ran["receipt"].decode() + "\n")
        await page.locator("#output").set_input_files(other)
        await page.get_by_role("button", name="Check it").click()
        await expect(page.locator("[data-valid=true]")).to_be_visible()
        await expect(page.locator("[data-file-matches=false]")).to_contain_text("none of those")


async def test_what_does_not_hold_is_said_to_prove_nothing(
    api: Instance, browser: Browser, ran: dict[str, Any]
) -> None:
    good = ran["receipt"].decode()
    altered = good.replace('"sig":"', '"sig":"A', 1)
    foreign = good.replace('"keyid":"sha256:', '"keyid":"sha256:0', 1)
    cases = ((altered, "not a receipt"), (foreign, "did not sign it"), ("", "nothing to check"))
    async with visit(browser, api.url) as nobody:
        page = await nobody.page(f"{api.url}/verify")
        for text, words in cases:
            nobody.wrong.clear()  # the answer is 422, which Chromium notes on the console
            await page.locator("#receipt").fill(text)
            await page.get_by_role("button", name="Check it").click()
            finding = page.locator("[data-valid=false]")
            await expect(finding).to_contain_text("proves nothing")
            await expect(finding).to_contain_text(words)
        nobody.wrong.clear()
