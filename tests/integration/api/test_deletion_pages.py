"""Deletion by pages: a button where a thing is looked at, its name typed, and it is gone."""

from __future__ import annotations

import asyncio
import html
import re

import httpx
import pytest

from api_instance import Account, Instance
from claims_on_api import push_dataset
from page_visits import log_in

KINDS = {"link": "/links", "dataset": "/datasets", "version": "/models", "model": "/models"}


async def a_thing(api: Instance, account: Account, kind: str) -> tuple[str, str]:
    """Make something; return its page and what it is called."""
    if kind == "dataset":
        await push_dataset(account, "held")
        return f"/datasets/{account.name}/held/latest", f"{account.name}/held"
    version = await api.ready(account)
    model, _, number = version["reference"].partition("@")
    if kind == "version":
        return f"/models/{model}/versions/{number}", version["reference"]
    if kind == "model":
        return f"/models/{model}", model
    link = (await account.share(version["reference"]))["id"]
    return f"/links/{link}", link


async def way_of(browser: httpx.AsyncClient, page: str) -> str:
    """Return where the page's button leads."""
    (way,) = re.findall(r'href="(/deletions/new[^"]+)"', (await browser.get(page)).text)
    return html.unescape(way)


@pytest.mark.parametrize("kind", KINDS)
async def test_what_a_page_shows_is_deleted_from_it(api: Instance, kind: str) -> None:
    account = await api.account()
    page, name = await a_thing(api, account, kind)
    browser = await log_in(api, account)
    form = (await browser.get(await way_of(browser, page))).text
    assert f'href="{page}"' in form, "whoever thinks better of it comes back"
    fields = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', form))
    refused = await browser.post("/deletions", data={**fields, "confirm": "something else"})
    assert (refused.status_code, 'id="confirm-error"' in refused.text) == (422, True)
    assert (await browser.get(page)).status_code == 200
    ended = await browser.post("/deletions", data={**fields, "confirm": name})
    assert (ended.status_code, ended.url.path) == (200, KINDS[kind])
    async with asyncio.timeout(60):
        while (await browser.get(page)).status_code != 404:
            await api.services.erasing.carry_out()


async def test_datasets_are_listed_with_their_files_to_their_owner_alone(api: Instance) -> None:
    owner, other = await api.account(), await api.account()
    pushed = await push_dataset(owner, "held", private=True)
    browser, stranger = await log_in(api, owner), await log_in(api, other)
    url = f"/datasets/{owner.name}/held/{pushed['number']}"
    listed = (await browser.get("/datasets")).text
    assert url in listed
    assert "private" in listed
    shown = (await browser.get(url)).text
    assert "patients-2019.csv" in shown
    assert pushed["digest"] in shown
    assert (await stranger.get(url)).status_code == 404
    assert "No data yet" in (await stranger.get("/datasets")).text


async def test_collaborators_are_shown_no_button_that_deletes(api: Instance) -> None:
    owner, friend = await api.account(), await api.account()
    version = await api.ready(owner)
    model, _, number = version["reference"].partition("@")
    asked = await owner.client.post(f"/api/v1/models/{model}/collaborators", json={})
    await friend.client.post("/api/v1/invites/accept", json={"code": asked.json()["code"]})
    browser = await log_in(api, friend)
    for page in (f"/models/{model}", f"/models/{model}/versions/{number}"):
        shown = await browser.get(page)
        assert shown.status_code == 200
        assert "/deletions/new" not in shown.text
        await way_of(await log_in(api, owner), page)
