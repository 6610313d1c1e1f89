"""Claims in a real browser and on the command line, on a real stack: a reviewer presses Reproduce."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, expect

from browsers import DESKTOP, PHONE, chromium, visit
from shared_digits import Digits
from stack_desk import EXAMPLES, StackDesk

pytestmark = pytest.mark.timeout(600)
CLAIM = "heldout-accuracy"


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def dataset(stack: StackDesk, digits: Digits, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The held-out digits, written by the example's own script and pushed as their claim names them."""
    folder = tmp_path_factory.mktemp("dataset") / "digits"
    packages = digits.environment / "lib/python3.11/site-packages"
    subprocess.run(
        [Path(sys.base_prefix) / "bin/python3.11", "heldout.py", "--out", folder, "--dataset"],
        cwd=EXAMPLES / "digits",
        env={**os.environ, "PYTHONPATH": str(packages), "PYTHONDONTWRITEBYTECODE": "1"},
        check=True,
        capture_output=True,
    )
    pushed = stack.vitrine("data", "push", folder, "--name", "digits-heldout", "--json").json
    assert f"digits-heldout@{pushed['digest']}" in (EXAMPLES / "digits/vitrine.yaml").read_text()
    return dict(pushed)


def test_data_is_listed_and_shown(stack: StackDesk, dataset: dict[str, Any]) -> None:
    listed = stack.vitrine("data", "ls").stdout
    assert dataset["reference"] in listed
    shown = stack.vitrine("data", "show", "digits-heldout").text
    assert dataset["digest"] in shown
    assert "0000.pgm" in shown
    assert stack.vitrine("data", "show", "nothing", status=1).stderr.startswith("error: there is no dataset")


def test_the_command_line_reproduces_by_link_and_saves_receipts(
    stack: StackDesk, digits: Digits, dataset: dict[str, Any], tmp_path: Path
) -> None:
    said = stack.vitrine("reproduce", digits.link["url"], "--receipts", tmp_path, "--json").json
    (check,) = said["checks"]
    assert (check["claim"], check["verdict"], check["repeats_wanted"]) == (CLAIM, "reproduced", 2)
    assert check["measured"] == pytest.approx(digits.trial["metrics"]["accuracy"], abs=0.003)
    assert check["spread"] == 0.0
    receipt = json.loads(Path(said["receipts"][CLAIM]).read_text())
    assert set(receipt) >= {"payload", "payloadType", "signatures"}
    words = stack.vitrine("reproduce", digits.version["reference"], "--claim", "none", status=2).stderr
    assert CLAIM in words


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
async def test_a_reviewer_reproduces_a_claim(
    browser: Browser, stack: StackDesk, digits: Digits, dataset: dict[str, Any], viewport: dict[str, int]
) -> None:
    async with visit(browser, stack.url, viewport=viewport) as reviewer:
        page = await reviewer.page(digits.link["url"])
        await expect(page.locator(".paper-value")).to_have_text("0.98")
        await page.get_by_role("button", name=f"Reproduce {CLAIM}").click()
        place = page.locator(f"#check-{CLAIM}")
        await expect(place.locator("[data-check-state]")).to_be_visible()
        await expect(place.locator("[data-check-state=reproduced]")).to_be_visible(timeout=90_000)
        await expect(place.locator(".verdict-words")).to_contain_text("Reproduced")
        wide = await page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert wide <= 0
        await page.reload()
        await expect(page.locator(".paper-outcome")).to_contain_text("Reproduced")
        await expect(page.locator(f"#claim-{CLAIM}")).to_contain_text("your check")
        await page.get_by_role("link", name="your check").click()
        await expect(page.locator("h1")).to_have_text("Check of a claim")
        await page.get_by_text("On what it ran").click()
        await expect(page.get_by_text(dataset["digest"])).to_be_visible()


async def test_a_digit_of_ones_own_is_added(
    browser: Browser, stack: StackDesk, digits: Digits, dataset: dict[str, Any]
) -> None:
    async with visit(browser, stack.url) as reviewer:
        page = await reviewer.page(digits.link["url"])
        await page.get_by_text("Add inputs of your own").click()
        own = EXAMPLES / "digits/samples/three.png"
        await page.locator(f"#own-{CLAIM}-1").set_input_files(own)
        await page.locator(f"#label-{CLAIM}-1").fill("3")
        await page.get_by_role("button", name=f"Reproduce {CLAIM}").click()
        verdict = page.locator(f"#check-{CLAIM} .verdict-words")
        await expect(verdict).to_have_text(re.compile(r"Reproduced\s+with 1 own input"), timeout=90_000)
        await page.reload()
        await expect(page.locator(f"#claim-{CLAIM}")).not_to_contain_text("your check")


async def test_without_scripts_the_form_leads_to_a_page_with_the_verdict(
    browser: Browser, stack: StackDesk, digits: Digits, dataset: dict[str, Any]
) -> None:
    async with visit(browser, stack.url, java_script_enabled=False, viewport=PHONE) as reviewer:
        page = await reviewer.page(digits.link["url"])
        await page.get_by_role("button", name=f"Reproduce {CLAIM}").click()
        # The page loads itself again until there is a verdict.
        await expect(page.locator(".verdict-words")).to_contain_text("Reproduced", timeout=90_000)


async def test_the_owner_sees_the_table_and_everybodys_checks(
    browser: Browser, stack: StackDesk, digits: Digits, dataset: dict[str, Any]
) -> None:
    stack.vitrine("reproduce", digits.link["url"], "--json")
    owner, name = digits.version["reference"].split("@")[0].split("/")
    async with visit(browser, stack.url) as author:
        page = await author.page(f"{stack.url}/login")
        await page.get_by_label("E-mail or user name").fill(stack.email)
        await page.get_by_label("Password").fill(stack.password)
        await page.get_by_role("button", name="Log in").click()
        await page.goto(f"{stack.url}/models/{owner}/{name}/versions/{digits.version['number']}")
        await expect(page.locator("#claims")).to_contain_text("Reproduced in")
        await page.get_by_text(re.compile("All checks")).click()
        await expect(page.locator(".claim-history [data-state=reproduced]").first).to_be_visible()
