"""The pages' own scripts in a real browser: examples, files, live runs, refused fields, no scripts at all.

Behind the pages stands a small server with the product's views and policy; the whole product is opened by
the end-to-end tests of the stack.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from email.parser import BytesParser
from email.policy import HTTP
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Dialog, Page, async_playwright

from e2e.gallery import Pages, served, write_pages
from view_samples import FRAGMENTS
from view_samples.visitor import ANONYMOUS, DONE, HISTORY, QUEUED
from vitrine_api.views import RunPage, RunPanel, RunProgress, RunStatus, render


@dataclass
class Desk:
    """What the server was sent, and what it answers next."""

    posted: list[dict[str, str]] = field(default_factory=list)
    refuse: bool = False
    breaks: int = 0
    """How many event streams break off after their first event."""
    finish: threading.Event = field(default_factory=threading.Event)


class Showcase(Pages):
    """The gallery's pages, and a run that can be started and watched."""

    def __init__(self, *args: Any, desk: Desk, **more: Any) -> None:
        self.desk = desk
        super().__init__(*args, **more)

    def do_POST(self) -> None:  # noqa: N802 - the standard library chose the name
        body = self.rfile.read(int(self.headers["Content-Length"]))
        head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
        parts = BytesParser(policy=HTTP).parsebytes(head + body).iter_parts()
        named = {str(part.get_param("name", header="content-disposition")): part for part in parts}
        self.desk.posted.append(
            {name: part.get_filename() or str(part.get_content()) for name, part in named.items()}
        )
        if self.desk.refuse:
            self.answer(422, render(*FRAGMENTS["error-notice"]))
        elif self.headers["HX-Request"]:
            self.answer(200, render(RunPanel(run=QUEUED, history=HISTORY, runs_left=160), ANONYMOUS))
        else:
            self.answer(200, render(RunPage(run=QUEUED, model_title="Digits"), ANONYMOUS))

    def do_GET(self) -> None:  # noqa: N802 - the standard library chose the name
        if self.path.endswith("/watch"):
            self.send_response(204)  # nothing to tell, and no reason to ask again
            self.end_headers()
            return
        if not self.path.endswith("/events"):
            super().do_GET()
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        running = replace(QUEUED, state="running", progress=0.25)
        self.say("status", render(RunStatus(run=running), ANONYMOUS))
        if self.desk.breaks:
            self.desk.breaks -= 1
            return
        self.say("progress", render(RunProgress(run=replace(running, progress_text="Half way")), ANONYMOUS))
        self.desk.finish.wait(30)
        self.say("done", render(RunStatus(run=DONE), ANONYMOUS))

    def answer(self, status: int, html: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(html.encode())))
        self.end_headers()
        self.wfile.write(html.encode())

    def say(self, event: str, html: str) -> None:
        data = "".join(f"data: {line}\n" for line in html.splitlines())
        self.wfile.write(f"event: {event}\n{data}\n".encode())
        self.wfile.flush()


@contextmanager
def desk_served(folder: Path) -> Iterator[tuple[str, Desk]]:
    desk = Desk()
    with served(folder, pages=partial(Showcase, desk=desk)) as address:
        try:
            yield address, desk
        finally:
            desk.finish.set()


@pytest.fixture(scope="session")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gallery")
    write_pages(folder)
    return folder


@pytest.fixture
def site(gallery: Path) -> Iterator[tuple[str, Desk]]:
    with desk_served(gallery) as given:
        yield given


@pytest.fixture(scope="session")
async def chromium() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-background-networking"]
        )
        yield browser
        await browser.close()


@pytest.fixture
async def page(chromium: Browser) -> AsyncIterator[Page]:
    """A page on a phone's width; ends with a failure when something was said on its console."""
    context = await chromium.new_context(viewport={"width": 390, "height": 844})
    page = await context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    yield page
    await context.close()
    # `[object Event]` is how htmx reports a stream that broke off, which a test provokes.
    assert [text for text in said if "422" not in text and text != "[object Event]"] == []


async def test_example_runs_and_shows_its_result(page: Page, site: tuple[str, Desk]) -> None:
    address, desk = site
    await page.goto(f"{address}/showcase.html")
    await page.get_by_alt_text("digit-3.png").locator("..").locator("input").check()
    await page.locator("canvas[data-preview]").wait_for(state="visible")
    await page.get_by_role("button", name="Run the model").click()
    await page.get_by_text("Half way").wait_for()
    assert await page.locator("progress").get_attribute("value") == "0.25"
    assert await page.locator("#runs-left").text_content() == "160"
    desk.finish.set()
    await page.locator(".big-label").wait_for()
    assert await page.locator(".big-label").text_content() == "3"
    assert await page.locator(".scores tbody tr").count() == 10
    assert await page.locator(f'[data-history-run="{DONE.id}"] .chip').text_content() == "Done"
    assert "Digit: 3" in str(await page.locator("#announcer").text_content())
    assert desk.posted[0]["example.image"].strip() == "3"
    assert desk.posted[0]["csrf_token"] == ANONYMOUS.csrf_token


