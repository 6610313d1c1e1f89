"""Every page of the gallery: nothing serious that axe finds, nothing on the console, none too wide.

On a desk in light and on a phone in the dark; with `VITRINE_EVERY_LOOK=1` in both colours on both, of
which the second look asks for contrast only: nothing else differs.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from axe_playwright_python.async_playwright import Axe  # type: ignore[import-untyped]
from playwright.async_api import Browser, ConsoleMessage, Page, ViewportSize

from browsers import chromium
from e2e.gallery import served, write_pages
from view_samples import SAMPLES

SERIOUS = frozenset({"serious", "critical"})
EVERY_LOOK = os.environ.get("VITRINE_EVERY_LOOK") == "1"
PARTS = 6
DESK = ViewportSize(width=1280, height=900)
PHONE = ViewportSize(width=390, height=844)
CONTRAST = {"runOnly": ["color-contrast"], "resultTypes": ["violations"]}
SETTLED = """async () => {
    const frame = () => new Promise(done => requestAnimationFrame(() => setTimeout(done)));
    await document.fonts.ready;
    // What inherits a colour changes a frame after what it inherits from.
    for (let still = 0; still < 3; still++) {
        await frame();
        const moving = document.getAnimations().filter(one => one instanceof CSSTransition);
        if (moving.length) still = -1;
        await Promise.allSettled(moving.map(one => one.finished));
    }
}"""
"""Once the colours of another scheme are there, and nothing moves because a font arrives."""
ALL = {"resultTypes": ["violations"]}


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("gallery")
    write_pages(folder)
    with served(folder) as address:
        yield address


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as started:
        yield started


async def found_by_axe(page: Page, options: dict[str, Any]) -> list[str]:
    """Return what axe calls serious or critical, each with where it is and what is wrong there."""
    results = await Axe().run(page, options=options)
    return [
        f"{one['id']} ({one['impact']}): {[(node['html'][:160], reasons(node)) for node in one['nodes'][:3]]}"
        for one in results.response["violations"]
        if one["impact"] in SERIOUS
    ]


def reasons(node: dict[str, Any]) -> list[str]:
    """Return why a node fails: colours and ratio where it is contrast."""
    return [check["message"] for kind in ("any", "all", "none") for check in node[kind]]


@pytest.mark.parametrize("part", range(PARTS))
async def test_no_page_has_a_serious_fault(browser: Browser, gallery: str, part: int) -> None:
    faults: list[str] = []
    context = await browser.new_context()
    page = await context.new_page()
    said: list[ConsoleMessage] = []
    page.on("console", lambda message: said.append(message))  # noqa: PLW0108 - Playwright marks handlers
    for name in list(SAMPLES)[part::PARTS]:
        said.clear()
        await page.set_viewport_size(DESK)
        await page.emulate_media(color_scheme="light", reduced_motion="reduce")
        await page.goto(f"{gallery}/{name}.html")
        faults += [f"{name}: {fault}" for fault in await looked_at(page)]
        # Event streams and sample files are not there.
        missing = ("404", "[object Event]")
        faults += [
            f"{name}: console: {one.text}"
            for one in said
            if one.type == "error" and not any(word in one.text for word in missing)
        ]
    await context.close()
    assert not faults, "\n".join(faults)


async def looked_at(page: Page) -> list[str]:
    """Return the faults of the page in both windows and both schemes."""
    faults = []
    for window, size in (("desk", DESK), ("phone", PHONE)):
        await page.set_viewport_size(size)
        excess = await page.evaluate("document.documentElement.scrollWidth - innerWidth")
        if excess > 0:
            faults.append(f"{window}: {excess} px too wide")
        first, second = ("light", "dark") if window == "desk" else ("dark", "light")
        looks = [(first, ALL), (second, CONTRAST)] if EVERY_LOOK else [(first, ALL)]
        for scheme, options in looks:
            await page.emulate_media(color_scheme="light" if scheme == "light" else "dark")
            await page.evaluate(SETTLED)
            faults += [f"{window}, {scheme}: {fault}" for fault in await found_by_axe(page, options)]
    return faults
