"""The showcase in a real browser: every way to give an input, waiting, comparing, and use by everybody.

Behind it stands a real api; what a runner would have written, the tests write.
"""

from __future__ import annotations

import asyncio
import io
import json
import re
import zipfile
from collections.abc import AsyncIterator
from typing import Any

import pytest
from axe_playwright_python.async_playwright import Axe  # type: ignore[import-untyped]
from playwright.async_api import Browser, Locator, Page, Response, expect

from api_instance import PNG, Account, Instance, api
from browsers import DESKTOP, PHONE, chromium, visit
from vitrine_common.documents import Output, RunRequest
from vitrine_common.documents.run import Timings
from vitrine_common.messages import RunFinished, RunProgress
from vitrine_common.states import RunState

__all__ = ["api"]

VIEWPORTS = pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
MAX_SCRIPT_BYTES = 150_000
SERIOUS = {"serious", "critical"}
CARD = """---
license: mit
tags: [speech, tables]
widget:
  - text: A sentence of the card
model-index:
  - name: senses
    results:
      - task: {type: audio-classification}
        dataset: {name: Field recordings}
        metrics: [{type: accuracy, value: 0.91}]
---
# Senses

It takes **everything**.
"""
SPEC: dict[str, Any] = {
    "name": "senses",
    "description": "Takes every kind of input",
    "model_card": CARD,
    "model": {"command": "python senses.py", "input": {"type": "flag"}},
    "inputs": [
        {"name": "text", "type": "text", "required": False, "min_length": 3, "max_length": 400},
        {"name": "count", "type": "number", "default": 3, "min": 1, "max": 9, "integer": True},
        {"name": "photo", "type": "image", "required": False, "examples": ["a.png"]},
        {"name": "voice", "type": "file", "required": False, "accept": ["audio/*"]},
        {"name": "rows", "type": "file", "required": False, "accept": [".csv", "text/csv"]},
        {"name": "options", "type": "json", "required": False},
        {"name": "mode", "type": "choice", "choices": ["fast", "slow"], "default": "fast"},
    ],
}


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    """A browser whose camera and microphone are made up and always allowed."""
    async with chromium("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream") as started:
        yield started


@pytest.fixture(scope="module")
async def someone(api: Instance) -> Account:
    return await api.account()


@pytest.fixture(scope="module")
async def url(api: Instance, someone: Account) -> str:
    version = await api.ready(someone, name="senses", spec=SPEC)
    return str((await someone.share(version["reference"]))["url"])


async def run_id_on(page: Page) -> str:
    """The id of the run that the page shows."""
    found = await page.locator("#result [data-run-id]").get_attribute("data-run-id")
    assert found is not None
    return found


async def asked(api: Instance, page: Page) -> dict[str, Any]:
    """The inputs of the run that the page shows, as they were stored."""
    request = await api.database_as("runner").collection(RunRequest).get(await run_id_on(page))
    return dict(json.loads(request.inputs))


async def answered(api: Instance, run_id: str, text: str) -> None:
    """End a run with a text, as the runner would."""
    timings = Timings(queued_ms=1, start_ms=100, compute_ms=900, total_ms=1001)
    output = Output(name="output", type="text", value=json.dumps(text))
    run = await api.finish(run_id, [output], timings=timings)
    await api.platform.bus.send(
        RunFinished(run_id=run_id, version_id=run.version_id, state=RunState.SUCCEEDED)
    )


async def press_run(page: Page) -> None:
    await page.locator(".run-button").click()
    await expect(page.locator("#result [data-run-state=queued]")).to_be_visible()


@VIEWPORTS
async def test_a_photo_and_a_recording(
    browser: Browser, api: Instance, url: str, viewport: dict[str, int]
) -> None:
    async with visit(browser, api.url, viewport=viewport) as reviewer:
        page = await reviewer.page(url)
        await page.get_by_role("button", name="Use the camera").click()
        await page.get_by_role("button", name="Take the picture").click()
        await expect(page.locator("canvas.preview.image")).to_be_visible()
        await expect(page.get_by_text(re.compile(r"photo\.jpg, "))).to_be_visible()
        await expect(page.locator("video")).to_have_count(0)
        await page.get_by_role("button", name="Record Voice").click()
        await expect(page.get_by_text("Recording: 1 s")).to_be_visible()
        await page.get_by_role("button", name="Stop and keep").click()
        await expect(page.get_by_text(re.compile(r"recording\.wav, "))).to_be_visible()
        await expect(page.locator("canvas.preview.audio")).to_be_visible()
        await page.get_by_role("button", name="Play Voice").click()
        await press_run(page)
        given = await asked(api, page)
        assert (given["photo"]["filename"], given["photo"]["media_type"]) == ("photo.jpg", "image/jpeg")
        sound = await api.platform.blobs.read_head(given["voice"]["digest"], 12)
        assert (sound[:4], sound[8:12]) == (b"RIFF", b"WAVE")
        assert given["voice"]["media_type"] == "audio/wav"