async def test_a_lost_connection_is_said_and_found_again(page: Page, site: tuple[str, Desk]) -> None:
    address, desk = site
    desk.breaks = 1
    await page.goto(f"{address}/showcase.html")
    await page.get_by_alt_text("digit-3.png").locator("..").locator("input").check()
    await page.evaluate(
        """() => {
            window.notes = [];
            const note = () => document.querySelector("#result [data-lost]")?.hidden;
            new MutationObserver(() => {
                if (note() !== undefined && window.notes.at(-1) !== note()) window.notes.push(note());
            }).observe(document.querySelector("#result"), {subtree: true, childList: true, attributes: true});
        }"""
    )
    await page.get_by_role("button", name="Run the model").click()
    await page.get_by_text("Half way").wait_for()
    await page.locator("#result [data-lost]").wait_for(state="hidden")
    assert await page.evaluate("window.notes") == [True, False, True], "unseen, shown, and gone again"
    desk.finish.set()
    await page.locator(".big-label").wait_for()


async def test_own_file_takes_the_place_of_an_example(
    page: Page, site: tuple[str, Desk], gallery: Path
) -> None:
    address, desk = site
    await page.goto(f"{address}/showcase.html")
    await page.get_by_alt_text("digit-1.png").locator("..").locator("input").check()
    await page.get_by_label("Digit", exact=True).set_input_files(gallery / "samples" / "digit-5.png")
    await page.get_by_text("digit-5.png,").wait_for()
    await page.get_by_role("button", name="Run the model").click()
    await page.get_by_text("Half way").wait_for()
    assert desk.posted[0]["input.image"] == "digit-5.png"
    assert "example.image" not in desk.posted[0]


async def test_nothing_is_sent_without_the_image(page: Page, site: tuple[str, Desk]) -> None:
    address, desk = site
    await page.goto(f"{address}/showcase.html")
    await page.get_by_role("button", name="Run the model").click()
    message = await page.get_by_label("Digit", exact=True).evaluate("field => field.validationMessage")
    assert message == "Choose a file, or take an example."
    assert desk.posted == []


async def test_refused_fields_are_marked(page: Page, site: tuple[str, Desk]) -> None:
    address, desk = site
    desk.refuse = True
    await page.goto(f"{address}/showcase.html")
    await page.get_by_alt_text("digit-1.png").locator("..").locator("input").check()
    await page.get_by_role("button", name="Run the model").click()
    problem = page.locator('[data-error-of="image"]')
    await problem.wait_for(state="visible")
    assert "give an image" in str(await problem.text_content())
    assert await page.get_by_label("Digit", exact=True).get_attribute("aria-invalid") == "true"


async def test_values_are_filled_in_by_click_and_slider(page: Page, site: tuple[str, Desk]) -> None:
    address, _ = site
    await page.goto(f"{address}/showcase-every-field.html")
    await page.get_by_role("button", name="The sea at dusk").click()
    assert await page.get_by_label("Title", exact=True).input_value() == "The sea at dusk"
    await page.get_by_label("Sharpness, slider").fill("2")
    assert await page.locator("#input-sharpness").input_value() == "2"
    await page.locator("#input-options").fill('{"beam": ')
    await page.get_by_text("Not JSON yet").wait_for()
    await page.get_by_role("button", name="greedy").click()
    await page.get_by_text("Valid JSON").wait_for()


async def test_what_cannot_be_undone_is_asked_once(page: Page, site: tuple[str, Desk]) -> None:
    address, desk = site
    asked: list[str] = []

    async def refuse(dialog: Dialog) -> None:
        asked.append(dialog.message)
        await dialog.dismiss()

    page.on("dialog", refuse)
    await page.goto(f"{address}/links.html")
    await page.get_by_role("button", name="Revoke Reviewers of the spring round").first.click()
    await page.get_by_role("button", name="Copy").first.click()
    assert len(asked) == 1
    assert desk.posted == []


async def test_form_works_without_scripts(chromium: Browser, site: tuple[str, Desk]) -> None:
    address, desk = site
    context = await chromium.new_context(java_script_enabled=False)
    page = await context.new_page()
    await page.goto(f"{address}/showcase.html")
    await page.get_by_alt_text("digit-2.png").locator("..").locator("input").check()
    await page.get_by_role("button", name="Run the model").click()
    await page.get_by_text("Waiting: 2 runs are ahead of yours.").wait_for()
    assert desk.posted[0]["example.image"].strip() == "2"
    await context.close()


@pytest.mark.parametrize("width", [320, 390, 1280])
async def test_no_page_is_wider_than_its_window(
    chromium: Browser, site: tuple[str, Desk], width: int
) -> None:
    address, _ = site
    context = await chromium.new_context(viewport={"width": width, "height": 800}, java_script_enabled=False)
    page = await context.new_page()
    for name in (
        "showcase-done",
        "showcase-every-field",
        "showcase-bare",
        "run-every-output",
        "links",
        "settings",
        "model",
        "version",
        "monitor",
        "landing",
        "login",
    ):
        await page.goto(f"{address}/{name}.html")
        assert await page.evaluate("document.documentElement.scrollWidth") <= width, name
    await context.close()
