"""`vitrine venue …` against the real api: from the call to the decision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from api_instance import Account, Instance
from venues_on_api import chair, pass_deadline


async def test_a_venue_from_the_command_line(
    api: Instance, author: Account, command: Any, tmp_path: Path
) -> None:
    host = (await chair(api)).token
    version = await api.ready(author, name="net")
    made = await command("venue", "create", "Conf", "2099-12-01", "--json", VITRINE_TOKEN=host)
    venue = made.json["id"]
    call = ("venue", "submit", version["reference"], made.json["submit_url"], "--paper", "P1", "--title", "T")
    submitted = await command(*call, "--json")
    assert submitted.json["number"] == 1
    who = "Eva Wong <eva@far.example>"
    roster = await command("venue", "roster", venue, "--add", who, "--assign", "1", VITRINE_TOKEN=host)
    assert "1 reviews assigned" in roster.err
    assert "0 of 1" in roster.out
    shown = await command("venue", "matrix", venue, "--check", "--json", VITRINE_TOKEN=host)
    assert shown.json["rows"][0]["reviews"] == 1
    decided = ("venue", "decide", venue, submitted.json["id"], "Accept", "--publish", "--unblind")
    assert (await command(*decided, VITRINE_TOKEN=host)).status == 1, "not before the deadline"
    await pass_deadline(api, venue)
    assert (await command(*decided, VITRINE_TOKEN=host)).status == 0
    file = tmp_path / "matrix.csv"
    await command("venue", "export", venue, "-o", str(file), VITRINE_TOKEN=host)
    assert ",Accept," in file.read_text("utf-8-sig")
    closed = await command("venue", "close", venue, VITRINE_TOKEN=host)
    assert "Conf is closed" in closed.err