async def test_a_camera_that_is_away_is_explained(api: Instance, url: str) -> None:
    async with chromium() as plain, visit(plain, api.url) as reviewer:
        page = await reviewer.page(url)
        await page.get_by_role("button", name="Use the camera").click()
        await expect(page.locator(".device-words")).to_contain_text(re.compile("not found|blocked"))
        await page.get_by_role("button", name="Close").click()
        await expect(page.locator("[data-camera]")).to_be_focused()


async def test_only_the_showcase_may_ask_for_devices(api: Instance, url: str) -> None:
    client = api.client()
    assert "camera=(self), microphone=(self)" in (await client.get(url)).headers["permissions-policy"]
    assert "camera=()" in (await client.get("/login")).headers["permissions-policy"]


async def test_pasted_rows_are_previewed_and_sent(browser: Browser, api: Instance, url: str) -> None:
    async with visit(browser, api.url) as reviewer:
        page = await reviewer.page(url)
        await paste(page, 'day;what\n1;"a; b"\n2;rain')
        await expect(page.locator("[data-rows] tbody tr")).to_have_count(2)
        await expect(page.locator("[data-rows] tbody td").nth(1)).to_have_text("a; b")
        await expect(page.get_by_text("2 rows, 2 columns")).to_be_visible()
        await paste(page, "A pasted sentence")
        await expect(page.get_by_label("Text", exact=False).first).to_have_value("A pasted sentence")
        await press_run(page)
        given = await asked(api, page)
        assert given["rows"]["filename"] == "pasted.csv"
        assert given["text"] == "A pasted sentence"


@VIEWPORTS
async def test_files_are_dropped_on_their_field_and_beside_it(
    browser: Browser, api: Instance, url: str, viewport: dict[str, int]
) -> None:
    async with visit(browser, api.url, viewport=viewport) as reviewer:
        page = await reviewer.page(url)
        field = page.locator("[data-drop]").filter(has=page.locator("[name='input.photo']"))
        await dropped(field, "own.png", "image/png", PNG)
        await expect(page.get_by_text(re.compile(r"own\.png, "))).to_be_visible()
        # One that misses every field changes nothing, and does not make the browser leave the page.
        await dropped(page.locator("h1"), "missed.png", "image/png", PNG)
        await expect(page.get_by_text(re.compile(r"own\.png, "))).to_be_visible()
        await press_run(page)
        photo = (await asked(api, page))["photo"]
        assert (photo["filename"], photo["size"]) == ("own.png", len(PNG))


async def dropped(target: Locator, name: str, media_type: str, data: bytes) -> None:
    """Drop a file on something, as a person does who drags it there."""
    await target.evaluate(
        """(element, [name, type, bytes]) => {
            const dataTransfer = new DataTransfer();
            dataTransfer.items.add(new File([new Uint8Array(bytes)], name, {type}));
            for (const kind of ["dragenter", "dragover", "drop"]) {
                element.dispatchEvent(new DragEvent(kind, {dataTransfer, bubbles: true, cancelable: true}));
            }
        }""",
        [name, media_type, list(data)],
    )


async def test_without_a_network_the_input_stays_and_runs_later(
    browser: Browser, api: Instance, url: str
) -> None:
    async with visit(browser, api.url, viewport=PHONE) as reviewer:
        page = await reviewer.page(url)
        await expect(page.locator("#offline")).to_be_hidden()
        await page.get_by_label("Text", exact=False).first.fill("typed in a tunnel")
        await reviewer.context.set_offline(True)
        await expect(page.locator("#offline")).to_be_visible()
        await page.locator(".run-button").click()
        await expect(page.locator("#result")).to_contain_text("did not reach the server")
        await reviewer.context.set_offline(False)
        await expect(page.locator("#offline")).to_be_hidden()
        await press_run(page)
        assert (await asked(api, page))["text"] == "typed in a tunnel"
        cut = [one for one in reviewer.wrong if "ERR_INTERNET_DISCONNECTED" in one or "htmx:" in one]
        assert cut, "it was offline"
        reviewer.wrong = [one for one in reviewer.wrong if one not in cut]


