"""Headless Chromium for tests: what a page says on its console, asks for and fails to get is kept."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from playwright.async_api import Browser, BrowserContext, Page, Request, async_playwright

CHROMIUM = "/usr/bin/chromium"
# As root Chromium has no sandbox of its own; the rest keeps it from talking to anybody but the page's server.
_FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"),
)
DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}


@asynccontextmanager
async def chromium(*flags: str) -> AsyncIterator[Browser]:
    """Start a browser, with further flags if need be."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=[*_FLAGS, *flags])
        try:
            yield browser
        finally:
            await browser.close()


@dataclass
class Watched:
    """A browser context, and what went wrong in it."""

    context: BrowserContext
    host: str
    wrong: list[str] = field(default_factory=list)

    async def page(self, url: str) -> Page:
        """Open a page and watch it."""
        page = await self.context.new_page()
        page.on("console", lambda said: self._note("console", said.text, said.type in {"error", "warning"}))
        page.on("pageerror", lambda error: self._note("script", str(error)))
        page.on("requestfailed", self._failed)
        page.on("request", lambda asked: self._note("host", asked.url, self._is_foreign(asked.url)))
        page.on("response", lambda answer: self._note("status", answer.url, answer.status >= 500))
        await page.goto(url)
        return page

    def _note(self, kind: str, text: str, wrong: bool = True) -> None:
        if wrong:
            self.wrong.append(f"{kind}: {text}")

    def _is_foreign(self, url: str) -> bool:
        return urlsplit(url).scheme not in {"data", "blob"} and urlsplit(url).netloc != self.host

    def _failed(self, request: Request) -> None:
        # Leaving a page, or its end, breaks off its event stream: that is no failure.
        if request.failure != "net::ERR_ABORTED":
            self.wrong.append(f"request: {request.url}: {request.failure}")


@asynccontextmanager
async def visit(browser: Browser, url: str, **options: Any) -> AsyncIterator[Watched]:
    """Give a fresh context for the server at `url`; fails at the end when anything went wrong in it."""
    chosen: Mapping[str, Any] = {"viewport": DESKTOP, **options}
    context = await browser.new_context(**chosen)
    context.set_default_timeout(30_000)
    watched = Watched(context, urlsplit(url).netloc)
    try:
        yield watched
    finally:
        await context.close()
    assert not watched.wrong, watched.wrong
