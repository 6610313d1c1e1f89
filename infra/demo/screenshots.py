"""Takes the pictures of docs/images from the demo's stack: `make screenshots`, after `make demo KEEP=1`."""

from __future__ import annotations

import json
from typing import Literal

import httpx
from demo import DATA, EXAMPLE, ROOT, Demo
from playwright.sync_api import Browser, FilePayload, Page, sync_playwright

IMAGES = ROOT / "docs" / "images"
ARGUMENTS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
SIZES = {"desktop": (1280, 900), "phone": (390, 844)}
MODEL = "owner/digits"
OWNER_PAGES = {
    "overview": "/",
    "model": f"/models/{MODEL}",
    "links": "/links",
    "runners": "/operator/runners",
}


def opened(browser: Browser, size: str, scheme: str) -> Page:
    """Return a page of that size and colour scheme."""
    width, height = SIZES[size]
    dark: Literal["dark", "light"] = "dark" if scheme == "dark" else "light"
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=dark)
    return context.new_page()


def showcase(browser: Browser, link: str, size: str, scheme: str) -> None:
    """Run the first sample as a reviewer does, and keep the page with its result."""
    page = opened(browser, size, scheme)
    page.goto(link)
    page.set_input_files(".run-form input[type=file]", str(EXAMPLE / "samples" / "three.png"))
    page.click(".run-button")
    page.wait_for_selector("text=Answered in", timeout=60_000)
    page.wait_for_timeout(500)
    page.screenshot(path=IMAGES / f"showcase-{size}-{scheme}.png", full_page=size == "desktop")
    page.context.close()


def claimed(browser: Browser, link: str) -> None:
    """Keep what a reviewer sees of the claims, which the demo has had checked."""
    page = opened(browser, "desktop", "light")
    page.goto(link)
    page.locator("#claims").screenshot(path=IMAGES / "claims-desktop-light.png")
    page.context.close()


def owner_pages(browser: Browser, url: str) -> None:
    """Log in and keep what an owner, who operates the instance as well, looks at."""
    account = json.loads((DATA / "account.json").read_text())
    page = opened(browser, "desktop", "light")
    page.goto(f"{url}/login")
    page.fill("input[name=email]", account["email"])
    page.fill("input[name=password]", account["password"])
    with page.expect_navigation():
        page.keyboard.press("Enter")
    for name, path in OWNER_PAGES.items():
        page.goto(f"{url}{path}")
        page.screenshot(path=IMAGES / f"{name}-desktop-light.png", full_page=True)
    page.context.close()


def verified(browser: Browser, url: str, link: str) -> None:
    """Keep what the page says of a receipt that a reviewer took along."""
    base, token = link.rsplit("/s/", 1)
    files = {"input.image": ("three.png", (EXAMPLE / "samples" / "three.png").read_bytes(), "image/png")}
    place = f"{base}/api/v1/links/{token}/runs"
    run = httpx.post(place, files=files, headers={"Prefer": "wait=60"}, timeout=90).raise_for_status().json()
    visitor = {"X-Vitrine-Visitor": run["visitor"]}
    receipt = httpx.get(f"{place}/{run['id']}/receipt", headers=visitor).raise_for_status().content
    for size, scheme in (("desktop", "light"), ("phone", "dark")):
        page = opened(browser, size, scheme)
        page.goto(f"{url}/verify")
        file: FilePayload = {"name": "receipt.json", "mimeType": "application/json", "buffer": receipt}
        page.set_input_files("#receipt-file", file)
        with page.expect_navigation():
            page.click("form[action='/verify'] button.primary")
        page.screenshot(path=IMAGES / f"verify-{size}-{scheme}.png", full_page=size == "desktop")
        page.context.close()


def main() -> None:
    """Take every picture."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    demo = Demo(0)
    state = demo.state()
    link = demo.vitrine("share", MODEL, "--expires", "14d")["url"]
    demo.vitrine("share", MODEL, "--blind", "--recipient", "Reviewer 1", "--recipient", "Reviewer 2")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=ARGUMENTS)
        for size, scheme in (("desktop", "light"), ("desktop", "dark"), ("phone", "dark")):
            showcase(browser, link, size, scheme)
        claimed(browser, link)
        verified(browser, state["url"], link)
        owner_pages(browser, state["url"])
        browser.close()


if __name__ == "__main__":
    main()