async def paste(page: Page, text: str) -> None:
    """Paste a text while no field has the focus."""
    await page.evaluate(
        """text => {
            document.activeElement?.blur();
            const clipboardData = new DataTransfer();
            clipboardData.setData("text/plain", text);
            const pasted = new ClipboardEvent("paste", {clipboardData, bubbles: true, cancelable: true});
            document.body.dispatchEvent(pasted);
        }""",
        text,
    )


async def test_what_is_wrong_is_said_beside_the_field_before_anything_is_sent(
    browser: Browser, api: Instance, url: str
) -> None:
    async with visit(browser, api.url) as reviewer:
        page = await reviewer.page(url)
        sent: list[str] = []
        page.on("request", lambda request: sent.append(request.url) if request.method == "POST" else None)
        await page.locator("#input-count").fill("12")
        await page.locator("#input-text").fill("ab")
        await page.locator("#input-options").fill("{")
        await page.locator("#input-voice").set_input_files(
            {"name": "notes.pdf", "mimeType": "application/pdf", "buffer": b"%PDF"}
        )
        await page.locator(".run-button").click()
        for name, words in (
            ("count", "At most 9."),
            ("text", "At least 3 characters; there are 2."),
            ("options", "Not JSON yet"),
            ("voice", "give one of audio/*"),
        ):
            await expect(page.locator(f"[data-error-of={name}]")).to_contain_text(words)
            await expect(page.locator(f"#input-{name}")).to_have_attribute("aria-invalid", "true")
        await expect(page.locator("#input-text")).to_be_focused()
        assert sent == []
        await page.locator("#input-text").fill("abc")
        await expect(page.locator("[data-error-of=text]")).to_be_hidden()


