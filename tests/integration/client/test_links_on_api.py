"""Links on the command line against the real api: made, opened through their doors, altered, revoked."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

from api_instance import Account, Instance
from mail_desk import mail_to
from vitrine import Client
from vitrine.errors import LinkLocked, Refused


async def test_a_passcode_is_made_up_asked_for_and_given(
    api: Instance, author: Account, command: Any
) -> None:
    reference = (await api.ready(author))["reference"]
    shared = await command("share", reference, "--passcode", "--expires", "2d", "--rate", "5/h", "--json")
    assert shared.status == 0, shared.err
    link = shared.json
    assert (link["access"], link["rate_runs"], link["passcode_set"]) == ("restricted", 5, True)
    locked = await command("run", link["url"], "--no-wait")
    assert (locked.status, "passcode" in locked.err, "--passcode CODE" in locked.err) == (1, True, True)
    wrong = await command("run", link["url"], "--no-wait", "--passcode", "not this one")
    assert (wrong.status, "not the passcode" in wrong.err) == (1, True)
    right = await command("run", link["url"], "--no-wait", "--json", VITRINE_PASSCODE=link["passcode"])
    assert (right.status, right.json["state"]) == (0, "queued")


async def test_a_code_that_is_mailed_opens_a_link(api: Instance, author: Account) -> None:
    reference = (await api.ready(author))["reference"]
    link = await author.share(reference, emails=["cli@example.org"])

    def ask() -> None:
        with Client(api.url, author.token) as client, pytest.raises(LinkLocked) as locked:
            client.shared(link["url"]).describe()
        assert locked.value.ways == ("email",)
        with Client(api.url, author.token) as client:
            client.shared(link["url"]).ask_for_code("cli@example.org")

    def answer(code: str) -> str:
        with Client(api.url, author.token) as client:
            shared = client.shared(link["url"])
            with pytest.raises(Refused, match="code"):
                shared.unlock_by_code("cli@example.org", "1")
            shared.unlock_by_code("cli@example.org", code)
            return shared.run({}).state

    await asyncio.to_thread(ask)
    text = await asyncio.wait_for(mail_to(api.services.settings.mail_dir, "cli@example.org"), 30)
    found = re.search(r"\d{4} \d{4}", text)
    assert found
    assert await asyncio.to_thread(answer, found[0]) == "queued"


async def test_links_for_recipients_are_listed_altered_unblinded_and_revoked(
    api: Instance, author: Account, command: Any
) -> None:
    reference = (await api.ready(author))["reference"]
    words = ("--recipient", "Reviewer 1", "--recipient", "Reviewer 2", "--blind", "--max-runs", "5")
    made = await command("share", reference, *words)
    lines = made.out.splitlines()
    assert [line.partition(": ")[0] for line in lines] == ["Reviewer 1", "Reviewer 2"]
    listed = (await command("links", "--json")).json["items"]
    assert [(one["recipient"], one["blind"], one["opened"]) for one in listed] == [
        ("Reviewer 2", True, None),
        ("Reviewer 1", True, None),
    ]
    end = listed[0]["id"][-8:]
    paused = await command("links", "edit", end, "--pause", "--max-runs", "9", "--json")
    assert (paused.json["state"], paused.json["max_runs"]) == ("paused", 9)
    assert (await command("links", "edit", end, "--resume", "--json")).json["state"] == "active"
    assert (await command("links", "unblind", end, "--json")).json["blind"] is False
    nothing = await command("links", "edit", end)
    assert (nothing.status, "--expires" in nothing.err) == (2, True)
    assert (await command("revoke", end)).status == 0
    states = [one["state"] for one in (await command("links", "--json")).json["items"]]
    assert states == ["revoked", "active"]
