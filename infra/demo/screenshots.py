"""Takes the pictures of docs/images from the demo's stack: `make screenshots`, after `make demo KEEP=1`."""

from __future__ import annotations

import json
from typing import Literal

from demo import DATA, EXAMPLE, ROOT, Demo
from playwright.sync_api import Browser, Page, sync_playwright

IMAGES = ROOT / "docs" / "images"
ARGUMENTS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
SIZES = {"desktop": (1280, 900), "phone": (390, 844)}
MODEL = "owner/digits"


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


def owner_pages(browser: Browser, url: str) -> None:
    """Log in and keep the pages of a model and of its version."""
    account = json.loads((DATA / "account.json").read_text())
    page = opened(browser, "desktop", "light")
    page.goto(f"{url}/login")
    page.fill("input[name=email]", account["email"])
    page.fill("input[name=password]", account["password"])
    with page.expect_navigation():
        page.keyboard.press("Enter")
    page.goto(f"{url}/models/{MODEL}")
    page.screenshot(path=IMAGES / "model-desktop-light.png", full_page=True)
    page.context.close()


def main() -> None:
    """Take every picture."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    demo = Demo(0)
    state = demo.state()
    link = demo.vitrine("share", MODEL, "--expires", "14d")["url"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=ARGUMENTS)
        for size in SIZES:
            for scheme in ("light", "dark"):
                showcase(browser, link, size, scheme)
        owner_pages(browser, state["url"])
        browser.close()


if __name__ == "__main__":
    main()
