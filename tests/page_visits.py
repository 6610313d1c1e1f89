"""Pages as a browser without scripts visits them."""

from __future__ import annotations

import re

import httpx

from api_instance import Account, Instance


def token_in(text: str) -> str:
    """The form token of a page."""
    found = re.search(r'name="csrf_token" value="([0-9a-f]{64})"', text)
    assert found is not None, text[:2000]
    return found[1]


async def log_in(api: Instance, someone: Account) -> httpx.AsyncClient:
    """A browser that has logged in by the form."""
    browser = api.client(follow_redirects=True)
    page = await browser.get("/runs")
    assert page.url.path == "/login"
    fields = {"csrf_token": token_in(page.text), "email": someone.email, "password": someone.password}
    answer = await browser.post("/login", data={**fields, "next": "/runs"})
    assert (answer.status_code, answer.url.path) == (200, "/runs"), answer.text
    return browser