async def test_the_place_in_the_queue_is_true(
    browser: Browser, api: Instance, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vitrine_api.waiting.FRESH_SECONDS", 0.0)
    async with visit(browser, api.url) as first, visit(browser, api.url) as second:
        ours, theirs = await first.page(url), await second.page(url)
        await press_run(ours)
        words = ours.locator("#result .run-words")
        await expect(words).to_contain_text(re.compile("ahead of yours|next to begin"))
        before = await ahead_in(words)
        await api.accept(await run_id_on(ours))
        await press_run(theirs)
        assert await ahead_in(theirs.locator("#result .run-words")) == before + 1
        await answered(api, await run_id_on(ours), "done")
        await expect(ours.locator("#result [data-run-state=succeeded]")).to_be_visible()
        expected = f"{before} run" if before else "next to begin"
        await expect(theirs.locator("#result .run-words")).to_contain_text(expected)


async def ahead_in(words: Any) -> int:
    """How many runs the page says are ahead."""
    await expect(words).to_contain_text(re.compile("ahead of yours|next to begin"))
    found = re.search(r"(\d+) runs? (?:is|are) ahead", str(await words.text_content()))
    return int(found[1]) if found else 0


async def test_printed_text_grows_while_the_model_runs(browser: Browser, api: Instance, url: str) -> None:
    async with visit(browser, api.url) as reviewer:
        page = await reviewer.page(url)
        await press_run(page)
        run_id = await run_id_on(page)
        async with asyncio.timeout(20):
            while not api.services.hub._listeners.get(run_id):  # what is told before, nobody hears
                await asyncio.sleep(0.02)
        grown = page.locator("#result [data-follow]")
        for number, line in enumerate(("Once upon", " a time"), 1):
            news = RunProgress(run_id=run_id, state=RunState.QUEUED, fraction=number / 2, log=line)
            await api.platform.bus.tell(news)
            await expect(grown).to_contain_text(line.strip())
        await expect(grown).to_have_text("Once upon a time")
        await answered(api, run_id, "Once upon a time.")
        await expect(page.locator("#result .output-text pre")).to_have_text("Once upon a time.")


@VIEWPORTS
async def test_two_runs_are_compared_and_taken_home(
    browser: Browser, api: Instance, url: str, viewport: dict[str, int]
) -> None:
    async with visit(browser, api.url, viewport=viewport) as reviewer:
        page = await reviewer.page(url)
        for count in ("4", "5"):
            await page.locator("#input-count").fill(count)
            await press_run(page)
            await answered(api, await run_id_on(page), f"answer {count}")
            await expect(page.locator("#result [data-run-state=succeeded]")).to_be_visible()
        await page.locator("#result .as-code summary").click()
        await expect(page.locator("#result .as-code pre").nth(2)).to_contain_text("-i count=5")
        async with page.expect_download() as downloading:
            await page.get_by_role("link", name="Download all").click()
        path = await (await downloading.value).path()
        with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as archive:
            assert archive.testzip() is None
            assert archive.read("outputs/output.txt") == b"answer 5"
            assert json.loads(archive.read("inputs.json"))["count"] == 5
        boxes = page.locator("#history input[type=checkbox]")
        await boxes.nth(0).check()
        await expect(page.get_by_role("button", name="Compare two")).to_be_disabled()
        await boxes.nth(1).check()
        await page.get_by_role("button", name="Compare two").click()
        await expect(page.locator("h1")).to_have_text("Two runs next to each other")
        await expect(page.locator("tr.differs th")).to_contain_text("Count")
        await expect(page.locator("tr.differs")).to_have_count(1)
        await expect(page.locator(".pair pre")).to_have_text(["answer 4", "answer 5"])
        assert await page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@VIEWPORTS
async def test_nothing_serious_is_in_the_way_of_anybody(
    browser: Browser, api: Instance, url: str, viewport: dict[str, int], scheme: str
) -> None:
    async with visit(browser, api.url, viewport=viewport, color_scheme=scheme) as reviewer:
        page = await reviewer.page(url)
        await expect(page.get_by_role("button", name="A sentence of the card")).to_be_visible()
        await expect(page.locator(".card-facts")).to_contain_text("mit")
        await expect(page.get_by_role("region", name="Results that the author reports")).to_contain_text(
            "0.91"
        )
        await accessible(page, "the showcase")
        await page.locator("#input-count").fill("99")
        await page.locator(".run-button").click()
        await accessible(page, "a form with a mistake")
        await page.get_by_role("button", name="Use the camera").click()
        await expect(page.get_by_role("button", name="Take the picture")).to_be_enabled()
        await accessible(page, "the camera")
        await page.get_by_role("button", name="Cancel").click()
        ids = []
        for count in ("1", "2"):
            await page.locator("#input-count").fill(count)
            await press_run(page)
            ids.append(await run_id_on(page))
            if count == "1":
                await accessible(page, "a run that waits")
            await answered(api, ids[-1], f"answer {count}")
            await expect(page.locator("#result [data-run-state=succeeded]")).to_be_visible()
        for summary in await page.locator("details:visible > summary").all():
            await summary.click()
        await accessible(page, "a run that has ended")
        await page.goto(f"{url}/runs/{ids[0]}")
        await accessible(page, "a run's page")
        await page.goto(f"{url}/compare?run={ids[0]}&run={ids[1]}")
        await accessible(page, "a comparison")


async def accessible(page: Page, what: str) -> None:
    """Fail on what axe calls serious or critical."""
    found = (await Axe().run(page)).response["violations"]
    told = [
        f"{what}: {item['id']}: {item['help']}: {[node['html'][:200] for node in item['nodes'][:3]]}"
        for item in found
        if item["impact"] in SERIOUS
    ]
    assert told == []


async def test_scripts_are_small(browser: Browser, api: Instance, url: str) -> None:
    async with visit(browser, api.url) as reviewer:
        page = await reviewer.page("about:blank")
        scripts: set[str] = set()

        def note(answer: Response) -> None:
            if "javascript" in answer.headers.get("content-type", ""):
                scripts.add(answer.url)

        page.on("response", note)
        await page.goto(url)
        await page.reload(wait_until="load")
        reviewer.wrong = [said for said in reviewer.wrong if "about:blank" not in said]
        # The browser gives no body of an answer that it has navigated away from.
        sizes = {script: len(await (await page.request.get(script)).body()) for script in sorted(scripts)}
    assert len(sizes) > 5
    assert sum(sizes.values()) < MAX_SCRIPT_BYTES, sizes


async def test_a_bare_png_is_drawn_by_nobody(api: Instance, url: str) -> None:
    """An example's bytes come as what they are, and never as a page."""
    answer = await api.client().get(f"{url}/examples/photo/0")
    assert answer.content == PNG
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["content-security-policy"].startswith("sandbox")
